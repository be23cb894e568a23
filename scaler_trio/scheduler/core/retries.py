"""Items that raised what their options allow to be tried again: they rest, longer each time, and then queue again.

A resting task is READY and in no queue; resting rows are in ``Array.resting``. What becomes of them meanwhile, a cancel
or a result that comes late, needs no notice here: who rests no more is skipped when its time is over.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import TypeAlias

from attrs import define, field

from scaler_trio.scheduler.core.queues import has_unassigned
from scaler_trio.scheduler.core.records import Array, Attempt, Source, Task
from scaler_trio.scheduler.core.requeue import Requeue
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskEvent, TaskState

DOUBLINGS = 30
"""Retries after which the pause is certainly the longest."""


Pause: TypeAlias = tuple[float, int, Source, int, int]
"""(end, serial, source, rows from, to)."""


@define(eq=False, repr=False)
class Retries:
    """Counts the tries and keeps the pauses."""

    state: SchedulerState
    requeue: Requeue
    pauses: list[Pause] = field(factory=list)  # a heap
    serial: int = 0

    def take_task(self, task: Task, attempt: Attempt) -> bool:
        """A task raised, at this attempt, which is closed; False if that is its result."""
        if task.attempt is not attempt or task.state is TaskState.DONE:
            return True  # it runs, or has run, elsewhere
        if task.state is TaskState.CANCELLING:
            self.requeue.take_back(attempt, 0, 1, TaskEvent.RETRY)
            return True
        most = task.demand.options.max_retries
        if task.retries >= most:
            return False
        task.retries += 1
        self.state.move(task, TaskEvent.RETRY)
        task.story = (*task.story, (self.state.now, "failure", task.retries, "of", most + 1))
        task.attempt = None
        task.alone = False  # it has run alone, and killed nobody
        task.client.unassigned_bytes += len(task.payload)
        self._rest(task, 0, 1, task.retries)
        return True

    def take_rows(self, array: Array, attempt: Attempt, rows: Sequence[int]) -> list[int]:
        """Rows raised, at this attempt, where they are closed; those for which that is not the result."""
        most = array.demand.options.max_retries
        taken = []
        for row in rows:
            tries = array.retries.get(row, 0) + 1
            if tries > most and row not in array.cancelled:
                continue
            taken.append(row)
            if row in array.cancelled:
                self.requeue.take_back(attempt, row, row + 1, TaskEvent.RETRY)
            elif self.requeue.nowhere(array, attempt, row, row + 1):
                array.retries[row] = tries
                array.resting.add(row, row + 1)
                array.story.append((self.state.now, "failure", row, tries, "of", most + 1))
                self._rest(array, row, row + 1, tries)
        return taken

    def _rest(self, source: Source, lo: int, hi: int, tries: int) -> None:
        tuning = self.state.tuning
        pause_s = min(tuning.longest_pause_s, tuning.first_pause_s * 2 ** min(tries - 1, DOUBLINGS))
        self.serial += 1
        heappush(self.pauses, (self.state.now + pause_s, self.serial, source, lo, hi))

    def next_deadline(self) -> float | None:
        """When the next pause ends."""
        return self.pauses[0][0] if self.pauses else None

    def expire(self) -> None:
        """Queue again what has rested long enough."""
        state = self.state
        while self.pauses and self.pauses[0][0] <= state.now:
            _, _, source, lo, hi = heappop(self.pauses)
            if type(source) is Task:
                if source.state is TaskState.READY and not source.alone:
                    state.ready.add(source, in_front=True)
            elif type(source) is Array:
                for a, b in source.resting.within(lo, hi):
                    source.resting.remove(a, b)
                    source.redo.add(a, b)
                if has_unassigned(source):
                    state.ready.add(source, in_front=True)
