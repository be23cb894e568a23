"""Waits that end although what they wait for does not come: time-outs, other threads, forks."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator

import pytest
import trio

from scaler_trio import Client, ObjectStorageFailed, ScalerError, SchedulerClusterCombo
from scaler_trio.client.calls import future as futures
from tests.kit.waiting import wait_until


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with SchedulerClusterCombo(n_workers=2) as cluster, Client(cluster.get_address()) as connected:
        yield connected


def test_a_close_wakes_who_waits_for_the_next_result(client: Client) -> None:
    results = client.imap(time.sleep, [30], buffersize=1)
    ended = threading.Event()

    def consume() -> None:
        assert list(results) == []
        ended.set()

    thread = threading.Thread(target=consume)
    thread.start()
    wait_until(lambda: results._feed.sent == 1, "the row to be sent")
    results.close()
    assert ended.wait(5)
    thread.join()


def test_a_map_is_out_of_time_while_it_reads_its_items(client: Client) -> None:
    def slow() -> Iterator[int]:
        for number in range(100):
            time.sleep(0.1)
            yield number

    started = time.monotonic()
    with pytest.raises(TimeoutError):
        client.map(abs, slow(), timeout=0.5)
    assert time.monotonic() - started < 5  # of 10 for all items


def test_endless_timeouts_are_endless(client: Client) -> None:
    assert client.map(abs, [-1], timeout=math.inf) == [1]
    assert client.imap(abs, [-1]).next(timeout=1e12) == 1


def test_polling_leaves_nothing_behind(client: Client) -> None:
    future = client.submit(time.sleep, 30)
    for _ in range(20):
        with pytest.raises(TimeoutError):
            future.result(0.001)
    assert future._parked == ()
    future.cancel()


def test_a_callback_that_exits_ends_nothing(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    called = threading.Event()
    client.submit(abs, -1).add_done_callback(lambda _: sys.exit(3))
    client.submit(abs, -2).add_done_callback(lambda _: called.set())
    assert called.wait(10)


def in_forked_child(what: object) -> int:
    """The exit code of a child that does it: 0 if it raised a ``ScalerError`` or returned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        what()  # type: ignore[operator]
        code = 0
    except ScalerError:
        code = 0
    finally:
        os._exit(code)


def test_a_future_of_the_parent_raises_in_a_forked_child(client: Client) -> None:
    future = client.submit(time.sleep, 30)
    assert in_forked_child(lambda: future.result(None)) == 0
    future.cancel()


def test_a_fork_while_results_are_taken_in_leaves_the_child_free(client: Client) -> None:
    with futures._BIRTH:
        assert in_forked_child(lambda: Client(client.address).submit(abs, -1).result()) == 0


def test_a_coroutine_that_is_closed_within_our_locks_takes_none(client: Client) -> None:
    """As the garbage collector may do it, in a thread that settles futures."""
    future = client.submit(time.sleep, 30)
    waiting = future._wait_in_loop()

    async def half() -> None:
        waiting.send(None)

    ended = threading.Event()

    def close() -> None:
        with futures._BIRTH, client._session._lock:
            with contextlib.suppress(RuntimeError):  # Trio's, as its loop has ended
                waiting.close()
        ended.set()

    trio.run(half)
    threading.Thread(target=close, daemon=True).start()
    assert ended.wait(10)
    wait_until(future.cancelled, "the task to be cancelled")


def test_a_result_that_could_not_be_read_can_be_asked_for_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = client.submit(bytes, 1_000_000)
    wait_until(future.done, "the task to be done")

    def fail(self: object, object_id: bytes) -> bytes:
        raise ObjectStorageFailed("the storage is away for a moment")

    with monkeypatch.context() as patch:
        patch.setattr(type(client._session.objects), "read", fail)
        with pytest.raises(ObjectStorageFailed, match="for a moment"):
            future.result()
    assert future.result() == bytes(1_000_000)


def test_output_that_nobody_reads_stops_no_callbacks(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, called = threading.Event(), threading.Event()

    class Pager:
        def write(self, text: str) -> None:
            stuck.wait(20)

        def flush(self) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Pager())
        client.options(stream_output=True).submit(print, "hello").result()
        client.submit(abs, -1).add_done_callback(lambda future: called.set())
        assert called.wait(10)
        stuck.set()
