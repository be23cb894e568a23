"""Work that comes back from workers, for whatever reason: queued again, isolated, or ended."""

from attrs import define

from scaler_protocol.messages import NoticeKind, Outcome
from scaler_trio.ranges import Range, RangeSet
from scaler_trio.scheduler.core.completion import Completion
from scaler_trio.scheduler.core.queues import has_unassigned
from scaler_trio.scheduler.core.records import Array, Attempt, Task
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskEvent, TaskState

CANCELLED_TEXT = b"cancelled"

SUSPECT_PARTS = 8
"""A lost worker's slice is run again in parts of an eighth, each alone, until the row that kills workers is alone."""


@define(eq=False, repr=False)
class Requeue:
    """Puts back what was assigned."""

    state: SchedulerState
    completion: Completion

    def take_back(self, attempt: Attempt, lo: int, hi: int, event: TaskEvent, *, suspect: bool = False) -> None:
        """Rows of an attempt, which are closed there, may be run again; or end, if they were cancelled.

        Args:
            attempt: what they were part of.
            lo: the first of them.
            hi: one behind the last.
            event: why they come back.
            suspect: whether one of them may have killed its worker, so that they must run alone.
        """
        source = attempt.source
        if type(source) is Task:
            self._take_back_task(source, attempt, event, suspect=suspect)
        elif type(source) is Array:
            self._take_back_rows(source, attempt, lo, hi, suspect=suspect)

    def _take_back_task(self, task: Task, attempt: Attempt, event: TaskEvent, *, suspect: bool) -> None:
        state = self.state
        if task.attempt is not attempt:
            return  # a rival gave up; the task is elsewhere, or done
        if task.state is TaskState.CANCELLING:
            self.completion.finish(task, event, Outcome.CANCELLED, CANCELLED_TEXT)
            return
        state.move(task, event)
        task.attempt = None
        task.alone = suspect
        task.client.unassigned_bytes += len(task.payload)
        if suspect:
            state.ready.add_suspect(task, 0, 1)
        else:
            state.ready.add(task, in_front=True)

    def _take_back_rows(self, array: Array, attempt: Attempt, lo: int, hi: int, *, suspect: bool) -> None:
        state = self.state
        if state.clients.get(array.client.session) is not array.client:
            return  # nobody wants it any more
        for start, end in self.nowhere(array, attempt, lo, hi):
            wanted: list[Range] = [(start, end)]
            if array.cancelled:
                for a, b in array.cancelled.within(start, end):
                    self.completion.report_rows(array, a, b, Outcome.CANCELLED, CANCELLED_TEXT)
                wanted = array.cancelled.missing(start, end)
            for a, b in wanted:
                if suspect:
                    part = -(-(b - a) // SUSPECT_PARTS)
                    for at in range(a, b, part):
                        state.ready.add_suspect(array, at, min(at + part, b))
                else:
                    array.redo.add(a, b)
        if has_unassigned(array):
            state.ready.add(array, in_front=True)

    def nowhere(self, array: Array, attempt: Attempt, lo: int, hi: int) -> list[Range]:
        """The rows that are neither done nor open in another attempt."""
        missing = array.done.missing(lo, hi)
        if not array.raced:
            return missing
        rows = RangeSet(missing)
        for taken in (
            array.redo,
            array.suspects,
            array.resting,
            array.held,
            *[o.open for o in array.outstanding.values()],
        ):
            if taken is not attempt.open:
                for a, b in taken.within(lo, hi):
                    rows.remove(a, b)
        return list(rows)

    # ------------------------------------------------------------------------------------------------------ crashes

    def crash(self, attempt: Attempt, row: int, text: str, *, charged: bool, suspect: bool = False) -> None:
        """An item's processor or, if it ran alone, its worker died: run it again, or end it at its limit.

        A death on purpose is not charged. Its row is closed, unless its worker was lost, which makes it a ``suspect``.
        """
        source = attempt.source
        entry = (self.state.now, "crash", row, text)
        if type(source) is Task:
            source.story = (*source.story, entry)
            if source.attempt is not attempt:
                return  # it runs, or has run, elsewhere
            source.crashes += charged
            crashes, unwanted = source.crashes, source.state is TaskState.CANCELLING
        else:
            assert type(source) is Array
            source.story.append(entry)
            if row in source.done:
                return
            crashes = source.crashes.get(row, 0) + charged
            if crashes:
                source.crashes[row] = crashes
            unwanted = row in source.cancelled
        limit = source.demand.options.crash_limit
        if unwanted or crashes < limit:
            if not unwanted:
                retry = f"run again after crash {crashes} of {limit}: {text}" if charged else f"run again: {text}"
                self.state.notice(source.client, source.number, row, NoticeKind.RETRY, retry)
            self.take_back(attempt, row, row + 1, TaskEvent.REQUEUE, suspect=suspect)
            return
        reporter = None if suspect else attempt  # a lost worker keeps no result that it would have to forget
        who = f"{source.demand.options.name}: " if source.demand.options.name else ""
        final = f"{who}{text} (crash {crashes}, limit {limit})".encode(errors="replace")
        if type(source) is Task:
            self.completion.finish(source, TaskEvent.CRASH_LIMIT, Outcome.CRASHED, final, attempt=reporter)
        elif type(source) is Array:
            self.completion.report_rows(source, row, row + 1, Outcome.CRASHED, final, reporter)
