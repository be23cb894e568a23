"""`map` and `starmap`, end to end, against a scheduler that executes rows itself."""

from __future__ import annotations

import functools
import itertools
import operator
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from scaler_protocol import messages as m
from scaler_trio.client import Client
from scaler_trio.client.calls.array_call import AHEAD_BYTES
from scaler_trio.errors import TaskCancelled
from scaler_trio.serialization import CannotPickle, RemoteTraceback
from tests.client.fake_scheduler import TOKEN, FakeScheduler
from tests.kit.waiting import wait_until


class Uncopyable:
    def __reduce__(self) -> Any:
        raise TypeError("not this one")


def keyword_only(a: int, *, b: int = 2) -> int:
    return 10 * a + b


def divide(x: int) -> float:
    return 6 / x


def test_results_come_in_order(client: Client) -> None:
    assert client.map(abs, range(-1000, 0)) == list(range(1000, 0, -1))


def test_several_iterables_end_with_the_shortest(client: Client) -> None:
    assert client.map(operator.add, [1, 2, 3], (10, 20)) == [11, 22]
    assert client.map(operator.add, [1, 2], itertools.repeat(5)) == [6, 7]
    assert client.map(operator.mul, [1, 2, 3], itertools.count(1)) == [1, 4, 9]


def test_starmap_takes_rows_of_any_iterable(client: Client) -> None:
    assert client.starmap(pow, [(2, 3), [3, 2], (4, 1)]) == [8, 9, 4]


def test_an_empty_iterable_gives_an_empty_list_and_sends_nothing(client: Client, scheduler: FakeScheduler) -> None:
    assert client.map(abs, []) == []
    assert client.map(abs, (x for x in ())) == []
    assert client.starmap(abs, ()) == []
    assert scheduler.of(m.OpenArray) == []


def test_a_generator_is_read_once_and_by_need(client: Client) -> None:
    assert client.map(abs, (x for x in range(5000))) == list(range(5000))


