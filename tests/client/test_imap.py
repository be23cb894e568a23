"""`imap` and `imap_unordered`, end to end, against a scheduler that executes rows itself."""

from __future__ import annotations

import gc
import itertools
import operator
import threading
from collections.abc import Iterator

import pytest

from scaler_protocol import messages as m
from scaler_trio.client import Client
from scaler_trio.errors import TaskCancelled
from scaler_trio.serialization import CannotPickle
from tests.client.fake_scheduler import FakeScheduler
from tests.kit.waiting import wait_until


def divide(x: int) -> float:
    return 6 / x


class Counting(Iterator[int]):
    """Counts what was read of it."""

    def __init__(self) -> None:
        self.read = 0

    def __next__(self) -> int:
        self.read += 1
        return self.read


def test_results_come_in_order_and_end(client: Client) -> None:
    results = client.imap(abs, range(-10_000, 0))
    assert list(results) == list(range(10_000, 0, -1))
    assert list(results) == []
    with pytest.raises(StopIteration):
        next(results)


def test_unordered_results_are_the_same_ones(client: Client) -> None:
    assert sorted(client.imap_unordered(abs, range(-5000, 0))) == list(range(1, 5001))


def test_an_endless_iterable_is_read_as_results_are(client: Client) -> None:
    numbers = Counting()
    with client.imap(operator.neg, numbers, buffersize=50) as results:
        assert numbers.read == 0, "nothing is read before somebody asks"
        for expected in range(1, 1001):
            assert next(results) == -expected
            assert numbers.read <= expected + 50


def test_several_iterables_end_with_the_shortest(client: Client) -> None:
    assert list(client.imap(operator.add, [1, 2, 3], itertools.count(10))) == [11, 13, 15]


def test_an_empty_iterable_gives_nothing_and_sends_nothing(client: Client, scheduler: FakeScheduler) -> None:
    assert list(client.imap(abs, [])) == []
    assert scheduler.of(m.OpenArray) == []


def test_a_failed_item_raises_at_its_place_and_the_rest_goes_on(client: Client) -> None:
    results = client.imap(divide, [1, 0, 2])
    assert next(results) == 6
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert "item 1 of an imap of divide" in caught.value.__notes__
    assert list(results) == [3]


def test_exceptions_may_be_results(client: Client) -> None:
    first, second, third = client.imap(divide, [1, 0, 2], return_exceptions=True)
    assert (first, third) == (6, 3)
    assert isinstance(second, ZeroDivisionError)


def test_an_item_that_cannot_be_pickled_fails_alone(client: Client) -> None:
    values = list(client.imap(repr, [1, threading.Lock(), 2], return_exceptions=True))
    assert values[0] == "1" and values[2] == "2"
    assert isinstance(values[1], CannotPickle)


def test_an_iterable_that_fails_ends_the_iteration_with_its_error(client: Client, scheduler: FakeScheduler) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise RuntimeError("no more")

    results = client.imap(abs, numbers())
    with pytest.raises(RuntimeError, match="no more"):
        list(results)
    assert list(results) == []
    wait_until(lambda: client._session._core.is_idle, "the array to be given up")


@pytest.mark.parametrize("end", ["close", "drop"])
def test_what_nobody_reads_is_cancelled(client: Client, scheduler: FakeScheduler, end: str) -> None:
    scheduler.paused = True
    results = client.imap(abs, itertools.count(), buffersize=10)
    with pytest.raises(TimeoutError, match="imap of abs"):
        results.next(timeout=0.05)
    if end == "close":
        results.close()
        assert list(results) == []
    del results
    gc.collect()
    wait_until(lambda: scheduler.of(m.CancelTasks), "the array to be cancelled")
    scheduler.resume()
    wait_until(lambda: client._session._core.is_idle, "the cancel to be answered")


def test_a_closed_client_ends_the_iteration(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    results = client.imap(abs, range(10))
    with pytest.raises(TimeoutError):
        results.next(timeout=0.05)
    client.close()
    with pytest.raises(TaskCancelled):
        next(results)


def test_wrong_calls_are_refused(client: Client) -> None:
    with pytest.raises(TypeError, match=r"imap\(\) needs a function"):
        client.imap(abs)
    with pytest.raises(TypeError, match=r"argument 2 of imap_unordered\(\) is 5, which is not iterable"):
        client.imap_unordered(abs, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="buffersize is 0"):
        client.imap(abs, [], buffersize=0)
