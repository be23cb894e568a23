"""After a scheduler's restart: work that workers still hold is taken over instead of being started twice.

Workers say what they hold, clients say again what they want. Whichever comes first waits here for the other, until the
recovery window ends.
"""

from collections.abc import Callable

from attrs import define, field

from scaler_protocol import Message
from scaler_trio.scheduler.ranges import RangeSet
from scaler_trio.scheduler.records import Array, Attempt, Task, Worker
from scaler_trio.scheduler.state import SchedulerState
from scaler_trio.scheduler.states import TaskEvent


@define
class Foreign:
    """Work of an earlier epoch at a worker."""

    worker: Worker
    attempt: int
    client: bytes
    task: int
    lo: int
    hi: int
    crashes: int
    results: list[Message] = field(factory=list)  # reported before the client came


@define
class Recovery:
    """Holds what workers declared until their clients declare it too."""

    state: SchedulerState
    until: float = 0.0  # end of the window
    by_task: dict[tuple[bytes, int], list[Foreign]] = field(factory=dict)
    by_attempt: dict[int, Foreign] = field(factory=dict)
    redeliver: Callable[[Worker, Message], None] = field(default=lambda worker, message: None)
    pending: list[Foreign] = field(factory=list)  # taken over in this step, with results to be handled at its end

    @property
    def open(self) -> bool:
        """Whether anything is waiting for its client."""
        return bool(self.by_attempt)

    def declare(self, worker: Worker, row: tuple[int, int, bytes, int, int, int, int]) -> bool:
        """A worker holds this; whether the claim is kept (else the worker shall drop it)."""
        _, attempt, client, task, lo, hi, crashes = row[:7]
        if self.state.now >= self.until or lo >= hi or attempt in self.state.attempts:
            return False
        foreign = Foreign(worker, attempt, client, task, lo, hi, crashes)
        self.by_task.setdefault((client, task), []).append(foreign)
        self.by_attempt[attempt] = foreign
        return True

    def adopt_task(self, task: Task) -> bool:
        """A client declares a task: take over the worker that holds it, if one does."""
        waiting = self.by_task.pop((task.client.session, task.number), None)
        if not waiting:
            return False
        foreign = waiting[0]
        self._forget(waiting)
        if not foreign.worker.connected:
            return False
        attempt = self._attempt(foreign, task, 0, 1)
        self.state.move(task, TaskEvent.ADOPT)
        task.attempt = attempt
        task.crashes = foreign.crashes
        self.pending.append(foreign)
        return True

    def adopt_rows(self, array: Array, start: int, end: int) -> None:
        """A client declares rows: take over the slices of them that workers hold."""
        waiting = self.by_task.get((array.client.session, array.number))
        if not waiting:
            return
        held = RangeSet()
        for foreign in list(waiting):
            lo, hi = max(foreign.lo, start), min(foreign.hi, end)
            if lo >= hi or not foreign.worker.connected or foreign.attempt in self.state.attempts:
                continue
            attempt = self._attempt(foreign, array, lo, hi)
            attempt.block = next((b for b in array.blocks.values() if b.start <= lo < b.end), None)
            array.outstanding[attempt.number] = attempt
            held.add(lo, hi)
            self.pending.append(foreign)
            waiting.remove(foreign)
            self._forget([foreign])
        if not held:
            return
        for lo, hi in held.missing(start, end):
            array.redo.add(lo, hi)
        array.next = end

    def _attempt(self, foreign: Foreign, source: Task | Array, lo: int, hi: int) -> Attempt:
        state = self.state
        attempt = Attempt(foreign.attempt, foreign.worker, source, lo, hi, 0.0, state.now, RangeSet([(lo, hi)]))
        state.attempts[attempt.number] = attempt
        foreign.worker.attempts[attempt.number] = attempt
        foreign.worker.items += hi - lo
        return attempt

    def _forget(self, waiting: list[Foreign]) -> None:
        for foreign in waiting:
            self.by_attempt.pop(foreign.attempt, None)

    def deliver(self) -> None:
        """Handle the results that had come before their clients did."""
        while self.pending:
            foreign = self.pending.pop()
            for message in foreign.results:
                self.redeliver(foreign.worker, message)

    def expire(self) -> list[Foreign]:
        """At the end of the window: what nobody wants, to be dropped by its workers."""
        if not self.by_attempt or self.state.now < self.until:
            return []
        rest = list(self.by_attempt.values())
        self.by_attempt.clear()
        self.by_task.clear()
        return rest
