"""`kill -9` of every kind of process while a map runs: complete, right, nothing twice, the user told of retries."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scaler_trio import Client, SchedulerClusterCombo
from scaler_trio.errors import ConnectionLost
from tests.chaos.work import mark_and_nap, nap, spin, square
from tests.kit.ledger import Ledger, Lines
from tests.kit.processes import ClusterProcesses, is_alive, kill, wait_gone
from tests.kit.waiting import in_background, wait_until

if TYPE_CHECKING:
    import psutil

ITEMS = 100_000
WORKERS = 4


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What users of the client see in their log."""
    handler = Lines()
    logger = logging.getLogger("scaler_trio")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_a_map_survives_kill_9_of_a_processor_of_a_worker_and_of_half_the_workers(lines: Lines) -> None:
    with SchedulerClusterCombo(n_workers=WORKERS) as cluster, Client(cluster.get_address()) as client:
        processes = ClusterProcesses.of(cluster.get_address())
        processes.wait_ready(WORKERS)
        ledger = Ledger(client)

        def kill_at(items: int, victims: list[psutil.Process]) -> None:
            processes.wait_ready(WORKERS)
            wait_until(lambda: ledger.items > items, f"{items} items to be done", timeout_s=30)
            told = len(ledger.retries)
            kill(*victims)
            wait_gone(victims)
            if victims[0] in agents:  # a processor's death may hit no item; a worker always has some
                wait_until(lambda: len(ledger.retries) > told, "the client to be told of retries")
            print(f"{len(victims)} killed at {ledger.items} items: {ledger.retries[told:]}")

        agents = processes.agents()
        started = time.perf_counter()
        result = in_background(client.map, spin, range(ITEMS), timeout=50)
        kill_at(ITEMS // 10, [random.choice(processes.processors())])
        kill_at(ITEMS // 4, [random.choice(agents)])
        agents = processes.agents()
        kill_at(ITEMS // 2, random.sample(agents, WORKERS // 2))
        assert not result.done()
        assert result.result(50) == [i * i for i in range(ITEMS)]
        print(f"{ITEMS} items of 50 µs, 4 processes killed: {time.perf_counter() - started:.1f} s")
        ledger.check(ITEMS)
        assert {kind.name for _, _, kind, _ in ledger.notices} == {"RETRY"}
        assert len(lines.lines) >= len(ledger.retries)
        assert all(line.startswith("WARNING") for line in lines.lines), lines.lines
        processes.wait_ready(WORKERS)
        assert client.map(square, range(1000)) == [i * i for i in range(1000)]


def test_a_new_client_gets_results_within_2_seconds_whichever_workers_were_just_killed() -> None:
    with SchedulerClusterCombo(n_workers=2) as cluster:
        processes = ClusterProcesses.of(cluster.get_address())
        with Client(cluster.get_address()) as busy:
            for victims in (1, 2, 1, 2):
                processes.wait_ready(2)
                waiting = [busy.submit(nap, n, 0.05) for n in range(20)]  # so that the killed ones hold work
                waiting[0].result(10)
                kill(*processes.agents()[:victims])
                started = time.perf_counter()
                with Client(cluster.get_address()) as client:
                    assert client.submit(square, 3).result(10) == 9
                    took_s = time.perf_counter() - started
                print(f"{victims} of 2 workers killed: a new client had its result after {took_s:.2f} s")
                assert took_s < 2.0
                assert [future.result(10) for future in waiting] == [n * n for n in range(20)]


@pytest.mark.parametrize("victim", ["launcher", "scheduler", "objects"])
def test_what_cannot_be_replaced_takes_everything_with_it(
    victim: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster = SchedulerClusterCombo(n_workers=2)
    try:
        processes = ClusterProcesses.of(cluster.get_address())
        processes.wait_ready(2)
        everything = processes.everything()
        trace = tmp_path / "trace"
        with Client(cluster.get_address(), reconnect_timeout=1.0) as client:
            future = client.submit(mark_and_nap, str(trace), 60.0)
            result = in_background(client.map, nap, range(10_000))
            wait_until(trace.exists, "the long task to run")
            started = time.perf_counter()
            kill(getattr(processes, victim))
            wait_gone(everything)
            print(f"kill -9 of the {victim}: all gone after {time.perf_counter() - started:.2f} s")
            with pytest.raises(ConnectionLost, match=r"did not come back within 1 s"):
                result.result(timeout=10)
            with pytest.raises(ConnectionLost):
                future.result(timeout=10)
            print(f"the client knew after {time.perf_counter() - started:.2f} s")
    finally:
        cluster.shutdown()
    if victim != "launcher":
        words = capfd.readouterr().err
        assert f"the {'object storage server' if victim == 'objects' else victim} ended by signal 9 (SIGKILL)" in words
        assert "everything is stopped" in words


def test_a_template_that_is_killed_is_replaced_with_its_agent() -> None:
    with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
        processes = ClusterProcesses.of(cluster.get_address())
        processes.wait_ready(1)
        (agent,) = processes.agents()
        (template,) = [child for child in agent.children() if is_alive(child)]
        kill(template)
        wait_gone([agent, template])
        assert client.map(square, range(100)) == [i * i for i in range(100)]
