"""Millions of items with memory that does not grow with them, in every process."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil
import pytest

from scaler_trio import Client, SchedulerClusterCombo
from tests.kit.processes import title

MEGABYTE = 1_000_000
ITEM_BYTES = 100


def discard(text: str) -> None:
    return None


class Watch:
    """Peaks of resident memory, sampled by a generator that the client reads its items from."""

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._processes = [self._own, *self._own.children(recursive=True)]
        self._before = {process: process.memory_info().rss for process in self._processes}
        self.peaks = dict.fromkeys(self._processes, 0)

    def items(self, count: int) -> Iterator[str]:
        for number in range(count):
            if number % 20_000 == 0:
                self.sample()
            yield f"{number:0{ITEM_BYTES}d}"
        self.sample()

    def sample(self) -> None:
        for process in self._processes:
            if process.is_running():
                grown = process.memory_info().rss - self._before[process]
                self.peaks[process] = max(self.peaks[process], grown)

    def grown_megabytes(self) -> dict[str, float]:
        titles = {process: f"{title(process)} {process.pid}" for process in self._processes if process != self._own}
        titles[self._own] = "client"
        return {titles[process]: round(peak / MEGABYTE, 1) for process, peak in self.peaks.items()}


def run(cluster: SchedulerClusterCombo, count: int) -> None:
    with Client(cluster.get_address()) as client:
        client.map(discard, ["x" * ITEM_BYTES] * 50_000)  # what is made once is there
        watch = Watch()
        started = time.monotonic()
        results = client.map(discard, watch.items(count))
        took_s = time.monotonic() - started
        watch.sample()
    assert len(results) == count
    assert set(results) == {None}
    grown = watch.grown_megabytes()
    print(f"{count:,} items of {ITEM_BYTES} bytes in {took_s:.1f} s; grown by megabytes: {grown}")
    # All items together have 100 bytes × count; the results' list has 8 bytes each, at twice that while it grows.
    assert grown.pop("client") < 60 + 16 * count / MEGABYTE, grown
    assert max(grown.values()) < 60, grown


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
def test_1_000_000_submits_with_different_arguments_leave_nothing(cluster: SchedulerClusterCombo) -> None:
    """Each argument is pickled by itself, and each task has a future: none of it may stay when that is dropped."""
    batch = 5_000
    with Client(cluster.get_address()) as client:

        def work(start: int, end: int) -> None:
            for at in range(start, end, batch):
                futures = [client.submit(discard, f"{number:0{ITEM_BYTES}d}") for number in range(at, at + batch)]
                assert [future.result(60) for future in futures] == [None] * batch
                watch.sample()

        watch = Watch()
        work(0, 50_000)  # what is made once is there
        watch = Watch()
        started = time.monotonic()
        work(50_000, 1_050_000)
        took_s = time.monotonic() - started
    grown = watch.grown_megabytes()
    print(f"1,000,000 submits of {ITEM_BYTES} bytes in {took_s:.1f} s; grown by megabytes: {grown}")
    assert max(grown.values()) < 20, grown  # their arguments have 100 MB, their futures as much


def test_300_000_items_take_little_memory_anywhere(cluster: SchedulerClusterCombo) -> None:
    run(cluster, 300_000)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(240)
def test_2_000_000_items_take_no_more_memory_anywhere(cluster: SchedulerClusterCombo) -> None:
    run(cluster, 2_000_000)
