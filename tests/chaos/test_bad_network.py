"""Connections that break, stall and half-close at random moments: everything is done, and reported once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scaler_trio import Client, SchedulerClusterCombo
from tests.chaos.work import nap, spin, square
from tests.kit.ledger import Ledger
from tests.kit.processes import PROCESSOR, WORKER, below
from tests.kit.proxy import Proxy, troubled
from tests.kit.waiting import wait_until

ITEMS = 10_000
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 6))]


@contextmanager
def workers(address: str, token: str, count: int) -> Iterator[int]:
    """A worker manager whose workers dial this address; its process id."""
    argv = [
        *(sys.executable, "-c", "from scaler_trio.cli.worker_manager import main; main()"),
        *("baremetal_native", address, "--mode", "fixed"),
        *("--max-task-concurrency", str(count), "--logging-level", "ERROR"),
    ]
    environment = {**os.environ, "SCALER_TOKEN": token, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(argv, env=environment) as process:
        try:
            wait_until(lambda: len(below(process.pid, PROCESSOR)) == count, f"{count} workers")
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_client_whose_connection_breaks_again_and_again_gets_everything_once(seed: int) -> None:
    with (
        SchedulerClusterCombo(n_workers=2) as cluster,
        Proxy(cluster.get_address()) as proxy,
        Client(proxy.address, token=cluster.token) as client,
    ):
        ledger = Ledger(client)
        with troubled(proxy, every_s=(0.05, 0.3), seed=seed) as done:
            assert client.map(spin, range(ITEMS), timeout=40) == [i * i for i in range(ITEMS)]
            futures = [client.submit(nap, i, 0.002) for i in range(500)]
            assert [future.result(30) for future in futures] == [i * i for i in range(500)]
        print(f"{len(done)} troubles, {proxy.accepted} connections: {done}")
        ledger.check(ITEMS + 500)
        assert not ledger.notices


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_whose_connections_break_again_and_again_lose_nothing_and_report_nothing_twice(seed: int) -> None:
    with (
        SchedulerClusterCombo(n_workers=0) as cluster,
        Proxy(cluster.get_address()) as proxy,
        Client(cluster.get_address()) as client,
        workers(proxy.address, cluster.token, 2),
    ):
        ledger = Ledger(client)
        with troubled(proxy, every_s=(0.05, 0.3), seed=seed) as done:
            assert client.map(spin, range(ITEMS), timeout=40) == [i * i for i in range(ITEMS)]
            futures = [client.submit(nap, i, 0.002) for i in range(500)]
            assert [future.result(30) for future in futures] == [i * i for i in range(500)]
        print(f"{len(done)} troubles, {proxy.accepted} connections: {done}")
        ledger.check(ITEMS + 500)


def test_a_connection_that_ends_in_the_middle_of_the_handshake_is_tried_again() -> None:
    with SchedulerClusterCombo(n_workers=0) as cluster, Proxy(cluster.get_address()) as proxy:
        proxy.slam = 2
        with Client(proxy.address, token=cluster.token) as client:
            assert proxy.slam == 0
            with workers(proxy.address, cluster.token, 1) as manager:
                client.submit(square, 1).result(10)
                before = below(manager, WORKER)
                proxy.slam = 4
                proxy.cut()
                assert client.map(square, range(100), timeout=20) == [i * i for i in range(100)]
                assert below(manager, WORKER) == before, "the worker took a broken connection for a stranger"


def test_a_worker_that_is_away_for_longer_than_its_grace_comes_back_and_nothing_is_reported_twice() -> None:
    with (
        SchedulerClusterCombo(n_workers=1) as cluster,
        Proxy(cluster.get_address()) as proxy,
        Client(cluster.get_address()) as client,
        workers(proxy.address, cluster.token, 1),
    ):
        ledger = Ledger(client)
        futures = [client.submit(nap, i, 0.4) for i in range(8)]
        wait_until(lambda: ledger.items >= 2, "both to have worked")
        proxy.delay_s = 1.0  # of each piece that passes: the handshake takes longer than the grace
        proxy.cut()
        assert [future.result(30) for future in futures] == [i * i for i in range(8)]
        proxy.delay_s = 0.0
        ledger.check(8)
        assert client.map(square, range(100)) == [i * i for i in range(100)]
