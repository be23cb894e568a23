"""Task arrays as their clients send them: opened, filled by blocks, ended, cancelled by ranges."""

from attrs import define

from scaler_protocol import limits
from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from scaler_trio.ranges import RangeSet
from scaler_trio.scheduler.core.blocks import Blocks, checked_block
from scaler_trio.scheduler.core.completion import Completion
from scaler_trio.scheduler.core.delivery import Delivery
from scaler_trio.scheduler.core.demands import demand_of, function_of
from scaler_trio.scheduler.core.errors import PeerFault
from scaler_trio.scheduler.core.queues import has_unassigned
from scaler_trio.scheduler.core.records import Array, Client
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.requeue import CANCELLED_TEXT
from scaler_trio.scheduler.core.state import SchedulerState


@define(eq=False, repr=False)
class Arrays:
    """Keeps the received rows of arrays."""

    state: SchedulerState
    completion: Completion
    delivery: Delivery
    recovery: Recovery

    def open(self, client: Client, message: m.OpenArray) -> None:
        """A new array; one that is known is not opened again."""
        number, count = message.task, message.count
        if number in client.arrays:
            return
        if len(client.arrays) >= limits.ARRAYS_PER_CLIENT:
            raise PeerFault(f"more than {limits.ARRAYS_PER_CLIENT} arrays are open")
        if number in client.tasks:
            raise PeerFault(f"array {number} has the number of a task")
        end = count if count >= 0 else limits.ARRAY_ITEMS
        for lo, hi in message.done:
            if not lo < hi <= end:
                raise PeerFault(f"array {number} of {count} rows: rows {lo} to {hi} are done")
        function = function_of(client, message.function)
        demand = demand_of(self.state, client, message.options)
        array = Array(client, number, function, demand, count, Blocks(), done=RangeSet(message.done))
        function.users += 1
        client.arrays[number] = array
        array.story.append((self.state.now, "opened"))
        self.delivery.forget_if_complete(array)

    def block(self, client: Client, message: m.ArrayBlock) -> None:
        """Rows; the client leaves out blocks of which all rows are done, so what it skips is done."""
        array = client.arrays.get(message.task)
        if array is None:
            raise PeerFault(f"a block of array {message.task}, which is not open")
        start, end = message.start, message.start + message.count
        size = len(message.data)
        if end <= array.received:
            client.received_bytes += size
            return
        if start < array.received or 0 <= array.count < end or end > limits.ARRAY_ITEMS:
            raise PeerFault(
                f"array {message.task}: rows {start} to {end} do not follow row {array.received} of {array.count}"
            )
        block = checked_block(message)
        state = self.state
        client.received_bytes += size
        state.touched[client] = None
        if start > array.received:
            self._skip(array, start)
        for row in list(block.objects):
            if row in array.done:
                del block.objects[row]
            else:
                state.references.add(block.objects[row])
        for lo, hi in array.done.within(start, end):
            block.open -= hi - lo
        array.received = end
        if block.open:
            array.blocks.append(block)
            client.unassigned_bytes += size
        for row in sorted(set(message.void)):
            if row not in array.done:
                self.completion.finish_rows(array, row, row + 1)
        for lo, hi in array.cancelled.within(start, end):
            self.completion.report_rows(array, lo, hi, Outcome.CANCELLED, CANCELLED_TEXT)
        if self.recovery.concerns(client):
            self.recovery.take_block(array, start, end)
        if has_unassigned(array):
            state.ready.add(array)
        self.delivery.forget_if_complete(array)

    def _skip(self, array: Array, end: int) -> None:
        for lo, hi in array.done.missing(array.received, end):
            self.completion.finish_rows(array, lo, hi)
        array.received = end

    def end(self, client: Client, message: m.EndArray) -> None:
        """The number of rows; those that have not come by now are done."""
        array = client.arrays.get(message.task)
        if array is None:
            return
        if message.count < array.received or 0 <= array.count < message.count:
            raise PeerFault(
                f"array {message.task} of {array.count} rows ends at row {message.count}, {array.received} have come"
            )
        array.count = message.count
        self._skip(array, message.count)
        self.delivery.forget_if_complete(array)

    def cancel(self, array: Array, lo: int, hi: int) -> None:
        """Cancel rows, come or not yet come: at once if no worker has them, by their workers otherwise."""
        array.cancelled.add(lo, hi)
        array.story.append((self.state.now, "cancel", lo, hi))
        waiting = RangeSet([(lo, min(hi, array.received))])
        for attempt in array.outstanding.values():
            for a, b in attempt.open.within(lo, hi):
                waiting.remove(a, b)
                self.state.cancel_rows(attempt.worker, attempt.number, a, b)
        for a, b in waiting:
            self.completion.report_rows(array, a, b, Outcome.CANCELLED, CANCELLED_TEXT)
