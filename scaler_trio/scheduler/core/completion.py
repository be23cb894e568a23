"""Tasks and rows that end, by whatever cause: each is reported once, and what depended on it goes on."""

from attrs import define

from scaler_protocol import messages as m
from scaler_protocol.limits import BLOCK_ROWS, MIB
from scaler_protocol.messages import Outcome
from scaler_trio.scheduler.core.delivery import Delivery
from scaler_trio.scheduler.core.records import Array, Attempt, Node, Task
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import ON, TaskEvent, TaskState
from scaler_trio.scheduler.core.tables import write_u32

REPORT_BYTES = 1 * MIB
"""Text in one message about rows that ended without values: each row carries its own copy."""

_ON_INPUTS_READY = {before: after for before, after in ON[TaskEvent.INPUTS_READY].items() if after is not None}
_INPUTS_READY = TaskEvent.INPUTS_READY.value


@define(eq=False, repr=False)
class Completion:
    """Ends tasks and rows."""

    state: SchedulerState
    delivery: Delivery
    recovery: Recovery

    # ------------------------------------------------------------------------------------------------ single tasks

    def finish(
        self,
        task: Task,
        event: TaskEvent,
        outcome: Outcome,
        payload: bytes,
        *,
        objects: tuple[bytes, ...] = (),
        seconds: float = 0.0,
        attempt: Attempt | None = None,
    ) -> bool:
        """End a task and, through it, the nodes that cannot run any more; False when it had ended before.

        ``attempt`` is the one that reported it; its row is closed.
        """
        if not self._end(task, event, outcome, payload, objects, seconds, attempt):
            return False
        if task.node is not None:
            if outcome is Outcome.VALUE:
                self._release(task.node)
            else:
                self.fail_dependents(task)
                task.node.dependents = []  # they refer to each other
            self.delivery.forget_if_ended(task.client, task.node.graph)
        return True

    def node_done(self, task: Task, node: Node, payload: bytes) -> None:
        """The usual end of a node whose task is done: a value without objects; its dependents have one input more."""
        self._end_node(node, payload, ())
        self._release(node)
        if not node.graph.unfinished:
            self.delivery.forget_if_ended(task.client, node.graph)

    def _end(
        self,
        task: Task,
        event: TaskEvent,
        outcome: Outcome,
        payload: bytes,
        objects: tuple[bytes, ...],
        seconds: float,
        attempt: Attempt | None,
    ) -> bool:
        state = self.state
        before = task.state
        if not state.move(task, event):
            return False
        client = task.client
        if before is TaskState.WAITING or before is TaskState.READY:
            client.unassigned_bytes -= len(task.payload)
            state.touched[client] = None
        self._stop_others(task, attempt)
        task.attempt = None
        task.payload = b""
        if task.objects:
            state.references.remove(task.objects)
        task.function.users -= 1
        state.forget_if_unused(task.function)
        failed = outcome is not Outcome.VALUE
        # Of a failed graph the client needs what failed, not all that could therefore not run.
        if task.wanted or (failed and outcome is not Outcome.UPSTREAM):
            state.refer_result(client, objects)
            if attempt is not None:
                task.attempt = attempt
                attempt.unacknowledged = 1
            if task.node is not None:
                task.node.graph.unacknowledged += 1
            self.delivery.add_row(task, outcome, payload, objects, seconds)
        if task.node is not None:
            self._end_node(task.node, None if failed else payload, objects)
        state.references.discard(objects)
        return True

    def _stop_others(self, task: Task, attempt: Attempt | None) -> None:
        """The first result wins: whoever else was given this task may stop."""
        for other in (task.attempt, *(task.rivals or ())):
            if other is not None and other is not attempt and other.open:
                self.state.cancel_rows(other.worker, other.number, 0, 1)
        task.rivals = None

    def _end_node(self, node: Node, result: bytes | None, objects: tuple[bytes, ...]) -> None:
        node.graph.unfinished -= 1
        if node.readers and result is not None:
            node.result = result
            if objects:
                node.result_objects = objects
                self.state.references.add(objects)
        for source in node.inputs:
            read = source.node
            assert read is not None
            read.readers -= 1
            if not read.readers:
                read.result = None
                if read.result_objects:
                    self.state.references.remove(read.result_objects)
                    read.result_objects = ()
        node.inputs = []

    def _release(self, done: Node) -> None:
        dependents = done.dependents
        if not dependents:
            return
        done.dependents = []  # they refer to each other
        story = ((self.state.now, _INPUTS_READY),)
        for dependent in dependents:
            node = dependent.node
            assert node is not None
            node.missing -= 1
            if not node.missing and (after := _ON_INPUTS_READY.get(dependent.state)):
                dependent.state = after
                dependent.story += story
                self.recovery.make_ready(dependent)

    def fail_dependents(self, task: Task) -> None:
        """Everything downstream fails with the number of the node that failed; iteratively, as graphs are deep."""
        payload = str(task.number).encode()
        assert task.node is not None
        pending = list(task.node.dependents)
        while pending:
            dependent = pending.pop()
            assert dependent.node is not None
            if self._end(dependent, TaskEvent.UPSTREAM_FAILED, Outcome.UPSTREAM, payload, (), 0.0, None):
                pending.extend(dependent.node.dependents)
                dependent.node.dependents = []

    # -------------------------------------------------------------------------------------------------- array rows

    def finish_rows(self, array: Array, lo: int, hi: int) -> None:
        """Mark rows, none of which was done before, as done; they may still be open in attempts."""
        array.done.add(lo, hi)
        if array.redo:
            array.redo.remove(lo, hi)
        if array.suspects:
            array.suspects.remove(lo, hi)
        if array.held:
            array.held.remove(lo, hi)
        if array.retries:
            array.resting.remove(lo, hi)
            tried = array.retries if hi - lo > len(array.retries) else range(lo, hi)
            for row in [row for row in tried if lo <= row < hi]:
                array.retries.pop(row, None)
        if array.crashes:
            for row in [row for row in array.crashes if lo <= row < hi]:
                del array.crashes[row]
        for block in array.blocks.overlapping(lo, hi):
            block.open -= min(hi, block.end) - max(lo, block.start)
            if block.objects:
                for row in [row for row in block.objects if lo <= row < hi]:
                    self.state.references.remove(block.objects.pop(row))
            if block.open == 0:
                array.client.unassigned_bytes -= block.unshipped_bytes
                self.state.touched[array.client] = None
                array.blocks.drop(block)
        if array.raced:
            for attempt in array.outstanding.values():
                for a, b in attempt.open.within(lo, hi):
                    self.state.cancel_rows(attempt.worker, attempt.number, a, b)

    def report_rows(
        self, array: Array, lo: int, hi: int, outcome: Outcome, text: bytes, attempt: Attempt | None = None
    ) -> None:
        """End rows without values: cancelled, crashed, unrunnable. Rows that are done already are left out."""
        most = max(1, min(BLOCK_ROWS, REPORT_BYTES // max(1, len(text))))
        for start, end in array.done.missing(lo, hi):
            self.finish_rows(array, start, end)
            for at in range(start, end, most):
                upto = min(at + most, end)
                message = m.ArrayResults(
                    sequence=array.client.sequence + 1,
                    task=array.number,
                    lo=at,
                    hi=upto,
                    failed=tuple([(row, int(outcome)) for row in range(at, upto)]),
                    objects=(),
                    seconds=0.0,
                    lengths=write_u32([len(text)] * (upto - at)),
                    data=text * (upto - at),
                )
                self.delivery.send_rows_of(array, message, attempt)
        self.delivery.forget_if_complete(array)
