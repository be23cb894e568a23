"""Capabilities with amounts: what a task takes, nobody else has meanwhile; work waits for a worker that fits."""

from __future__ import annotations

import time

import pytest

from scaler_trio import Client, NoWorkerError, SchedulerClusterCombo
from tests.kit.workers import worker


def hold(seconds: float) -> tuple[float, float]:
    start = time.monotonic()
    time.sleep(seconds)
    return start, time.monotonic()


def most_at_once(spans: list[tuple[float, float]]) -> int:
    return max(sum(start <= at < end for start, end in spans) for at, _ in spans)


def test_amounts_are_enforced_and_other_tasks_go_beside() -> None:
    with SchedulerClusterCombo(n_workers=0) as cluster, worker(cluster, slots=4, gpu=2):
        with Client(cluster.get_address()) as client:
            assert most_at_once(client.map(hold, [0.3] * 8)) == 4
            with_gpu = client.options(capabilities={"gpu": 1})
            assert most_at_once([f.result(20) for f in [with_gpu.submit(hold, 0.2) for _ in range(6)]]) == 2
            assert most_at_once(with_gpu.map(hold, [0.2] * 6)) == 2
            both = client.options(capabilities={"gpu": 2})
            graph = {str(n): (hold, 0.1) for n in range(4)}
            assert most_at_once(list(both.get(graph, list(graph)).values())) == 1
            named = client.options(capabilities={"gpu": -1})
            assert most_at_once([f.result(20) for f in [named.submit(hold, 0.3) for _ in range(8)]]) == 4


def test_work_waits_for_a_worker_that_fits() -> None:
    with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
        with_gpu = client.options(capabilities={"gpu": 1})
        future = with_gpu.submit(abs, -1)
        futures = with_gpu.get({"a": -5, "b": (abs, "a")}, ["b"], block=False)
        with pytest.raises(TimeoutError, match="none of those connected fits what it asks for"):
            future.result(1.0)
        with worker(cluster, slots=1, gpu=1):
            assert future.result(20) == 1
            assert futures["b"].result(20) == 5
        with pytest.raises(NoWorkerError, match="no worker offers gpu=1"):
            with_gpu.submit(abs, -1).result(20)
