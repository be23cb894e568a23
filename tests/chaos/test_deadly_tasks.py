"""A task that always kills its processor fails after its crash limit, names the culprit, and hurts nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from scaler_trio import Client, SchedulerClusterCombo
from scaler_trio.config.runtime import runtime_path
from scaler_trio.errors import ProcessorDiedError
from tests.chaos.work import die, die_at, kill_the_worker_at, square
from tests.kit.ledger import Ledger
from tests.kit.processes import ClusterProcesses
from tests.kit.waiting import wait_until

CAUSES = {
    "exit": r"exited with code 3",
    "kill": r"was killed by signal 9 \(SIGKILL",
    "segv": r"was killed by signal 11 \(SIGSEGV",
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with SchedulerClusterCombo(n_workers=2) as cluster, Client(cluster.get_address()) as client:
        # What is still starting when the first test begins would look like something that the test has left.
        ClusterProcesses.of(cluster.get_address()).wait_ready(2)
        wait_until(lambda: list(runtime_path().glob("o-*/s")), "the local socket of the object storage")
        yield client


@pytest.mark.parametrize("how", CAUSES)
def test_a_deadly_item_fails_after_three_crashes_and_its_neighbours_have_results(client: Client, how: str) -> None:
    ledger = Ledger(client)
    deadly = 700
    results = client.map(die_at, range(2000), [deadly] * 2000, [how] * 2000, return_exceptions=True, timeout=30)
    error = results[deadly]
    assert isinstance(error, ProcessorDiedError)
    assert [results[i] for i in range(2000) if i != deadly] == [i * i for i in range(2000) if i != deadly]
    text = str(error)
    for wanted in (CAUSES[how], r"of worker 'combo-\d'", r"line 0 before", r"line 2 before", r"crash 3, limit 3"):
        assert re.search(wanted, text), (wanted, text)
    ledger.check(2000)
    assert len(ledger.retries) == 2
    print(text)


@pytest.mark.parametrize("how", CAUSES)
def test_a_deadly_task_fails_and_its_worker_stays_usable(client: Client, how: str) -> None:
    future = client.submit(die, how)
    others = [client.submit(square, i) for i in range(50)]
    with pytest.raises(ProcessorDiedError, match=CAUSES[how]):
        future.result(timeout=20)
    assert [other.result(timeout=20) for other in others] == [i * i for i in range(50)]
    assert client.map(square, range(1000)) == [i * i for i in range(1000)]


def test_an_item_that_kills_whole_workers_is_found_and_its_neighbours_have_results() -> None:
    count, deadly = 2000, 1234
    with SchedulerClusterCombo(n_workers=2) as cluster, Client(cluster.get_address()) as client:
        ledger = Ledger(client)
        results = client.map(kill_the_worker_at, range(count), [deadly] * count, return_exceptions=True, timeout=40)
        error = results[deadly]
        assert isinstance(error, ProcessorDiedError)
        assert re.search(r"worker 'combo-\d' was lost while it ran alone.*crash 3, limit 3", str(error))
        assert [results[i] for i in range(count) if i != deadly] == [i * i for i in range(count) if i != deadly]
        ledger.check(count)
        print(f"{len(ledger.retries)} retries: {ledger.retries}")


def test_the_crash_limit_is_the_callers_to_choose(client: Client) -> None:
    ledger = Ledger(client)
    with pytest.raises(ProcessorDiedError, match=r"crash 1, limit 1"):
        client.options(crash_limit=1).submit(die, "exit").result(timeout=20)
    assert ledger.retries == []
