"""Futures of real tasks: their states, callbacks, and waiting for them in threads, asyncio and Trio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from scaler_trio import Client, SchedulerClusterCombo
from tests.chaos.work import nap, square
from tests.kit.waiting import wait_until

if TYPE_CHECKING:
    from scaler_trio import ScalerFuture


def appear_and_sleep(path: Path, seconds: float = 30.0) -> None:
    path.touch()
    time.sleep(seconds)


def states(future: ScalerFuture) -> tuple[bool, bool, bool]:
    return future.running(), future.done(), future.cancelled()


def test_a_future_is_pending_then_done_or_cancelled_for_ever(client: Client, tmp_path: Path) -> None:
    started = tmp_path / "started"
    future = client.submit(appear_and_sleep, started)
    assert states(future) == (False, False, False)
    wait_until(started.exists, "it to run")
    assert states(future) == (False, False, False), "a client does not follow where its tasks are"
    assert future.cancel()
    assert future.cancel(), "as often as one likes"
    assert states(future) == (False, True, True)
    for ask in (future.result, future.exception):
        with pytest.raises(CancelledError):
            ask(0)

    done = client.submit(square, 3)
    assert done.result(10) == 9
    assert not done.cancel()
    assert states(done) == (False, True, False)
    assert (done.result(0), done.exception(0)) == (9, None)

    failed = client.submit(divmod, 1, 0)
    assert type(failed.exception(10)) is ZeroDivisionError
    assert not failed.cancel()
    assert states(failed) == (False, True, False)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failed.result(0)


def test_a_callback_is_called_once_for_every_end_although_nobody_asks_for_the_result(
    client: Client, tmp_path: Path
) -> None:
    called: list[tuple[str, bool]] = []
    started = tmp_path / "started"
    futures = {
        "value": client.submit(square, 3),
        "large value": client.submit(bytes, 3_000_000),
        "error": client.submit(divmod, 1, 0),
        "cancelled": client.submit(appear_and_sleep, started),
    }
    for name, future in futures.items():
        future.add_done_callback(lambda future, name=name: called.append((name, future.done())))  # type: ignore[misc]
    wait_until(lambda: len(called) == 3, lambda: f"three callbacks: {called}")
    futures["cancelled"].cancel()
    wait_until(lambda: len(called) == 4, lambda: f"four callbacks: {called}")
    assert sorted(called) == sorted((name, True) for name in futures)
    assert len(futures["large value"].result()) == 3_000_000, "its result is still there"
    assert len(called) == 4


def test_as_completed_gives_results_and_cancellations(client: Client, tmp_path: Path) -> None:
    started = tmp_path / "started"
    results = [client.submit(square, n) for n in range(50)]
    runs = client.submit(appear_and_sleep, started)
    wait_until(started.exists, "it to run")
    waits = [client.submit(appear_and_sleep, tmp_path / "never") for _ in range(3)]
    threading.Timer(0.2, lambda: [future.cancel() for future in (runs, *waits)]).start()
    values, cancelled = [], 0
    for future in concurrent.futures.as_completed([*results, runs, *waits], timeout=20):
        if future.cancelled():
            cancelled += 1
        else:
            values.append(future.result(0))
    assert sorted(values) == [n * n for n in range(50)]
    assert cancelled == 4
    done, not_done = concurrent.futures.wait([*results, runs, *waits], timeout=0)
    assert (len(done), len(not_done)) == (54, 0)


def test_asyncio_awaits_values_errors_and_cancellations(client: Client, tmp_path: Path) -> None:
    started = tmp_path / "started"
    started_too = tmp_path / "started too"

    async def main() -> Any:
        with pytest.raises(ZeroDivisionError):
            await client.submit(divmod, 1, 0)
        mine = client.submit(appear_and_sleep, started)
        asyncio.get_running_loop().call_later(0.1, mine.cancel)
        with pytest.raises((asyncio.CancelledError, CancelledError)):
            await mine
        abandoned = client.submit(appear_and_sleep, started_too)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(abandoned_by(abandoned), 0.2)
        assert abandoned.cancelled(), "who stops waiting cancels"
        return await asyncio.gather(*[client.submit(square, n) for n in range(200)])

    async def abandoned_by(future: ScalerFuture) -> Any:
        return await future

    assert asyncio.run(main()) == [n * n for n in range(200)]
    assert client.submit(square, 5).result(10) == 25


def test_trio_awaits_values_errors_and_cancellations(client: Client, tmp_path: Path) -> None:
    async def main() -> Any:
        with trio.fail_after(20):
            with pytest.raises(ZeroDivisionError):
                await client.submit(divmod, 1, 0)
            mine = client.submit(appear_and_sleep, tmp_path / "a")
            threading.Timer(0.1, mine.cancel).start()
            with pytest.raises(CancelledError):
                await mine
            abandoned = client.submit(appear_and_sleep, tmp_path / "b")
            with trio.move_on_after(0.2) as scope:
                await abandoned
            assert scope.cancelled_caught
            assert abandoned.cancelled(), "who stops waiting cancels"
            values: dict[int, int] = {}

            async def wait_for(n: int) -> None:
                values[n] = await client.submit(square, n)

            async with trio.open_nursery() as nursery:
                for n in range(200):
                    nursery.start_soon(wait_for, n)
            return values

    assert trio.run(main) == {n: n * n for n in range(200)}
    future = client.submit(square, 5)
    assert future.result(10) == 25
    assert trio.run(value_of, future) == 25, "what is done may be awaited too"


async def value_of(future: ScalerFuture) -> Any:
    return await future


def test_a_slow_callback_delays_neither_results_nor_the_connection() -> None:
    go_on = threading.Event()
    entered = threading.Event()

    def slow(_: Any) -> None:
        entered.set()
        assert go_on.wait(30)

    # Longer than anybody may be silent, and the client gets no grace: one whose connection slept would be lost.
    with (
        SchedulerClusterCombo(n_workers=1, worker_timeout_s=0.5, client_grace_s=0.0) as cluster,
        Client(cluster.get_address()) as client,
    ):
        try:
            client.submit(square, 1).add_done_callback(slow)
            assert entered.wait(10)
            started = time.monotonic()
            assert client.submit(square, 2).result(5) == 4
            assert client.map(square, range(100)) == [n * n for n in range(100)]
            assert time.monotonic() - started < 1.0
            assert [client.submit(nap, n, 0.05).result(5) for n in range(40)] == [n * n for n in range(40)]
        finally:
            go_on.set()


def test_connecting_a_call_and_disconnecting_are_quick(cluster: SchedulerClusterCombo) -> None:
    slowest = dict.fromkeys(("connect", "submit", "result", "disconnect"), 0.0)
    for turn in range(5):
        moments = [time.monotonic()]
        client = Client(cluster.get_address())
        moments.append(time.monotonic())
        future = client.submit(square, turn)
        moments.append(time.monotonic())
        assert future.result(10) == turn**2
        moments.append(time.monotonic())
        client.disconnect()
        moments.append(time.monotonic())
        if turn:  # the first one imports
            for name, before, after in zip(slowest, moments, moments[1:], strict=False):
                slowest[name] = max(slowest[name], after - before)
    assert max(slowest.values()) < 0.3, slowest
