"""Graphs through real processes: values, order, shared and failing nodes, and graphs that are none."""

from __future__ import annotations

import operator
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from scaler_trio import CannotPickle, Client, DependencyFailed, GraphError, node


def stamp(*inputs: Any) -> float:
    time.sleep(0.01)
    return time.monotonic()


def pair(a: Any, b: Any) -> tuple[Any, Any]:
    return a, b


def count(values: list[Any]) -> int:
    return len(values)


def explode(value: Any) -> None:
    raise ArithmeticError(f"on {value}")


def test_values_come_in_the_order_of_the_keys(client: Client) -> None:
    graph = {"a": 2, "b": 3, "c": (operator.mul, "a", "b"), "d": (operator.neg, "c"), "e": (operator.add, "c", "d")}
    assert client.get(graph, ["e", "c", "a"]) == {"e": 0, "c": 6, "a": 2}
    assert list(client.get(graph, ["d", "a", "c"])) == ["d", "a", "c"]


def test_a_node_runs_after_all_that_it_needs(client: Client) -> None:
    graph: dict[str, Any] = {"0": (stamp,)}
    for n in range(1, 20):
        graph[str(n)] = (stamp, str(n - 1), str(n // 2))
    stamps = client.get(graph, [str(n) for n in range(20)])
    values = [stamps[str(n)] for n in range(20)]
    assert values == sorted(values)


def test_one_node_may_be_needed_twice_and_within_lists(client: Client) -> None:
    graph = {
        "x": (operator.add, 1, 2),
        "y": (pair, "x", "x"),
        "n": (count, ["x", "y", ["x"], 5]),
        "z": (pair, "y", "n"),
    }
    assert client.get(graph, ["z"]) == {"z": ((3, 3), 4)}


def test_none_false_and_empty_values_are_values(client: Client) -> None:
    graph = {
        "none": None,
        "empty": [],
        "result": (pair, "none", "empty"),
        "nothing": (print,),
        "after": (pair, "nothing", 0),
    }
    assert client.get(graph, ["result", "none", "after"]) == {"result": (None, []), "none": None, "after": (None, 0)}


def test_a_graph_without_tasks_needs_no_worker(client: Client) -> None:
    assert client.get({"a": 1, "b": [1, 2]}, ["b", "a"]) == {"b": [1, 2], "a": 1}
    assert client.get({"a": 1}, []) == {}


def test_a_deep_graph_and_a_wide_one(client: Client) -> None:
    deep: dict[str, Any] = {"0": (abs, 0)}
    deep |= {str(n): (operator.add, str(n - 1), 1) for n in range(1, 2000)}
    assert client.get(deep, ["1999"]) == {"1999": 1999}
    wide: dict[str, Any] = {str(n): (operator.mul, n, 2) for n in range(2000)}
    wide["sum"] = (sum, list(map(str, range(2000))))
    assert client.get(wide, ["sum"]) == {"sum": 2 * sum(range(2000))}


def test_large_values_travel_between_nodes(client: Client) -> None:
    graph = {"text": (operator.mul, b"x", 3_000_000), "a": (len, "text"), "b": (pair, "text", "a"), "c": (len, "b")}
    assert client.get(graph, ["a", "c"]) == {"a": 3_000_000, "c": 2}
    assert client.get(graph, ["text"])["text"] == b"x" * 3_000_000


def test_a_failing_node_raises_its_own_error_and_names_the_way_to_it(client: Client) -> None:
    graph = {"a": (operator.add, 1, 1), "b": (explode, "a"), "c": (operator.neg, "b"), "d": (operator.neg, "c")}
    with pytest.raises(ArithmeticError, match="on 2") as caught:
        client.get(graph, ["d"])
    assert any("'b'" in note for note in caught.value.__notes__), caught.value.__notes__
    assert "explode" in str(caught.value.__cause__)


def test_futures_of_a_graph_fail_singly(client: Client) -> None:
    graph = {"good": (operator.add, 1, 1), "bad": (explode, "good"), "after": (operator.neg, "bad")}
    futures = client.get(graph, ["good", "bad", "after"], block=False)
    assert futures["good"].result(10) == 2
    assert type(futures["bad"].exception(10)) is ArithmeticError
    assert futures["after"].exception(10) is not None


def test_a_failure_reaches_every_wanted_key_that_needs_it_and_no_other(client: Client) -> None:
    graph: dict[str, Any] = {"bad": (explode, 1), "good": (operator.neg, 1)}
    graph |= {f"near {n}": (pair, "bad", n) for n in range(20)}
    graph |= {f"far {n}": (pair, f"near {n}", "good") for n in range(20)}
    graph |= {f"other {n}": (pair, "good", n) for n in range(20)}
    futures = client.get(graph, [*graph], block=False)
    assert type(futures.pop("bad").exception(10)) is ArithmeticError
    assert futures.pop("good").result(10) == -1
    for name, future in futures.items():
        if name.startswith("other"):
            assert future.result(10)[0] == -1
        else:
            with pytest.raises(DependencyFailed, match="'bad'"):
                future.result(10)
    assert client._session._core.is_idle


@pytest.mark.parametrize(
    ("graph", "keys", "text"),
    [
        ({"a": (abs, "b"), "b": (abs, "c"), "c": (abs, "a")}, ["a"], r"cycle: 'a' → 'b' → 'c' → 'a'"),
        ({"a": (abs, "a")}, ["a"], r"cycle: 'a' → 'a'"),
        ({"a": (abs, "typo")}, ["a"], r"node 'a': its argument a\[1\] names 'typo', which is not a node"),
        ({"alpha": 1}, ["alpah"], r"'alpah' is not a node of the graph \(did you mean 'alpha'\?\)"),
        ({"a": 1}, ["a", "a"], r"'a' is wanted twice"),
    ],
)
def test_what_is_no_graph_is_refused_before_anything_runs(
    client: Client, graph: dict[str, Any], keys: list[str], text: str
) -> None:
    with pytest.raises(GraphError, match=text):
        client.get(graph, keys)


def test_a_graph_of_more_bytes_than_a_link_may_queue(client: Client) -> None:
    graph: dict[str, Any] = {f"text {n}": "x" * 1000 for n in range(20_000)}
    graph |= {f"length {n}": (len, f"text {n}") for n in range(20_000)}
    for n in range(0, 20_000, 1000):
        graph[f"sum {n}"] = (sum, [f"length {k}" for k in range(n, n + 1000)])
    graph["all"] = (sum, [f"sum {n}" for n in range(0, 20_000, 1000)])
    assert client.get(graph, ["all"]) == {"all": 20_000_000}


def test_a_node_that_cannot_be_pickled_ends_a_graph_of_which_much_was_sent(client: Client) -> None:
    graph: dict[str, Any] = {str(n): (operator.neg, n) for n in range(3_000)}
    graph["last"] = (pair, "7", threading.Lock())
    with pytest.raises(CannotPickle, match="'last'"):
        client.get(graph, [str(n) for n in range(3_000)] + ["last"])
    assert client.get(graph, ["2999"]) == {"2999": -2999}
    assert client._session._core.is_idle


def scale(value: float, *, by: float = 1.0, and_add: list[float] | None = None) -> float:
    return value * by + sum(and_add or [])


def test_keyword_arguments_name_nodes_and_hold_values(client: Client) -> None:
    graph = {
        "a": 2,
        "b": (operator.neg, "a"),
        "c": node(scale, "a", by="b"),
        "d": node(scale, "c", by=0.5, and_add=["a", "b", 10]),
        "e": node(operator.neg, "d"),
    }
    assert client.get(graph, ["e", "c"]) == {"e": -8.0, "c": -4}
    with pytest.raises(GraphError, match=r"'c': its argument c\[by=\] names 'x', which is not a node"):
        client.get({"a": 2, "c": node(scale, "a", by="x")}, ["c"])
    with pytest.raises(TypeError, match="a node calls its first argument, which is 5"):
        node(5)  # type: ignore[arg-type]


def test_a_stored_object_is_a_node_or_an_argument(client: Client) -> None:
    reference = client.send_object(list(range(50_000)))
    graph = {"data": reference, "n": (len, "data"), "m": (count, reference), "both": (pair, ["data", "n"], "m")}
    values = client.get(graph, ["n", "m", "both"])
    assert values["n"] == values["m"] == 50_000
    assert values["both"] == ([list(range(50_000)), 50_000], 50_000)


def nap(seconds: float, *inputs: Any) -> float:
    time.sleep(seconds)
    return seconds


def leave(path: str, *inputs: Any) -> None:
    Path(path).touch()


def test_cancelling_a_future_cancels_what_only_it_needs(client: Client, tmp_path: Path) -> None:
    started = tmp_path / "started"
    graph: dict[str, Any] = {
        "shared": (nap, 0.3),
        "path": str(started),
        **{f"mine {n}": (leave, "path", "shared") for n in range(4)},
        "unwanted": (count, [f"mine {n}" for n in range(4)]),
        "wanted": (nap, 0.0, "shared"),
    }
    futures = client.get(graph, ["unwanted", "wanted"], block=False)
    assert futures["unwanted"].cancel()
    assert futures["wanted"].result(10) == 0.0
    assert futures["unwanted"].cancelled()
    assert client.submit(nap, 0.0).result(10) == 0.0, "what would have run would have run by now"
    assert not started.exists()
