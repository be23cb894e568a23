"""Cutting slices of arrays on demand: as many rows as make a slice's worth of work for the worker that wants one."""

from attrs import define

from scaler_protocol import messages as m
from scaler_trio.ranges import RangeSet
from scaler_trio.scheduler.core.blocks import Block
from scaler_trio.scheduler.core.errors import InternalError
from scaler_trio.scheduler.core.estimates import slice_rows
from scaler_trio.scheduler.core.queues import has_unassigned
from scaler_trio.scheduler.core.records import Array, Suspect, Worker
from scaler_trio.scheduler.core.state import SchedulerState


@define(eq=False, repr=False)
class Slicing:
    """Assigns rows of arrays."""

    state: SchedulerState

    def assign(self, worker: Worker, array: Array) -> None:
        """Give the worker the next slice, unless nothing is left after all."""
        while has_unassigned(array):
            again = bool(array.redo)
            lo, end = array.redo.first if again else (array.next, array.received)
            gap = array.done.first_gap(lo, end)
            if gap is None or gap[0] > lo:  # rows at the front are done: void ones, or from before a reconnect
                self._taken(array, again, lo, end if gap is None else gap[0])
                continue
            block = self._block(array, lo)
            hi = min(lo + self._rows(worker, array, lo), gap[1], block.end)
            self._taken(array, again, lo, hi)
            self._assign_rows(worker, array, block, lo, hi)
            return

    def assign_suspect(self, worker: Worker, array: Array, suspect: Suspect) -> None:
        """Give the worker a part of an array that it must run with nothing beside it."""
        lo, hi = array.suspects.within(suspect.lo, suspect.hi)[0]
        block = self._block(array, lo)
        hi = min(hi, block.end)
        array.suspects.remove(lo, hi)
        self._assign_rows(worker, array, block, lo, hi)

    def _taken(self, array: Array, again: bool, lo: int, hi: int) -> None:
        if again:
            array.redo.remove(lo, hi)
        else:
            array.next = hi

    def _block(self, array: Array, row: int) -> Block:
        block = array.blocks.at(row)
        if block is None:
            raise InternalError(f"row {row} of array {array.number} has no block; its story: {list(array.story)}")
        return block

    def _rows(self, worker: Worker, array: Array, lo: int) -> int:
        remaining = (array.count if array.count >= 0 else array.received) - lo
        state = self.state
        rows = slice_rows(array.function, remaining, state.fleet.slots, worker.slice_s, state.tuning)
        for name, amount in array.demand.amounts:  # each row that may run takes its own
            if name in worker.free:
                rows = min(rows, max(1, worker.free[name] // amount))
        return rows

    def _assign_rows(self, worker: Worker, array: Array, block: Block, lo: int, hi: int) -> None:
        state = self.state
        number = state.next_attempt
        state.next_attempt = number + 1
        attempt = state.open_attempt(number, worker, array, lo, hi, RangeSet([(lo, hi)]))
        array.outstanding[number] = attempt
        function, client = array.function, array.client
        first_page, end_page = block.pages(lo, hi)
        if end_page > block.shipped:
            client.unassigned_bytes -= block.offsets[end_page] - block.offsets[block.shipped]
            block.shipped = end_page
            state.touched[client] = None
        offsets, data = block.cut(first_page, end_page)
        state.put_function(worker, function)
        state.effects.send(
            worker.session,
            m.AssignSlice(
                attempt=number,
                client=client.session,
                task=array.number,
                lo=lo,
                hi=hi,
                function=function.key,
                options=array.demand.options,
                first=block.start + first_page * block.page_rows,
                page_rows=block.page_rows,
                expected_s=function.mean_s if function.samples >= state.tuning.samples else 0.0,
                offsets=offsets,
                data=data,
            ),
        )
        array.story.append((state.now, "slice", lo, hi, worker.name))
