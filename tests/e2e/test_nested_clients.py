"""Clients inside tasks: with an address, as arguments, kept for long; and what a cancel of a parent takes along."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scaler_trio import Client, SchedulerClusterCombo, TaskCancelled
from tests.kit.waiting import wait_until

PATIENCE_S = 30.0
SILENCE_S = 0.7


@pytest.fixture(scope="module")
def strict() -> Iterator[SchedulerClusterCombo]:
    """One slot; nobody may be silent for long, and who is lost gets no grace."""
    with SchedulerClusterCombo(n_workers=1, worker_timeout_s=SILENCE_S, client_grace_s=0.0) as running:
        with Client(running.get_address()) as client:
            client.submit(factorial_at, running.get_address(), 3).result(timeout=PATIENCE_S)
        yield running


@pytest.fixture
def client(strict: SchedulerClusterCombo) -> Iterator[Client]:
    with Client(strict.get_address()) as connected:
        yield connected


def factorial_at(address: str, n: int) -> int:
    if n < 2:
        return 1
    with Client(address) as inner:
        return n * int(inner.submit(factorial_at, address, n - 1).result())


def threads_with(inner: Client, number: int) -> int:
    """How many threads there are once this client has been used too."""
    assert inner.submit(abs, -number).result() == number
    return threading.active_count()


def wait_for_a_child_of(seconds: float) -> str:
    with Client() as inner:
        inner.submit(time.sleep, seconds).result()
        return "and it still has a client: " + str(inner.submit(abs, -1).result())


def begin(path: Path) -> None:
    """Leave a line for each time that the caller begins."""
    with path.open("a") as file:
        file.write("began\n")


def begin_and_sleep(path: Path, seconds: float) -> None:
    begin(path)
    time.sleep(seconds)


def by_submit(own: Path, child: Path) -> None:
    begin(own)
    Client().submit(begin_and_sleep, child, 60).result()


def by_map(own: Path, child: Path) -> None:
    begin(own)
    Client().map(begin_and_sleep, [child] * 1000, [60] * 1000)


def by_imap(own: Path, child: Path) -> None:
    begin(own)
    list(Client().imap(begin_and_sleep, [child] * 1000, [60] * 1000))


def by_graph(own: Path, child: Path) -> None:
    begin(own)
    Client().get({"path": child, "a": (begin_and_sleep, "path", 60), "b": (begin_and_sleep, "path", "a")}, ["b"])


def call_often(count: int) -> float:
    with Client() as inner:
        inner.submit(abs, -1).result()
        started = time.monotonic()
        for number in range(count):
            inner.submit(abs, number).result()
        return (time.monotonic() - started) / count


def test_an_address_in_a_task_is_as_good_as_none(strict: SchedulerClusterCombo, client: Client) -> None:
    assert client.submit(factorial_at, strict.get_address(), 10).result(timeout=PATIENCE_S) == 3628800


def test_many_clients_as_arguments_cost_a_processor_no_threads(strict: SchedulerClusterCombo) -> None:
    with Client(strict.get_address()) as one, Client(strict.get_address()) as other:
        futures = [
            one.submit(threads_with, client, n) for n in range(10) for client in (one, other.options(priority=n))
        ]
        counts = [future.result(timeout=PATIENCE_S) for future in futures]
    assert max(counts) - min(counts) <= 2, counts


def test_a_task_that_waits_for_long_and_its_client_are_not_declared_dead(client: Client) -> None:
    future = client.submit(wait_for_a_child_of, 4 * SILENCE_S)
    assert future.result(timeout=PATIENCE_S) == "and it still has a client: 1"


@pytest.mark.parametrize("way", [by_submit, by_map, by_imap, by_graph])
def test_a_cancelled_parent_takes_its_work_along_and_never_begins_again(
    client: Client, tmp_path: Path, way: Callable[[Path, Path], None]
) -> None:
    own, child = tmp_path / "own", tmp_path / "child"
    parent = client.submit(way, own, child)
    wait_until(child.exists, "the child to run")
    parent.cancel()
    with pytest.raises(TaskCancelled):
        parent.result()
    assert client.map(abs, range(-100, 0), timeout=10) == list(range(100, 0, -1)), "the slot is free again"
    assert own.read_text() == "began\n"
    assert child.read_text() == "began\n"


def test_a_call_of_a_nested_task_takes_milliseconds(client: Client) -> None:
    each_s = min(client.submit(call_often, 50).result(timeout=PATIENCE_S) for _ in range(3))
    print(f"{1000 * each_s:.2f} ms for each nested call")
    assert each_s < 0.02, "the budget is 5 ms, on a machine that does nothing else"
