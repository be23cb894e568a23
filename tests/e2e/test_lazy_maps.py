"""`imap` over iterables that are slow, live or faulty: what is here is given, and every wait ends."""

from __future__ import annotations

import gc
import queue
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from scaler_trio import Client, ScalerError, SchedulerClusterCombo
from tests.kit.waiting import wait_until


@pytest.fixture(scope="module")
def cluster() -> Iterator[SchedulerClusterCombo]:
    with SchedulerClusterCombo(n_workers=2) as running:
        with Client(running.get_address()) as client:
            client.map(abs, range(100))  # all its processes exist before the first test, which would be blamed for them
        yield running


@pytest.fixture
def client(cluster: SchedulerClusterCombo) -> Iterator[Client]:
    with Client(cluster.get_address()) as connected:
        yield connected


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "scaler-imap"]


@pytest.mark.parametrize("how", ["imap", "imap_unordered"])
def test_results_come_while_a_live_source_waits(client: Client, how: str) -> None:
    source: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    results = getattr(client, how)(abs, iter(source.get, None))
    for number in range(-5, 0):
        source.put(number)
        assert results.next(timeout=20) == -number
    source.put(None)
    assert list(results) == []
    wait_until(lambda: not threads(), "the thread to end")


def test_a_generator_may_depend_on_earlier_results(client: Client) -> None:
    seen: queue.SimpleQueue[int] = queue.SimpleQueue()

    def numbers() -> Iterator[int]:
        value = 1
        while value < 100:
            yield value
            value = seen.get(timeout=20)

    taken = []
    for result in client.imap(lambda value: 2 * value, numbers()):
        taken.append(result)
        seen.put(result)
    assert taken == [2, 4, 8, 16, 32, 64, 128]


def test_a_time_out_holds_while_items_are_read(client: Client) -> None:
    def slow() -> Iterator[int]:
        for number in range(3):
            time.sleep(1.5)
            yield number

    results = client.imap(abs, slow())
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        results.next(timeout=0.1)
    assert time.monotonic() - started < 1.2
    assert list(results) == [0, 1, 2]


def test_what_the_iterable_raises_comes_after_the_results(client: Client) -> None:
    def failing() -> Iterator[int]:
        yield from range(50)
        raise RuntimeError("no more")

    results = client.imap(abs, failing())
    taken = []
    with pytest.raises(RuntimeError, match="no more"):
        taken.extend(results)
    assert taken == list(range(50))
    assert list(results) == []


def test_the_client_may_have_no_other_name(cluster: SchedulerClusterCombo) -> None:
    results = Client(cluster.get_address()).imap(abs, range(-3000, 0))
    gc.collect()
    assert sum(results) == 3000 * 3001 // 2
    numbers = Client(cluster.get_address()).imap(abs, (n for n in range(-3000, 0)))
    gc.collect()
    assert sum(numbers) == 3000 * 3001 // 2


def test_a_closed_client_is_noticed_while_a_source_waits(cluster: SchedulerClusterCombo) -> None:
    source: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    client = Client(cluster.get_address())
    results = client.imap(abs, iter(source.get, None))
    source.put(-1)
    assert next(results) == 1
    threading.Timer(0.2, client.close).start()
    with pytest.raises(ScalerError):
        results.next(timeout=20)
    source.put(None)
    wait_until(lambda: not threads(), "the thread to end")


def test_a_close_wakes_who_waits_for_a_source(client: Client) -> None:
    source: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    results = client.imap(abs, iter(source.get, None))
    threading.Timer(0.2, results.close).start()
    assert list(results) == []
    source.put(-1)  # read too late: not sent
    wait_until(lambda: not threads(), "the thread to end")
    assert client.submit(abs, -1).result() == 1


def test_a_dropped_iterator_ends_its_thread(client: Client) -> None:
    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    results = client.imap(abs, endless(), buffersize=10)
    assert next(results) == 0
    assert threads()
    gone = weakref.ref(results)
    del results
    gc.collect()
    assert gone() is None
    wait_until(lambda: not threads(), "the thread to end", timeout_s=10)


def test_closing_at_any_moment(client: Client) -> None:
    """The reader, the closer and the source's thread meet at every step."""
    for turn in range(60):
        results = client.imap(abs, (n for n in range(1000)), buffersize=100)
        closer = threading.Timer(turn / 60 * 0.03, results.close)
        closer.start()
        taken = list(results)
        assert taken == list(range(len(taken)))
        closer.join()
    assert client.map(abs, [-1]) == [1]
    wait_until(lambda: client._session._core.is_idle, "nothing to be left")


def test_items_that_come_at_the_very_end_are_not_lost(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that reads ahead ends between the reader's look at its items and at whether more will come."""
    source: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    results = client.imap(abs, iter(source.get, None))
    feed = results._feed
    ahead = feed._ahead
    assert ahead is not None
    source.put(-1)
    assert next(results) == 1
    taken = feed._blocks.next

    def take(most: int) -> object:
        block = taken(most)
        if block is None and not ahead.is_done:
            source.put(-2)
            source.put(None)
            wait_until(lambda: ahead.is_done, "the thread to end")
        return block

    monkeypatch.setattr(feed._blocks, "next", take)
    feed.feed()
    assert list(results) == [2]


def test_an_iterable_that_exits_ends_its_reader_and_not_quietly(client: Client) -> None:
    def leaving() -> Iterator[int]:
        yield -1
        raise SystemExit(3)

    results = client.imap(abs, leaving())
    assert next(results) == 1
    with pytest.raises(SystemExit):
        next(results)
