"""`client.dask_get`: Dask's own collections, its graphs old and new, and graphs that are none."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from scaler_trio import CannotPickle, Client, GraphError
from scaler_trio.integrations.dask_scheduler import translate

dask = pytest.importorskip("dask")
from dask._task_spec import Alias, DataNode, List, Task, TaskRef  # noqa: E402


def fail(value: Any) -> None:
    raise ArithmeticError(f"on {value}")


def where(_: Any = None) -> int:
    return os.getpid()


def total(numbers: list[int]) -> int:
    return sum(numbers)


# ---------------------------------------------------------------------------------------------- its collections


def test_delayed_calls_run_on_the_workers(client: Client) -> None:
    parts = [dask.delayed(operator.mul)(number, number) for number in range(10)]
    result = dask.delayed(total)(parts)
    assert dask.compute(result, parts[3], scheduler=client.dask_get) == (285, 9)
    assert dask.delayed(where)().compute(scheduler=client.dask_get) != os.getpid()
    assert dask.delayed(dict)(a=dask.delayed(abs)(-1), b=[parts[2]]).compute(scheduler=client.dask_get) == {
        "a": 1,
        "b": [4],
    }


def test_a_bag_and_an_array(client: Client) -> None:
    import dask.array as da
    import dask.bag as db

    with dask.config.set(scheduler=client.dask_get):
        bag = db.from_sequence(range(100), npartitions=7)
        assert bag.map(lambda n: n + 1).filter(lambda n: n % 2).fold(operator.add).compute() == 2500
        assert bag.map(str).frequencies().count().compute() == 100
        ones = da.ones((300, 200), chunks=(100, 50))
        assert (ones + ones.T.rechunk((50, 100)).T).sum().compute() == 120_000
        image = (da.arange(12, chunks=5).reshape(3, 4) ** 2).compute()
    assert image.tolist() == [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81, 100, 121]]


def test_a_large_array_in_the_graph_is_read_by_many_tasks(client: Client) -> None:
    import dask.array as da
    import numpy as np

    large = np.arange(1_000_000.0)
    array = da.from_array(large, chunks=100_000)
    assert float((array * 2).sum().compute(scheduler=client.dask_get)) == float((large * 2).sum())
    assert np.array_equal(array.compute(scheduler=client.dask_get), large)


def test_settings_for_other_schedulers_do_no_harm(client: Client) -> None:
    assert dask.delayed(abs)(-1).compute(scheduler=client.dask_get, num_workers=4, optimize_graph=False) == 1


def test_an_executor_is_a_scheduler_too(client: Client) -> None:
    with client.executor() as executor:
        assert dask.delayed(operator.add)(dask.delayed(abs)(-1), 2).compute(scheduler=executor) == 3


# --------------------------------------------------------------------------------------------------- its graphs


def test_a_graph_of_tuples(client: Client) -> None:
    graph = {
        "x": 1,
        ("y", 0): (operator.add, "x", 10),
        ("y", 1): (operator.add, ("y", 0), 10),
        "sum": (sum, [("y", 0), ("y", 1), (operator.neg, "x"), 100]),
        "alias": ("y", 1),
        "list": ["x", ("y", 0), [5]],
        7: (str, "just text"),
    }
    assert client.dask_get(graph, "sum") == 131
    assert client.dask_get(graph, [["sum", "alias"], "x", [7, ["list"]]]) == (
        (131, 21),
        1,
        ("just text", ([1, 11, [5]],)),
    )
    assert client.dask_get(graph, ["x", "x"]) == (1, 1)
    assert client.dask_get(graph, []) == ()


def test_a_graph_of_task_objects(client: Client) -> None:
    graph = {
        "one": DataNode("one", 1),
        "two": Task("two", operator.add, TaskRef("one"), TaskRef("one")),
        "all": Task("all", sum, List(TaskRef("one"), TaskRef("two"), 3)),
        "again": Alias("again", "two"),
        "once more": Alias("once more", "again"),
        "named": Task("named", dict, a=TaskRef("once more"), b=4),
    }
    assert client.dask_get(graph, ["all", "again", "once more", "named"]) == (6, 2, 2, {"a": 2, "b": 4})


def test_values_that_look_like_calls_and_names_stay_values(client: Client) -> None:
    graph = {
        "call": DataNode("call", (fail, 1)),
        "text": DataNode("text", "call"),
        "texts": DataNode("texts", ["text", "call"]),
        "both": Task("both", operator.add, TaskRef("text"), "call"),
        "first": Task("first", operator.itemgetter(1), TaskRef("call")),
        "list": Task("list", list, TaskRef("texts")),
    }
    assert client.dask_get(graph, list(graph)) == ((fail, 1), "call", ["text", "call"], "callcall", 1, ["text", "call"])


def test_keys_that_read_alike_are_different_keys(client: Client) -> None:
    graph = {1: (operator.neg, 5), "1": (operator.neg, 6), ("a", 1): (abs, -9), "('a', 1)": (sum, [("a", 1), "1", 1])}
    assert client.dask_get(graph, [1, "1", ("a", 1), "('a', 1)"]) == (-5, -6, 9, -2)
    assert len(set(translate(graph)[1].values())) == 4


def test_what_no_key_needs_is_not_run(client: Client) -> None:
    graph = {"a": (operator.add, 1, 1), "unused": (fail, "a"), "b": (operator.neg, "a")}
    assert client.dask_get(graph, "b") == -2


def test_a_deep_graph_of_a_thousand_nodes(client: Client) -> None:
    graph: dict[Any, Any] = {("n", 0): (abs, 1)}
    graph |= {("n", number): (operator.add, ("n", number - 1), 1) for number in range(1, 1000)}
    assert client.dask_get(graph, ("n", 999)) == 1000


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_the_error_of_a_task_is_raised_as_it_is_and_names_the_key(client: Client) -> None:
    graph = {("bad", 3): (fail, 2), "after": (operator.neg, ("bad", 3))}
    with pytest.raises(ArithmeticError, match="on 2") as caught:
        client.dask_get(graph, ["after"])
    assert "('bad', 3)" in "".join(caught.value.__notes__)
    assert "raise ArithmeticError" in str(caught.value.__cause__)
    with pytest.raises(ArithmeticError, match="on 1"):
        dask.delayed(fail)(dask.delayed(abs)(-1)).compute(scheduler=client.dask_get)
    assert dask.delayed(abs)(-1).compute(scheduler=client.dask_get) == 1


@pytest.mark.parametrize(
    ("graph", "keys", "text"),
    [
        ({"a": 1}, "b", r"the key 'b' is not in the Dask graph"),
        ({"a": Task("a", abs, TaskRef(("b", 1)))}, "a", r"the node 'a' needs \('b', 1\), which is not"),
        ({"a": Alias("a", "b")}, "a", "the node 'a' stands for 'b', which is not"),
        ({"a": Alias("a", "b"), "b": Alias("b", "a")}, "a", "the node 'a' is another name for itself"),
        ({"a": (abs, "b"), "b": (abs, "a")}, "a", "cycle: 'a' → 'b' → 'a'"),
    ],
)
def test_what_is_no_graph_is_refused(client: Client, graph: Any, keys: Any, text: str) -> None:
    with pytest.raises(GraphError, match=text):
        client.dask_get(graph, keys)


def test_a_task_that_cannot_be_pickled_is_named(client: Client) -> None:
    with pytest.raises(CannotPickle, match=r"node 'locked'.*lock"):
        client.dask_get({"locked": Task("locked", str, threading.Lock())}, "locked")


def test_dask_is_not_imported_before_there_is_a_graph() -> None:
    script = "import sys, scaler_trio.integrations.dask_scheduler, scaler_trio.integrations.executor; sys.exit("
    script += "' '.join(sys.modules.keys() & {'dask', 'joblib'}))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20)
    assert ended.stderr.strip() == ""
