"""Tasks and rows that end, by whatever cause: each is reported once, and what depended on it goes on."""

from array import array as typed_array
from collections.abc import Sequence

from attrs import define

from scaler_protocol import messages as m
from scaler_protocol.limits import BLOCK_ROWS
from scaler_protocol.messages import Outcome
from scaler_trio.scheduler.records import Array, Attempt, Client, Task
from scaler_trio.scheduler.state import SchedulerState
from scaler_trio.scheduler.states import TaskEvent, TaskState


@define
class Completion:
    """Ends tasks and rows."""

    state: SchedulerState

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
        """End a task and, through it, the nodes that cannot run any more; False when it had ended before."""
        if not self._end(task, event, outcome, payload, objects, seconds, attempt):
            return False
        if task.dependents:
            if outcome is Outcome.VALUE:
                self._release(task)
            else:
                self._fail_dependents(task)
        return True

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
        was_ready = task.state is TaskState.READY
        if not state.move(task, event):
            return False
        client = task.client
        if was_ready:
            client.unassigned_bytes -= len(task.payload)
        other, task.attempt = task.attempt, None
        if other is not None and other is not attempt and other.open and other.worker.connected:
            # The first result wins: whoever else was given this task may stop.
            state.effects.send(other.worker.session, m.CancelAttempts(((other.number, 0, 1),)))
        if task.objects:
            state.references.remove(task.objects)
        if objects:
            state.references.add(objects)
        failed = outcome is not Outcome.VALUE
        if task.wanted or failed:
            if objects:
                for object_ in objects:
                    client.result_objects[object_] = client.result_objects.get(object_, 0) + 1
                if task.readers:
                    state.references.add(objects)
            if attempt is not None:
                attempt.unacknowledged += 1
                client.rows_attempts.append(attempt)
            state.result_row(task, outcome, payload, objects, seconds)
        if task.readers and not failed:
            task.result = payload
            task.result_objects = objects
        for source in task.inputs:
            self._reader_done(source)
        task.payload = b""
        if not task.wanted and not failed:
            self._forget_when_read(task)
        return True

    def _release(self, task: Task) -> None:
        state = self.state
        for node in task.dependents:
            node.missing -= 1
            if node.missing == 0 and node.state is TaskState.WAITING:
                state.move(node, TaskEvent.INPUTS_READY)
                node.client.unassigned_bytes += len(node.payload)
                state.ready.add(node)

    def _fail_dependents(self, task: Task) -> None:
        """Everything downstream fails with the number of the node that failed; iteratively, as graphs are deep."""
        payload = str(task.number).encode()
        pending = list(task.dependents)
        while pending:
            node = pending.pop()
            if node.state is TaskState.WAITING and self._end(
                node, TaskEvent.UPSTREAM_FAILED, Outcome.UPSTREAM, payload, (), 0.0, None
            ):
                pending.extend(node.dependents)

    def _reader_done(self, source: Task) -> None:
        source.readers -= 1
        if source.readers == 0:
            source.result = None
            if source.result_objects:
                self.state.references.remove(source.result_objects)
                source.result_objects = ()
            self._forget_when_read(source)

    def _forget_when_read(self, task: Task) -> None:
        """An inner node whose result nobody needs any more leaves the tables."""
        if not task.wanted and task.readers == 0 and task.state is TaskState.DONE:
            task.client.tasks.pop(task.number, None)
            task.dependents = []

    # -------------------------------------------------------------------------------------------------- array rows

    def finish_rows(self, array: Array, lo: int, hi: int) -> None:
        """Mark rows, none of which was done before, as done."""
        array.done.add(lo, hi)
        self._close_blocks(array, lo, hi)
        if array.crashes:
            for row in [row for row in array.crashes if lo <= row < hi]:
                del array.crashes[row]

    def _close_blocks(self, array: Array, lo: int, hi: int) -> None:
        for start, block in list(array.blocks.items()):
            if block.start >= hi:
                break
            if block.end <= lo:
                continue
            a, b = max(lo, block.start), min(hi, block.end)
            block.open -= b - a
            if block.objects:
                for row in [row for row in block.objects if a <= row < b]:
                    self.state.references.remove(block.objects.pop(row))
            if block.open <= 0:
                array.client.unassigned_bytes -= block.offsets[-1] - block.offsets[block.shipped]
                del array.blocks[start]

    def report_rows(
        self, array: Array, lo: int, hi: int, outcome: Outcome, text: bytes, attempt: Attempt | None = None
    ) -> None:
        """End rows without values: cancelled, crashed, unrunnable. Rows that are done already are left out."""
        for start, end in array.done.missing(lo, hi):
            self.finish_rows(array, start, end)
            for at in range(start, end, BLOCK_ROWS):
                upto = min(at + BLOCK_ROWS, end)
                count = upto - at
                lengths = typed_array("I", [len(text)]) * count
                message = m.ArrayResults(
                    sequence=array.client.sequence + 1,
                    task=array.number,
                    lo=at,
                    hi=upto,
                    failed=tuple([(row, int(outcome)) for row in range(at, upto)]),
                    objects=(),
                    seconds=0.0,
                    lengths=lengths.tobytes(),
                    data=text * count,
                )
                if attempt is not None:
                    attempt.unacknowledged += 1
                array.unacknowledged += 1
                self.state.send_result(array.client, message, len(text) * count, [attempt] if attempt else [], [])
        self.check_array(array)

    def check_array(self, array: Array) -> None:
        """Forget an array that is complete and whose results the client has."""
        if array.unacknowledged == 0 and 0 <= array.count <= len(array.done):
            array.client.arrays.pop(array.number, None)

    # -------------------------------------------------------------------------------------------------- acknowledge

    def acknowledge(self, client: Client, sequence: int) -> None:
        """The client has every result message up to ``sequence``."""
        state = self.state
        queue = client.unacknowledged
        while queue and queue[0].sequence <= sequence:
            entry = queue.popleft()
            client.unacknowledged_bytes -= entry.size_bytes
            for task in entry.tasks:
                if task.readers == 0 and client.tasks.get(task.number) is task:
                    del client.tasks[task.number]
                    task.dependents = []
                else:
                    task.wanted = False  # kept for its readers only
            for attempt in entry.attempts:
                attempt.unacknowledged -= 1
                state.settle(attempt)
            if type(entry.message) is m.ArrayResults:
                array = client.arrays.get(entry.message.task)
                if array is not None:
                    array.unacknowledged -= 1
                    self.check_array(array)
        if client in state.blocked and client.unacknowledged_bytes <= state.tuning.unacknowledged_bytes:
            state.blocked.discard(client)


def failed_rows(failed: Sequence[tuple[int, int]], lo: int, hi: int) -> tuple[tuple[int, int], ...]:
    """The part of a message's ``failed`` or ``objects`` column that is about rows ``lo`` to ``hi``."""
    return tuple([row for row in failed if lo <= row[0] < hi])
