"""Sleeping items of very unequal length: as fast as handing out single items in that order could be, within 10 %."""

from __future__ import annotations

import heapq
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from scaler_trio import Client, SchedulerClusterCombo
from tests.kit.processes import ClusterProcesses
from tests.kit.services import Command
from tests.kit.waiting import in_background

ORDERS: dict[str, Callable[[Sequence[float]], list[float]]] = {
    "shuffled": lambda items: random.Random(2).sample(items, len(items)),
    "ascending": sorted,
    "descending": lambda items: sorted(items, reverse=True),
}


def lengths(total_s: float, shortest_s: float, longest_s: float) -> list[float]:
    """Seconds between the two, evenly spread over their orders of magnitude, ``total_s`` or a little more in all."""
    numbers = random.Random(1)
    found: list[float] = [longest_s]
    while sum(found) < total_s:
        found.append(math.exp(numbers.uniform(math.log(shortest_s), math.log(longest_s))))
    return found


def list_schedule_s(items: Sequence[float], workers: int) -> float:
    """When the last item ends if each worker takes the next single item as soon as it is free."""
    free_at = [0.0] * workers
    for item in items:
        heapq.heapreplace(free_at, free_at[0] + item)
    return max(free_at)


def measure(address: str, items: Sequence[float], workers: int) -> tuple[float, float]:
    """Seconds taken, and what is ideal. A client of its own, so that the function's duration is not known."""
    ideal_s = max(sum(items) / workers, list_schedule_s(items, workers))
    with Client(address) as client:
        started = time.monotonic()
        client.map(time.sleep, items)
        return time.monotonic() - started, ideal_s


@pytest.fixture(scope="module")
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a cluster with as many workers as the test's parameter says, all of which have started."""
    with SchedulerClusterCombo(n_workers=request.param) as cluster:
        with Client(cluster.get_address()) as client:
            client.map(time.sleep, [0.05] * request.param * 4)
        yield cluster.get_address()


@pytest.mark.parametrize("address", [4], indirect=True)
@pytest.mark.parametrize("order", ORDERS)
def test_unequal_items_are_spread_well(address: str, order: str) -> None:
    items = ORDERS[order](lengths(12.0, 0.001, 0.5))
    took_s, ideal_s = measure(address, items, 4)
    assert took_s <= 1.1 * ideal_s, f"{took_s:.2f} s; ideal {ideal_s:.2f} s"


def hold(seconds: float) -> int:
    """Which worker ran this: the template which forked its processor."""
    time.sleep(seconds)
    return os.getppid()


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize("way", ["submit", "map", "get"])
def test_eight_long_tasks_of_one_worker_spread_when_others_join(way: str) -> None:
    seconds = 3.0
    ways: dict[str, Callable[[Client], list[int]]] = {
        "submit": lambda client: [f.result(30) for f in [client.submit(hold, seconds) for _ in range(8)]],
        "map": lambda client: client.map(hold, [seconds] * 8),
        "get": lambda client: list(client.get(graph := {str(n): (hold, seconds) for n in range(8)}, [*graph]).values()),
    }
    with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
        ClusterProcesses.of(cluster.get_address()).wait_ready(1)
        started = time.monotonic()
        result = in_background(ways[way], client)
        arguments = ["baremetal_native", cluster.get_address(), "--mode", "fixed", "--max-task-concurrency", "7"]
        with Command("scaler_worker_manager", *arguments, environment={"SCALER_TOKEN": cluster.token}) as manager:
            workers = result.result(30)
            took_s = time.monotonic() - started
            assert len(set(workers)) == 8, f"{way}: {workers} in {took_s:.1f} s; {manager.shown()}"
    # The first has begun when the others join; one worker alone needs 8 times as long.
    assert took_s < 2.0 * seconds


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("address", "workers"), [(2, 2), (4, 4), (8, 8)], indirect=["address"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_hundred_seconds_of_unequal_items_are_spread_well(address: str, workers: int, order: str) -> None:
    items = ORDERS[order](lengths(100.0, 0.001, 2.0))
    took_s, ideal_s = measure(address, items, workers)
    over = 100 * (took_s / ideal_s - 1)
    print(f"{order}, {workers} workers, {len(items)} items: {took_s:.2f} s, ideal {ideal_s:.2f} s, {over:+.1f} %")
    assert took_s <= 1.1 * ideal_s
