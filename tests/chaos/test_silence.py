"""Processes that stand still: a worker loses its work and may come back; clients are not judged by silence."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from scaler_trio import Client, SchedulerClusterCombo
from tests.chaos.work import nap, square
from tests.kit.ledger import Ledger
from tests.kit.processes import ClusterProcesses, stopped
from tests.kit.waiting import in_background, wait_until

WORKER_TIMEOUT_S = 0.7
standing_still = contextmanager(stopped)


def test_a_worker_that_stands_still_loses_its_work_and_may_come_back() -> None:
    items = 250
    with (
        SchedulerClusterCombo(n_workers=2, worker_timeout_s=WORKER_TIMEOUT_S) as cluster,
        Client(cluster.get_address()) as client,
    ):
        processes = ClusterProcesses.of(cluster.get_address())
        processes.wait_ready(2)
        ledger = Ledger(client)
        result = in_background(client.map, nap, range(items), [0.01] * items)
        wait_until(lambda: ledger.items > 50, "some items")
        agent = processes.agents()[0]
        started = time.perf_counter()
        # Its processor goes on and finishes items, which nobody reports.
        with standing_still(agent):
            assert result.result(30) == [i * i for i in range(items)]
            print(f"a map of {items} × 10 ms with one of 2 workers stopped: {time.perf_counter() - started:.2f} s")
            assert ledger.retries
        ledger.check(items)
        # It comes back and reports late what others have reported meanwhile; then it works again.
        wait_until(lambda: len(set(client.map(parent_after, [0.02] * 20))) == 2, "both workers to work again")
        assert agent in processes.agents(), "it was not the same worker that came back"


def parent_after(seconds: float) -> int:
    """Which template forked the processor that ran this."""
    time.sleep(seconds)
    return os.getppid()


def test_a_scheduler_that_stands_still_loses_no_worker_and_no_item() -> None:
    items = 300
    with (
        SchedulerClusterCombo(n_workers=2, worker_timeout_s=WORKER_TIMEOUT_S) as cluster,
        Client(cluster.get_address()) as client,
    ):
        processes = ClusterProcesses.of(cluster.get_address())
        processes.wait_ready(2)
        agents = processes.agents()
        ledger = Ledger(client)
        result = in_background(client.map, nap, range(items), [0.01] * items)
        wait_until(lambda: ledger.items > 50, "some items")
        with standing_still(processes.scheduler):
            # Longer than anybody may be silent: when it wakes up, its own stall is nobody's fault.
            assert not threading.Event().wait(2 * WORKER_TIMEOUT_S)
        assert result.result(20) == [i * i for i in range(items)]
        ledger.check(items)
        assert processes.agents() == agents
        print(f"retries after the scheduler's stall: {ledger.retries}")
        assert not ledger.retries


def test_a_client_that_stands_still_is_not_declared_dead(tmp_path: Path) -> None:
    with SchedulerClusterCombo(n_workers=2, worker_timeout_s=WORKER_TIMEOUT_S, client_grace_s=0.0) as cluster:
        program = (
            "import sys; from scaler_trio import Client; from tests.chaos.work import nap\n"
            f"client = Client({cluster.get_address()!r})\n"
            "print('started', flush=True)\n"
            "print(sum(client.map(nap, range(300))), flush=True)\n"
        )
        argv = [sys.executable, "-c", program]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                assert process.stdout.readline() == "started\n"
                process.send_signal(signal.SIGSTOP)
                # Three times what a worker may be silent; any grace would be over at once.
                assert not threading.Event().wait(3 * WORKER_TIMEOUT_S)
                process.send_signal(signal.SIGCONT)
                assert process.stdout.readline() == f"{sum(i * i for i in range(300))}\n"
                assert process.wait(10) == 0
            finally:
                process.kill()


def test_a_client_that_holds_its_interpreter_is_not_declared_dead() -> None:
    with (
        SchedulerClusterCombo(n_workers=1, worker_timeout_s=WORKER_TIMEOUT_S, client_grace_s=0.0) as cluster,
        Client(cluster.get_address()) as client,
    ):
        client.submit(square, 1).result()
        futures = [client.submit(nap, i, 0.05) for i in range(20)]
        ctypes.PyDLL(None).sleep(2)  # a call into C, during which no other thread of this process runs
        assert [future.result(10) for future in futures] == [i * i for i in range(20)]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(150)
def test_a_client_may_hold_its_interpreter_for_a_minute() -> None:
    with SchedulerClusterCombo(n_workers=1, client_grace_s=0.0) as cluster, Client(cluster.get_address()) as client:
        futures = [client.submit(nap, i, 0.05) for i in range(100)]
        large = client.submit(bytes, 5_000_000)
        ctypes.PyDLL(None).sleep(61)
        assert [future.result(10) for future in futures] == [i * i for i in range(100)]
        assert len(large.result(10)) == 5_000_000
        assert client.map(square, range(100)) == [i * i for i in range(100)]
