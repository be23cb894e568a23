"""Workers and a client on "other hosts": 600 MB by TCP, while the scheduler answers everybody else."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from scaler_trio import Client, SchedulerClusterCombo
from tests.kit.remote import RemoteAccess, remote_workers

SIZE = 75_000_000
"""600 MB of float64."""


def check(array: Any) -> tuple[int, float, float]:
    return array.size, float(array[0]), float(array[-1])


def double(array: Any) -> Any:
    array += array
    return array


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(120)
def test_600_megabytes_travel_by_tcp_while_other_clients_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaler_trio.objects.access.ObjectAccess", RemoteAccess)
    with (
        SchedulerClusterCombo(n_workers=0, object_memory_bytes=3_000_000_000) as cluster,
        remote_workers(cluster.get_address(), cluster.token, 2),
        Client(cluster.get_address()) as client,
        Client(cluster.get_address()) as other,
    ):
        assert other.submit(abs, -1).result(timeout=30) == 1
        slowest_s = 0.0
        is_over = threading.Event()

        def ask() -> None:
            nonlocal slowest_s
            while not is_over.is_set():
                started = time.monotonic()
                other.submit(abs, -1).result(timeout=30)
                slowest_s = max(slowest_s, time.monotonic() - started)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            array = np.arange(SIZE, dtype=float)
            assert client.submit(check, array).result(timeout=60) == (SIZE, 0.0, SIZE - 1.0)
            result = client.submit(double, array).result(timeout=60)
        finally:
            is_over.set()
            asking.join()
        assert (result[:: SIZE // 100] == 2 * array[:: SIZE // 100]).all()
        assert array[-1] == SIZE - 1.0
        assert slowest_s < 1.0, f"another client waited {slowest_s:.2f} s"


def test_arrays_reach_workers_on_other_hosts_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaler_trio.objects.access.ObjectAccess", RemoteAccess)
    with (
        SchedulerClusterCombo(n_workers=0) as cluster,
        remote_workers(cluster.get_address(), cluster.token, 1),
        Client(cluster.get_address()) as client,
    ):
        array = np.arange(3_000_000, dtype=float)
        results = client.map(double, [array] * 4)
        assert all((result == 2 * array).all() for result in results)
