"""How long values stay in the object storage: until they were fetched, were cleared, or lost a race with a cancel."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from scaler_protocol import Role
from scaler_protocol import messages as m
from scaler_trio import Client, ObjectLost, SchedulerClusterCombo
from tests.kit import hostile
from tests.kit.waiting import wait_until

LARGE = 200_000
"""Bytes: too many to travel in a message."""

loaded_by: list[tuple[int, str]] = []
"""Process and thread of everything of this module that was unpickled here."""


class Loaded:
    """Notes who unpickles it."""

    def __init__(self) -> None:
        self.data = os.urandom(LARGE)

    def __reduce__(self) -> Any:
        return note, (self.data,)


def note(data: bytes) -> int:
    loaded_by.append((os.getpid(), threading.current_thread().name))
    return len(data)


def make(size: int) -> bytes:
    return os.urandom(size)


@pytest.fixture(scope="module")
def storage() -> Iterator[SchedulerClusterCombo]:
    """A cluster of its own, whose objects are all of the test that looks at them."""
    with SchedulerClusterCombo(n_workers=2) as running:
        with Client(running.get_address()) as client:
            client.map(len, [make(LARGE)] * 10)
        yield running


@pytest.fixture
def client(storage: SchedulerClusterCombo) -> Iterator[Client]:
    wait_for_objects(storage, 0)
    with Client(storage.get_address()) as connected:
        yield connected


def stored_objects(storage: SchedulerClusterCombo) -> int:
    """What the server tells a scheduler, asked by one that keeps nothing."""
    where = hostile.tcp(storage._object_storage_address)
    with hostile.Peer(where, Role.SCHEDULER, token=storage.token.encode(), expect=Role.OBJECTS) as peer:
        while True:
            for message in peer.read():
                if isinstance(message, m.ObjectUsage):
                    return message.objects


def wait_for_objects(storage: SchedulerClusterCombo, count: int) -> None:
    wait_until(lambda: stored_objects(storage) == count, lambda: f"{count} objects, not {stored_objects(storage)}")


def test_a_result_is_fetched_when_it_is_asked_for_by_who_asks_and_then_gone(
    storage: SchedulerClusterCombo, client: Client
) -> None:
    loaded_by.clear()
    futures = [client.submit(Loaded) for _ in range(5)]
    wait_until(lambda: all(future.done() for future in futures), "all to be done")
    assert stored_objects(storage) == 5
    assert loaded_by == []
    for _ in range(2):
        assert [future.result() for future in futures] == [LARGE] * 5
    assert loaded_by == [(os.getpid(), threading.current_thread().name)] * 5
    wait_for_objects(storage, 0)
    assert [future.result() for future in futures] == [LARGE] * 5, "they stay with their futures"


def test_clear_leaves_what_is_here_and_takes_what_is_stored(storage: SchedulerClusterCombo, client: Client) -> None:
    array = np.arange(LARGE)
    reference = client.send_object(array)
    fetched, small, waits = client.submit(make, LARGE), client.submit(abs, -1), client.submit(time.sleep, 60)
    assert len(fetched.result(10)) == LARGE
    assert client.submit(np.sum, array).result(10) == array.sum()
    assert small.result(10) == 1
    client.clear()
    assert waits.cancelled()
    assert (len(fetched.result()), small.result()) == (LARGE, 1)
    wait_for_objects(storage, 0)
    with pytest.raises(ObjectLost):
        client.submit(np.sum, reference).result(10)
    with pytest.raises(ObjectLost):
        client.map(np.sum, [reference])
    # The client had found this one again without storing it; now it must store it anew.
    assert client.submit(np.sum, array).result(10) == array.sum()
    assert client.fetch(client.send_object(array)).sum() == array.sum()


def test_a_graph_keeps_no_value_between_its_nodes(storage: SchedulerClusterCombo, client: Client) -> None:
    graph: dict[str, Any] = {"0": (make, LARGE)} | {str(n): (bytes.swapcase, str(n - 1)) for n in range(1, 10)}
    assert len(client.get(graph, ["9"])["9"]) == LARGE
    wait_for_objects(storage, 0)


def test_a_future_that_nobody_asks_keeps_its_value_only_as_long_as_it_lives(
    storage: SchedulerClusterCombo, client: Client
) -> None:
    future = client.submit(make, LARGE)
    wait_until(future.done, "it to be done")
    assert stored_objects(storage) == 1
    del future
    wait_for_objects(storage, 0)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(120)
def test_large_results_that_race_with_cancels_are_not_kept() -> None:
    """A task that is interrupted while it stores its result leaves it to the server, which deletes it after 30 s."""
    outcomes = {True: 0, False: 0}
    with SchedulerClusterCombo(n_workers=2) as storage, Client(storage.get_address()) as client:
        for turn in range(60):
            futures = [client.submit(make, LARGE) for _ in range(20)]
            futures[turn % 10].result(10)
            for future in futures:
                is_cancelled = future.cancel()
                outcomes[is_cancelled] += 1
                assert is_cancelled or len(future.result(0)) == LARGE
            del future, futures
        assert all(outcomes.values()), f"one side always won, nothing was tested: {outcomes}"
        wait_until(lambda: stored_objects(storage) == 0, lambda: stored_objects(storage), timeout_s=45, every_s=1)