def test_rows_of_a_slow_generator_do_not_wait_for_each_other(
    client: Client, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def rows() -> Iterator[int]:
        nonlocal now
        for i in range(20):
            now += 1.0
            yield i

    monkeypatch.setattr("scaler_trio.client.calls.array_call.time.monotonic", lambda: now)
    assert client.map(abs, rows()) == list(range(20))
    assert [block.count for block in scheduler.of(m.ArrayBlock)] == [1] * 20


def test_an_iterator_that_raises_cancels_the_rest_and_raises_here(client: Client) -> None:
    def rows() -> Iterator[int]:
        yield from range(100)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        client.map(abs, rows())
    assert client.map(abs, [-1]) == [1]


@pytest.mark.parametrize(
    ("function", "items", "expected"),
    [
        (max, [[1, 5], [7, 2]], [5, 7]),  # has no signature
        (lambda x: x + 1, [1, 2], [2, 3]),
        (functools.partial(keyword_only, b=7), [1, 2], [17, 27]),
        (str.upper, ["a", "b"], ["A", "B"]),
        ("x".join, [["a", "b"]], ["axb"]),
        (dict, [[("a", 1)]], [{"a": 1}]),
    ],
)
def test_any_callable_does(client: Client, function: Any, items: list[Any], expected: list[Any]) -> None:
    assert client.map(function, items) == expected


def test_a_closure_is_pickled_again_when_what_it_captures_changed(client: Client) -> None:
    factor = [2]
    offset = 1
    scale = lambda x: factor[0] * x  # noqa: E731
    shift = lambda x: x + offset  # noqa: E731
    assert client.map(scale, [1, 2]) == [2, 4]
    factor[0] = 3
    assert client.map(scale, [1, 2]) == [3, 6]
    assert client.map(shift, [1, 2]) == [2, 3]
    offset = 5
    assert client.map(shift, [1, 2]) == [6, 7]


def test_a_class_of_main_and_its_instances_travel(client: Client) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    Point.__module__ = "__main__"
    doubled = client.map(lambda p: Point(2 * p.x), [Point(1), Point(2)])
    assert [p.x for p in doubled] == [2, 4]


def test_the_lowest_failed_item_is_raised_with_its_remote_traceback_and_the_counts(client: Client) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        client.map(divide, [1, 2, 0, 3, 0])
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in divide" in str(caught.value.__cause__)
    assert caught.value.__notes__[0].startswith("item 2 of a map of divide: 3 items finished, 2 failed")


def test_a_client_is_usable_after_a_failed_map(client: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        client.map(divide, [0])
    assert client.map(divide, [3]) == [2]


def test_return_exceptions_puts_them_in_their_places(client: Client) -> None:
    one, zero, also_zero = client.map(divide, [6, 0, 0], return_exceptions=True)
    assert one == 1
    assert isinstance(zero, ZeroDivisionError)
    assert isinstance(also_zero, ZeroDivisionError)


def test_an_item_that_cannot_be_pickled_is_named_and_the_others_run(client: Client) -> None:
    first, second, third = client.map(type, [1, Uncopyable(), 2], return_exceptions=True)
    assert (first, third) == (int, int)
    assert isinstance(second, CannotPickle)
    assert "not this one" in str(second)
    with pytest.raises(CannotPickle) as caught:
        client.map(type, [1, Uncopyable(), 2])
    assert caught.value.__notes__[0].startswith("item 1 of a map of type")


def test_all_items_may_be_impossible_to_pickle(client: Client) -> None:
    results = client.map(type, [Uncopyable()] * 100, return_exceptions=True)
    assert {type(result) for result in results} == {CannotPickle}


def test_a_result_that_cannot_be_pickled_is_that_items_error(client: Client) -> None:
    ok, failed = client.map(lambda x: x if x else threading.Lock(), [1, 0], return_exceptions=True)
    assert ok == 1
    assert isinstance(failed, CannotPickle)
    assert "the result" in str(failed)


def test_a_function_that_cannot_be_pickled_is_named_before_anything_is_sent(
    client: Client, scheduler: FakeScheduler
) -> None:
    lock = threading.Lock()
    with pytest.raises(CannotPickle, match="uses_lock"):

        def uses_lock(x: int) -> Any:
            return lock, x

        client.map(uses_lock, [1])
    assert scheduler.of(m.OpenArray) == []


def test_no_iterable_and_no_callable_are_type_errors(client: Client) -> None:
    with pytest.raises(TypeError, match="at least one iterable"):
        client.map(abs)
    with pytest.raises(TypeError, match="not callable"):
        client.map(3, [1])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        client.map(abs, 5)  # type: ignore[arg-type]


def test_a_timeout_names_how_far_it_came(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    with pytest.raises(TimeoutError, match=r"0 of 10 items were done after 0\.1 s"):
        client.map(abs, range(10), timeout=0.1)
    scheduler.wait_for(lambda: bool(scheduler.of(m.CancelTasks)), "the rest is cancelled")


def test_only_so_much_is_pickled_ahead_of_what_was_sent() -> None:
    read = 0

    def rows() -> Iterator[bytes]:
        nonlocal read
        for i in range(400):
            read += 1
            yield i.to_bytes(4, "big") * 12_500  # 50 kB

    with FakeScheduler(credit_bytes=1 << 20) as scheduler, Client(scheduler.address, token=TOKEN) as client:
        scheduler.paused = True
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.extend(client.map(len, rows())))
        thread.start()
        scheduler.wait_for(lambda: bool(scheduler.of(m.Backlog)), "a backlog is announced")
        wait_until(
            lambda: sys._current_frames()[thread.ident or 0].f_code.co_name == "wait", "the producer to stand still"
        )
        assert read * 50_000 < AHEAD_BYTES + 4 * (1 << 20)
        scheduler.resume()
        thread.join(20)
        assert results == [50_000] * 400


def test_blocks_are_freed_as_their_rows_end(client: Client) -> None:
    core = client._session._core
    most = 0

    def rows() -> Iterator[int]:
        nonlocal most
        for i in range(300_000):
            if i % 10_000 == 0:
                most = max(most, sum(len(a._blocks) for a in list(core._arrays.values())))
            yield i

    assert len(client.map(abs, rows())) == 300_000
    assert most < 40
    assert core.is_idle


def test_clear_ends_a_running_map(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    caught: list[BaseException] = []

    def call() -> None:
        try:
            client.map(abs, range(10))
        except TaskCancelled as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    scheduler.wait_for(lambda: bool(scheduler.of(m.ArrayBlock)), "the rows are sent")
    client.clear()
    thread.join(5)
    assert len(caught) == 1
    scheduler.wait_for(lambda: bool(scheduler.of(m.CancelTasks)), "the scheduler is told")


def test_a_list_that_changes_its_length_meanwhile_is_an_error(client: Client) -> None:
    items = list(range(1000))

    class Shrinking(int):
        def __reduce__(self) -> Any:
            del items[500:]
            return int, (0,)

    items[0] = Shrinking(0)
    with pytest.raises(RuntimeError, match="there were 1000"):
        client.map(abs, items)


def test_an_iterable_is_asked_for_its_items_once(client: Client) -> None:
    class Cursor:
        asked = 0

        def __iter__(self) -> Iterator[int]:
            self.asked += 1
            return iter([-1, -2])

    one, two = Cursor(), Cursor()
    assert client.map(abs, one) == [1, 2]
    assert client.map(max, one, two) == [-1, -2]
    assert (one.asked, two.asked) == (2, 1)
