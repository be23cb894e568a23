"""Which of a client's tasks go first, and that none stands in the way of others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaler_trio import Client, SchedulerClusterCombo
from tests.kit.waiting import wait_until


@pytest.fixture(scope="module")
def one_slot() -> Iterator[SchedulerClusterCombo]:
    with SchedulerClusterCombo(n_workers=1) as running:
        with Client(running.get_address()) as client:
            client.map(abs, range(10))
        yield running


@pytest.fixture
def client(one_slot: SchedulerClusterCombo) -> Iterator[Client]:
    with Client(one_slot.get_address()) as connected:
        yield connected


def note(path: Path, word: str) -> None:
    with path.open("a") as file:
        file.write(word + "\n")
    time.sleep(0.05)


def hold_until(begun: Path, go_on: Path) -> None:
    begun.touch()
    while not go_on.exists():
        time.sleep(0.01)


def test_higher_priorities_are_started_first_whatever_way_they_came(client: Client, tmp_path: Path) -> None:
    begun, go_on, notes = tmp_path / "begun", tmp_path / "go on", tmp_path / "notes"
    client.submit(hold_until, begun, go_on)
    wait_until(begun.exists, "the slot to be held")
    ranks = {rank: client.options(priority=rank) for rank in (-5, 0, 3, 9)}
    futures = [ranks[rank].submit(note, notes, f"{rank}") for rank in (-5, 0, 3, 9) for _ in range(2)]
    graph = {"notes": notes, "word": "5", "a": (note, "notes", "word")}
    futures.append(client.options(priority=5).get(graph, ["a"], block=False)["a"])
    wait_until(lambda: "waits for a worker" in futures[-1].explain(), futures[-1].explain)
    go_on.touch()
    for future in futures:
        future.result(10)
    assert notes.read_text().split() == ["9", "9", "5", "3", "3", "0", "0", "-5", "-5"]


def test_tasks_that_fit_no_worker_do_not_stand_in_the_way_of_those_behind_them(client: Client) -> None:
    stuck = [client.options(capabilities={"gpu": 1}, priority=9).submit(abs, -1) for _ in range(100)]
    started = time.monotonic()
    assert [future.result(10) for future in [client.submit(abs, -n) for n in range(100)]] == list(range(100))
    assert client.map(abs, range(-1000, 0)) == list(range(1000, 0, -1))
    assert time.monotonic() - started < 3
    assert not any(future.done() for future in stuck)
    for future in stuck:
        future.cancel()
