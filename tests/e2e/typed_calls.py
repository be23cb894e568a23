"""What mypy infers for each call, beside what the call returns: `test_types.py` checks the one and runs the other."""

from __future__ import annotations

import functools
from concurrent.futures import Future, as_completed
from typing import Any, TypeVar, assert_type

from scaler_trio import AsyncClient, Client, ObjectReference, ResultIterator, ScalerFuture

A = TypeVar("A")


class Shape:
    def __init__(self, sides: int) -> None:
        self.sides = sides

    def name(self, *, of: str = "") -> str:
        return f"{of}{self.sides}"


def first(items: list[A]) -> A:
    return items[0]


def half(number: int, *, digits: int = 1) -> float:
    return round(number / 2, digits)


def total(rows: list[list[int]], weight: int = 1) -> int:
    return sum(map(sum, rows)) * weight


def check_submit(client: Client) -> None:
    future = assert_type(client.submit(half, 3, digits=2), ScalerFuture[float])
    assert assert_type(future.result(), float) == 1.5
    assert assert_type(client.submit(len, "abc").result(), int) == 3
    assert assert_type(client.submit(first, ["a"]).result(), str) == "a"
    assert assert_type(client.submit(sorted, [2, 1]).result(), list[int]) == [1, 2]
    assert assert_type(client.submit(Shape, 4).result(), Shape).sides == 4
    assert assert_type(client.submit(Shape(3).name, of="n").result(), str) == "n3"
    assert assert_type(client.submit(lambda: 1).result(), int) == 1
    assert assert_type(client.submit(functools.partial(half, 5)).result(), float) == 2.5
    assert assert_type(client.options(priority=1).submit(half, 3).result(), float) == 1.5
    assert assert_type(client.submit_verbose(half, (3,), {"digits": 0}).result(), float) == 2


def check_futures(client: Client) -> None:
    futures = [client.submit(half, n) for n in range(3)]
    standard: list[Future[float]] = list(futures)
    done = assert_type([future.result() for future in as_completed(futures)], list[float])
    assert sorted(done) == sorted(future.result() for future in standard) == [0.0, 0.5, 1.0]
    assert isinstance(futures[0], Future)
    assert ScalerFuture[float].__origin__ is ScalerFuture  # type: ignore[attr-defined]


def check_references(client: Client) -> None:
    rows = [client.send_object([n, n]) for n in range(3)]
    assert_type(rows, list[ObjectReference[list[int]]])
    assert assert_type(client.fetch(rows[1]), list[int]) == [1, 1]
    wide: ObjectReference[object] = rows[2]
    assert assert_type(client.fetch(wide), object) == [2, 2]
    # A reference stands for its value, also within lists.
    assert assert_type(client.submit(first, client.send_object([7])).result(), Any) == 7
    assert assert_type(client.submit(total, rows).result(), int) == 6
    assert assert_type(client.submit(total, [[1], rows[2]], weight=client.send_object(2)).result(), int) == 10


def check_maps(client: Client) -> None:
    assert assert_type(client.map(half, [1, 2]), list[float]) == [0.5, 1.0]
    assert assert_type(client.starmap(divmod, [(7, 2)]), list[Any]) == [(3, 1)]
    mixed = assert_type(client.map(half, [4, 0], return_exceptions=True), list[float | BaseException])
    assert [value for value in mixed if not isinstance(value, BaseException)] == [2.0, 0.0]
    starred = client.starmap(half, [(4,)], return_exceptions=True)
    assert assert_type(starred, list[float | BaseException]) == [2.0]
    results = assert_type(client.imap(half, [1]), ResultIterator[float])
    assert assert_type(results.next(), float) == 0.5
    assert assert_type(list(client.imap_unordered(half, [1])), list[float]) == [0.5]
    either = client.imap(half, [1], return_exceptions=True)
    assert assert_type(next(either), float | BaseException) == 0.5
    assert assert_type(client.map(str, [1]), list[str]) == ["1"]


def check_graphs(client: Client) -> None:
    graph = {"a": (half, 4)}
    assert assert_type(client.get(graph, ["a"]), dict[str, Any]) == {"a": 2.0}
    futures = assert_type(client.get(graph, ["a"], block=False), dict[str, ScalerFuture[Any]])
    assert futures["a"].result() == 2.0


def check_executor(client: Client) -> None:
    with client.executor() as executor:
        assert assert_type(executor.submit(half, 3), Future[float]).result() == 1.5
        assert assert_type(list(executor.map(half, [1, 2])), list[float]) == [0.5, 1.0]


async def check_async(client: AsyncClient) -> None:
    assert assert_type(await client.submit(half, 3, digits=2), float) == 1.5
    assert assert_type(await client.submit(first, ["a"]), str) == "a"
    assert assert_type(await client.map(half, [1, 2]), list[float]) == [0.5, 1.0]
    assert assert_type(await client.map(half, [1], return_exceptions=True), list[float | BaseException]) == [0.5]
    assert assert_type(await client.starmap(half, [(1,)]), list[float]) == [0.5]
    assert assert_type([value async for value in client.imap(half, [1])], list[float]) == [0.5]
    assert assert_type([value async for value in client.imap_unordered(half, [1])], list[float]) == [0.5]
    reference = assert_type(await client.send_object("text"), ObjectReference[str])
    assert assert_type(await client.fetch(reference), str) == "text"
    assert assert_type(await client.submit(half, await client.send_object(3)), float) == 1.5
    futures = assert_type(await client.get({"a": (half, 4)}, ["a"], block=False), dict[str, ScalerFuture[Any]])
    assert await futures["a"] == 2.0
    assert assert_type(await client.options(priority=1).submit(half, 3), float) == 1.5
