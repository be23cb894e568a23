"""`get`: graphs, planned and run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scaler_trio.client.calls.graph import plan
from scaler_trio.errors import DependencyFailed, GraphError
from scaler_trio.serialization import CannotPickle, Input

if TYPE_CHECKING:
    from scaler_trio.client import Client


def add(*numbers: int) -> int:
    return sum(numbers)


def test_values_of_keys_come_in_their_order(client: Client) -> None:
    graph = {"a": 1, "b": (add, "a", 10), "c": (max, "a", "b"), "unused": (print, "a")}
    assert list(client.get(graph, ["c", "a", "b"]).items()) == [("c", 11), ("a", 1), ("b", 11)]


def test_lists_of_names_are_lists_of_values(client: Client) -> None:
    graph: dict[str, Any] = {"a": (add, 1, 2), "b": (add, 3), "sum": (sum, ["a", "b", 10]), "deep": (str, [["a"], []])}
    assert client.get(graph, ["sum", "deep"]) == {"sum": 16, "deep": "[[3], []]"}


def test_an_input_may_be_used_twice_and_values_that_are_no_tasks_pass(client: Client) -> None:
    graph = {"a": (add, 2), "b": (add, "a", "a"), "text": "a", "c": (str, "text"), "none": None, "t": (1, 2)}
    assert client.get(graph, ["b", "c", "none", "t"]) == {"b": 4, "c": "a", "none": None, "t": (1, 2)}


def test_no_keys_give_nothing(client: Client) -> None:
    assert client.get({"a": (add, 1)}, []) == {}


def test_a_deep_graph_does_not_meet_a_recursion_limit(client: Client) -> None:
    graph: dict[str, Any] = {"n0": (add, 1)}
    for i in range(1, 5000):
        graph[f"n{i}"] = (add, f"n{i - 1}", 1)
    assert client.get(graph, ["n4999"]) == {"n4999": 5000}


def test_futures_instead_of_values(client: Client) -> None:
    futures = client.get({"a": (add, 1, 2), "b": 7}, ["a", "b"], block=False)
    assert futures["a"].result(5) == 3
    assert futures["b"].result() == 7


def test_a_failing_node_raises_its_own_error(client: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        client.get({"a": (divmod, 1, 0)}, ["a"])
    graph = {"a": (divmod, 1, 0), "b": (add, "a"), "c": (add, "b")}
    with pytest.raises(ZeroDivisionError) as caught:
        client.get(graph, ["c", "a"])
    assert "node 'a', which it needs, failed" in caught.value.__notes__[0]
    with pytest.raises(DependencyFailed, match="node 'a', which it needs, failed"):
        client.get(graph, ["c"])
    futures = client.get(graph, ["a", "c"], block=False)
    assert isinstance(futures["a"].exception(5), ZeroDivisionError)
    assert isinstance(futures["c"].exception(5), DependencyFailed)


def test_a_node_that_cannot_be_pickled_is_named(client: Client) -> None:
    with pytest.raises(CannotPickle, match="node 'bad'"):
        client.get({"bad": (add, (i for i in ()))}, ["bad"])


@pytest.mark.parametrize(
    ("graph", "keys", "text"),
    [
        ({"a": (add, "b"), "b": (add, "c"), "c": (add, "b")}, ["a"], "cycle: 'b' → 'c' → 'b'"),
        ({"a": (add, "a")}, ["a"], "cycle: 'a' → 'a'"),
        ({"alpha": 1}, ["alhpa"], r"'alhpa' is not a node of the graph \(did you mean 'alpha'\?\)"),
        ({"alpha": 1}, ["alpha", "alpha"], "wanted twice"),
        ({"alpha": 1}, [["alpha"]], "not a node"),
        ({"a": 1, "b": (add, "a", ["c"])}, ["b"], r"argument b\[2\]\[0\] names 'c'"),
    ],
)
def test_what_is_no_graph_is_refused_with_the_way_to_the_culprit(graph: Any, keys: Any, text: str) -> None:
    with pytest.raises(GraphError, match=text):
        plan(graph, keys)


def test_a_plan_has_only_what_is_needed_each_after_its_inputs() -> None:
    graph = {"d": (add, "c", "b"), "c": (add, "a", "b"), "b": (add, "a"), "a": (add,), "x": (add, "d")}
    made = plan(graph, ["d"])
    assert [call.name for call in made.calls] == ["a", "b", "c", "d"]
    assert made.calls[-1].inputs == ("c", "b")
    assert made.calls[-1].arguments == (Input(0), Input(1))


def test_one_name_is_not_taken_for_a_sequence_of_names(client: Client) -> None:
    with pytest.raises(TypeError, match=r"write \['abc'\]"):
        client.get({"abc": 1}, "abc")
