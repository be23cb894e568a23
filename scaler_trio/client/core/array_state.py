"""What a client keeps of one task array: the rows that are not done yet, in blocks, and which rows are done.

A block is kept until its last row is done, for it may have to be sent again; then it is freed. So the memory of an
array is that of its unfinished blocks, however many rows it has.
"""

from bisect import bisect_right
from collections import deque
from typing import Any

from attrs import define, field

from scaler_protocol import Message, limits
from scaler_protocol.messages import ArrayBlock, ArrayResults, EndArray, OpenArray, TaskOptions
from scaler_trio.client.core.events import BlockAdded, Function
from scaler_trio.ranges import Range, RangeSet


@define(eq=False)
class _Kept:
    message: ArrayBlock
    end: int
    left: int  # rows that are not done


@define(eq=False)
class ArrayState:
    """One array, from ``ArrayOpened`` until every row is done."""

    number: int
    function: Function
    options: TaskOptions
    count: int  # -1 = not known yet; lowered by a cancel to what was sent
    owner: Any
    rows: int = 0  # rows that were added
    ended: bool = False  # no row will be added
    cancelled: bool = False
    opened: bool = False  # the scheduler knows it, or the opening is on its way on this connection
    told_count: int = -1  # the count that the scheduler was told on this connection
    sent_rows: int = 0  # rows below are with the scheduler, or were
    unsent_bytes: int = 0
    slices: int = 0  # that told its owner of rows which were done
    done: RangeSet = field(factory=RangeSet)
    _blocks: list[_Kept] = field(factory=list)  # unfinished, by start
    _unsent: deque[_Kept] = field(factory=deque)

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        return self.ended and self.done.covers(0, self.count)

    @property
    def unsent_rows(self) -> int:
        """Rows that wait."""
        return sum([kept.message.count for kept in self._unsent])

    def add(self, block: BlockAdded) -> None:
        """Take the next rows."""
        start = self.rows
        message = ArrayBlock(
            task=self.number,
            start=start,
            count=block.count,
            page_rows=block.page_rows,
            void=tuple([start + row for row in block.void]) if block.void else (),
            objects=tuple([(start + row, ids) for row, ids in block.objects]) if block.objects else (),
            offsets=block.offsets,
            data=block.data,
        )
        self.rows += block.count
        kept = _Kept(message, self.rows, block.count)
        self._blocks.append(kept)
        self._unsent.append(kept)
        self.unsent_bytes += len(block.data)
        for row in message.void:  # never run, so nobody will report them
            self.finish(row, row + 1)

    def finish(self, lo: int, hi: int) -> list[Range]:
        """Rows are done; the pieces that were not before. A sent block without open rows is freed."""
        pieces = self.done.missing(lo, hi)
        self.done.add(lo, hi)
        for first, last in pieces:
            i = max(0, bisect_right(self._blocks, first, key=_start) - 1)
            while i < len(self._blocks) and self._blocks[i].message.start < last:
                kept = self._blocks[i]
                kept.left -= max(0, min(last, kept.end) - max(first, kept.message.start))
                if kept.left == 0 and kept.end <= self.sent_rows:
                    del self._blocks[i]
                else:
                    i += 1
        return pieces

    def fault(self, results: ArrayResults) -> str | None:
        """What is wrong with a slice's results, before anything is changed by them; None if nothing is."""
        lo, hi = results.lo, results.hi
        if not 0 <= lo < hi <= self.rows:
            return f"rows {lo} to {hi} of {self.rows}"
        if len(results.lengths) != 4 * (hi - lo):
            return f"{len(results.lengths)} bytes of lengths for {hi - lo} rows"
        if sum(memoryview(results.lengths).cast("I")) != len(results.data):
            return f"lengths that do not add up to {len(results.data)} bytes"
        if not all(lo <= row < hi for rows in (results.failed, results.objects) for row, _ in rows):
            return f"a row outside of {lo} to {hi}"
        return None

    def end(self) -> None:
        """No more rows."""
        self.ended = True
        self.count = self.rows

    def cancel(self) -> None:
        """Forget what was not sent, and take no more rows."""
        self.cancelled = True
        self.ended = True
        self.count = self.sent_rows
        for kept in self._unsent:
            self._blocks.remove(kept)
        self._unsent.clear()
        self.unsent_bytes = 0

    @property
    def next_bytes(self) -> int | None:
        """What sending the next block costs, or None if nothing waits."""
        return len(self._unsent[0].message.data) if self._unsent else None

    def opening(self, function_number: int) -> OpenArray:
        """The array's declaration."""
        self.opened = True
        self.told_count = self.count
        declared = tuple(self.done)[: limits.BATCH_ROWS]  # what is left out may run again: its results are dropped
        return OpenArray(self.number, function_number, self.options, self.count, declared)

    def take_block(self) -> ArrayBlock:
        """The next block to send. Rows that it skips are done: blocks without open rows are gone."""
        kept = self._unsent.popleft()
        self.unsent_bytes -= len(kept.message.data)
        self.sent_rows = kept.end
        if kept.left == 0:  # all of it void
            self._blocks.remove(kept)
        return kept.message

    def take_end(self, messages: list[Message]) -> None:
        """Tell the count, if everything is sent and it was not told yet."""
        if self.ended and self.opened and self.next_bytes is None and self.told_count != self.count:
            self.told_count = self.count
            messages.append(EndArray(self.number, self.count))

    def resume(self, known_rows: int | None) -> None:
        """After a reconnect: the scheduler has the first ``known_rows`` rows, or does not know the array at all."""
        self.opened = known_rows is not None
        self.told_count = -1
        if self.cancelled:
            self.count = min(self.count, known_rows or 0)
            return
        self.sent_rows = min(known_rows or 0, self.rows)
        self._unsent = deque([kept for kept in self._blocks if kept.end > self.sent_rows])
        self.unsent_bytes = sum([len(kept.message.data) for kept in self._unsent])

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        assert self.unsent_bytes == sum(len(kept.message.data) for kept in self._unsent)
        waiting = set(map(id, self._unsent))
        at = 0
        for kept in self._blocks:
            assert kept.message.start >= at
            at = kept.end
            start = kept.message.start
            assert kept.left == kept.end - start - sum(b - a for a, b in self.done.within(start, kept.end))
            assert kept.left > 0 or id(kept) in waiting, "a finished block was not freed"
        assert at <= self.rows
        assert 0 <= self.sent_rows <= self.rows


def _start(kept: _Kept) -> int:
    return kept.message.start
