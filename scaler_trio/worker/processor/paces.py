"""How long a processor's items take, and how many of them it may therefore claim at once."""

from collections.abc import Sequence
from typing import Final

from scaler_trio.worker.control_page import ENTRIES, MASK
from scaler_trio.worker.processor.batches import Batch, PageBatch

RUN_NS: Final = 1_000_000
"""Predicted work in one claimed run: what a recall cannot take back."""

GROWTH: Final = 4
"""A run holds at most this many times the items of the last one of its function: one sample is no prediction."""


class Pace:
    """What is known of one function's duration."""

    __slots__ = ("expected_ns", "run")

    def __init__(self, expected_ns: int) -> None:
        self.expected_ns = expected_ns  # 0 = unknown
        self.run = ENTRIES if expected_ns else 0  # items in the last run

    def items(self) -> int:
        """How many to claim."""
        if not self.expected_ns:
            return 1
        self.run = max(1, min(RUN_NS // self.expected_ns, self.run * GROWTH))
        return self.run

    def ran(self, items: int, elapsed_ns: int) -> None:
        """So many ran, in this time together."""
        mean = max(1, elapsed_ns // items)
        self.expected_ns = (self.expected_ns + mean) // 2 if self.expected_ns else mean
        self.run = items


class Paces(dict[int, Pace]):
    """By function key."""

    def run_length(self, batch: Batch) -> int:
        """How many items of ``batch`` to claim."""
        if isinstance(batch, PageBatch):
            return min(self[batch.key].items(), batch.count - batch.at)
        count = total_ns = 0
        for key in batch.remaining_keys():
            pace = self.get(key)
            if pace is None or not pace.expected_ns:
                return max(1, count)  # an unknown one runs alone
            total_ns += pace.expected_ns
            if total_ns > RUN_NS:
                break
            count += 1
        return max(1, count)

    def expected_ns(self, batch: Batch) -> int:
        """Of the next item; 0 = unknown."""
        pace = self.get(batch.key if isinstance(batch, PageBatch) else batch.tasks[batch.at][0])
        return pace.expected_ns if pace is not None else 0

    def learn(self, batch: Batch, first: int, ran: int, ends: "Sequence[int] | memoryview[int]") -> None:
        """Items ``first`` on were run; ``ends`` is the ring of the times at which they ended."""
        before = ends[(first - 1) & MASK] if first else 0
        if isinstance(batch, PageBatch):
            self[batch.key].ran(ran, ends[(first + ran - 1) & MASK] - before)
            return
        for item in range(first, first + ran):
            key, end = batch.tasks[item - batch.first][0], ends[item & MASK]
            pace = self.get(key)
            if pace is None:
                pace = self[key] = Pace(0)
            pace.ran(1, end - before)
            before = end
