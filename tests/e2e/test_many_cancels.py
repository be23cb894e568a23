"""Cancelling in numbers, without workers and against results that come: never waits, and costs nobody a worker."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from scaler_trio import Client, ScalerFuture, SchedulerClusterCombo
from tests.kit.processes import ClusterProcesses
from tests.kit.remote import remote_workers
from tests.kit.waiting import wait_until

AT_ONCE_S = 1.0
"""A cancel takes microseconds; on a busy machine, thousands of them stay far below this."""


def appear_and_sleep(path: Path, seconds: float) -> None:
    path.touch()
    time.sleep(seconds)


def mark(path: Path, *inputs: Any) -> None:
    path.touch()


def square(value: int) -> int:
    return value * value


def seconds_to_cancel(futures: list[ScalerFuture]) -> float:
    started = time.monotonic()
    answers = [future.cancel() for future in futures]
    took_s = time.monotonic() - started
    assert all(answers)
    return took_s


def assert_healthy(client: Client, workers: int) -> None:
    """All workers are free at once, and nothing that was cancelled is left in the client."""
    started = time.monotonic()
    naps = [client.submit(time.sleep, 0.5) for _ in range(workers)]
    for nap in naps:
        nap.result(10)
    assert time.monotonic() - started < 1.4, "a worker is still held by what was cancelled"
    assert client.map(square, range(1000)) == [n * n for n in range(1000)]
    wait_until(lambda: client._session._core.is_idle, "the client to have nothing unfinished")


def test_thousands_of_cancelled_tasks_leave_a_healthy_cluster(client: Client, tmp_path: Path) -> None:
    started = tmp_path / "started"
    futures = [client.submit(appear_and_sleep, started, 30.0) for _ in range(2000)]
    wait_until(started.exists, "one of them to run")
    assert seconds_to_cancel(futures) < AT_ONCE_S
    assert all(future.cancelled() and future.done() for future in futures)
    with pytest.raises(CancelledError):
        futures[-1].result()
    assert_healthy(client, 2)


def test_cancels_that_race_with_results_end_one_way_or_the_other_and_cost_no_worker(client: Client) -> None:
    outcomes = {True: 0, False: 0}
    for turn in range(30):
        futures = [client.submit(square, n) for n in range(100)]
        futures[turn].result(10)  # now results are coming in
        for n, future in enumerate(futures):
            is_cancelled = future.cancel()
            outcomes[is_cancelled] += 1
            assert future.done()
            assert future.cancelled() is is_cancelled
            if is_cancelled:
                with pytest.raises(CancelledError):
                    future.result(0)
            else:
                assert future.result(0) == n * n
    assert all(outcomes.values()), f"one side always won, nothing was tested: {outcomes}"
    assert_healthy(client, 2)


def test_what_is_cancelled_while_there_is_no_worker_is_cancelled_at_once_and_never_runs(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    graph: dict[str, Any] = {"path": ran, "a": (appear_and_sleep, "path", 0.0), "b": (square, "a"), "c": (square, "b")}
    with SchedulerClusterCombo(n_workers=0) as cluster, Client(cluster.get_address()) as client:
        futures = [client.submit(appear_and_sleep, ran, 0.0) for _ in range(100)]
        nodes = client.get(graph, ["a", "b", "c"], block=False)
        with pytest.raises(TimeoutError):
            futures[0].result(0.2)
        assert seconds_to_cancel([*futures, *nodes.values()]) < AT_ONCE_S
        assert all(future.cancelled() for future in [*futures, *nodes.values()])
        wait_until(lambda: client._session._core.is_idle, "the scheduler to confirm")
        with remote_workers(cluster.get_address(), cluster.token, 1):
            assert client.submit(square, 3).result(20) == 9
    assert not ran.exists()


def test_clear_with_all_workers_gone_cancels_what_waits(tmp_path: Path) -> None:
    started = tmp_path / "started"
    with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
        futures = [client.submit(appear_and_sleep, started, 60.0) for _ in range(20)]
        wait_until(started.exists, "one of them to run")
        (agent,) = ClusterProcesses.of(cluster.get_address()).agents()
        agent.kill()
        client.clear()
        for future in futures:
            with pytest.raises(CancelledError):
                future.result(0)
        assert client.submit(square, 4).result(20) == 16, "its successor works"


def test_a_client_that_leaves_cancels_its_graph(cluster: SchedulerClusterCombo, tmp_path: Path) -> None:
    started, after = tmp_path / "started", tmp_path / "after"
    graph = {"started": started, "after": after, "a": (appear_and_sleep, "started", 30.0), "b": (mark, "after", "a")}
    with Client(cluster.get_address()) as client:
        futures = client.get(graph, ["a", "b"], block=False)
        wait_until(started.exists, "the first node to run")
    for future in futures.values():
        with pytest.raises(CancelledError):
            future.result(0)
    with Client(cluster.get_address()) as other:
        assert_healthy(other, 2)
    assert not after.exists()
