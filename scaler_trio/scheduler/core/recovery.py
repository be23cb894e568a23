"""After a scheduler's restart: work that workers still hold is taken over instead of being started twice.

Workers say what they hold (``Claim``), clients say again what they want. Whichever comes first waits here for the
other, until the recovery window ends: a claim with what its worker reports meanwhile, a task or row out of every queue.
"""

from collections.abc import Callable

from attrs import define, field

from scaler_protocol import Message
from scaler_protocol import messages as m
from scaler_protocol.fields import Row
from scaler_trio.ranges import RangeSet
from scaler_trio.scheduler.core.fixed_rows import ONE_ROW
from scaler_trio.scheduler.core.queues import has_unassigned
from scaler_trio.scheduler.core.records import Array, Client, Task, Worker
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskEvent, TaskState


@define(eq=False, repr=False)
class Claim:
    """Rows of an attempt of an earlier epoch at a worker, for which no client has come yet."""

    worker: Worker
    attempt: int
    client: bytes
    task: int
    crashes: int
    lo: int  # of the whole attempt
    hi: int
    rows: RangeSet = field(factory=RangeSet)  # not yet taken over
    reports: list[Message] = field(factory=list)  # that came meanwhile, each about this attempt only


@define(eq=False, repr=False)
class Recovery:
    """Brings together what workers hold and what clients declare again."""

    state: SchedulerState
    until: float  # end of the window
    claims: dict[int, Claim] = field(factory=dict)  # by attempt
    by_task: dict[tuple[bytes, int], dict[int, Claim]] = field(factory=dict)  # the same, by whose they are
    waiting: dict[Task, None] = field(factory=dict)  # ready, and held back
    arrays: dict[Array, None] = field(factory=dict)  # with rows held back
    clients: dict[Client, None] = field(factory=dict)  # that have something to declare again
    complete: list[Claim] = field(factory=list)  # taken over in this step: their reports are due
    report: Callable[[Worker, Message], None] = field(default=lambda worker, message: None)

    @property
    def is_open(self) -> bool:
        """Whether the window is open."""
        return self.state.now < self.until

    # ----------------------------------------------------------------------------------------------------- workers

    def declare(self, worker: Worker, row: Row) -> bool:
        """A worker holds this; whether the claim is kept, else the worker shall drop it."""
        epoch, number, client, task, lo, hi, crashes = row
        if not self.is_open or lo >= hi or epoch == self.state.epoch or number in self.state.attempts:
            return False
        known = self.state.clients.get(client)
        if known is not None and known.ready and not self._may_come(known, task):
            return False
        claim = self.claims.get(number)
        if claim is None:
            claim = self.claims[number] = Claim(worker, number, client, task, crashes, lo, hi)
            self.by_task.setdefault((client, task), {})[number] = claim
        elif claim.worker is not worker or claim.client != client or claim.task != task:
            return False
        claim.lo, claim.hi = min(claim.lo, lo), max(claim.hi, hi)
        claim.rows.add(lo, hi)
        return True

    def _may_come(self, client: Client, number: int) -> bool:
        """Whether the client has declared it, and it waits for a worker; or will declare it."""
        task = client.tasks.get(number)
        if task is not None:
            return task.state is TaskState.WAITING or self.holds(task)
        array = client.arrays.get(number)
        if array is not None:
            return bool(array.held) or array.received < client.redeclared_rows.get(number, 0)
        return number in client.redeclared_tasks or number in client.redeclared_rows

    def holds(self, task: Task) -> bool:
        """Whether it is ready, and held back for a worker that may be running it."""
        return task in self.waiting and task.state is TaskState.READY

    def declared(self, worker: Worker) -> None:
        """The worker has declared everything: take over what its clients have declared before."""
        for claim in [claim for claim in self.claims.values() if claim.worker is worker]:
            client = self.state.clients.get(claim.client)
            if client is None:
                continue
            task = client.tasks.get(claim.task)
            if task is not None and self.holds(task):
                self.take_task(task)
            array = client.arrays.get(claim.task)
            if array is not None:
                self._take_rows(array, claim, array.held)

    def forget_worker(self, worker: Worker) -> None:
        """The worker is gone; it claims again what it still holds when it comes back."""
        for claim in [claim for claim in self.claims.values() if claim.worker is worker]:
            self._drop(claim)

    def keep(self, worker: Worker, kind: type, row: Row) -> bool:
        """Keep a row of a report for later, if it is about a claim."""
        claim = self.claims.get(row[0])
        if claim is None or claim.worker is not worker:
            return False
        if kind is m.AttemptResults or kind is m.Returned or kind is m.Crashed or kind is m.Waiting:
            claim.reports.append(kind((row,)))
        return True

    def keep_slice(self, worker: Worker, message: m.SliceResults) -> bool:
        """The same for a slice's results."""
        claim = self.claims.get(message.attempt)
        if claim is None or claim.worker is not worker:
            return False
        claim.reports.append(message)
        return True

    # ----------------------------------------------------------------------------------------------------- clients

    def redeclare(self, client: Client, tasks: RangeSet, arrays: dict[int, int]) -> None:
        """A client had sent these to an earlier scheduler, and will send them again."""
        if self.is_open and (tasks or arrays):
            client.redeclared_tasks, client.redeclared_rows = tasks, arrays
            self.clients[client] = None

    def concerns(self, client: Client) -> bool:
        """Whether what this client sends now may have to do with what some worker holds."""
        return client in self.clients or bool(self.claims)

    def make_ready(self, task: Task) -> None:
        """Queue a task that may run, unless a worker has it or may have it."""
        if not (self.concerns(task.client) and self.take_task(task)):
            self.state.ready.add(task)

    def take_task(self, task: Task) -> bool:
        """A task is ready: give it to the worker that claims it, or hold it back if one may; whether it was."""
        client = task.client
        claims = self.by_task.get((client.session, task.number))
        if claims:
            claim = next(iter(claims.values()))
            for other in list(claims.values()):
                self._drop(other)
                if other is not claim:
                    self.state.cancel_rows(other.worker, other.attempt, 0, 1)
            attempt = self.state.open_attempt(claim.attempt, claim.worker, task, 0, 1, ONE_ROW)
            self.state.move(task, TaskEvent.ADOPT)
            task.attempt = attempt
            task.crashes = claim.crashes
            client.unassigned_bytes -= len(task.payload)
            self.waiting.pop(task, None)
            self.state.fleet.update(claim.worker)
            self.complete.append(claim)
            return True
        if self.is_open and task.number in client.redeclared_tasks:
            self.waiting[task] = None
            return True
        return False

    def take_block(self, array: Array, start: int, end: int) -> None:
        """Rows have come: give them to the workers that claim them, hold back those that one may, queue the rest."""
        rows = RangeSet(array.done.missing(start, end))
        redeclared = array.client.redeclared_rows.get(array.number, 0)
        claims = self.by_task.get((array.client.session, array.number), {})
        if not claims and start >= redeclared:
            return
        for lo, hi in array.done.missing(array.next, start):
            array.redo.add(lo, hi)
        array.next = end
        for claim in list(claims.values()):
            self._take_rows(array, claim, rows)
        for lo, hi in rows:
            held = min(hi, redeclared) if self.is_open else lo
            array.held.add(lo, held)
            array.redo.add(max(lo, held), hi)
        if array.held:
            self.arrays[array] = None

    def _take_rows(self, array: Array, claim: Claim, available: RangeSet) -> None:
        """Give the claimed ones of ``available`` rows to the worker, and take them out of it."""
        state = self.state
        taken = [part for lo, hi in claim.rows for part in available.within(lo, hi)]
        if taken:
            attempt = state.attempts.get(claim.attempt)
            if attempt is None:
                attempt = state.open_attempt(claim.attempt, claim.worker, array, claim.lo, claim.hi, RangeSet())
            array.outstanding[attempt.number] = attempt
            assert type(attempt.open) is RangeSet
            for lo, hi in taken:
                available.remove(lo, hi)
                claim.rows.remove(lo, hi)
                state.take_load(attempt, attempt.open.add(lo, hi))
                if claim.crashes and claim.hi - claim.lo == 1:
                    array.crashes[lo] = claim.crashes
            state.fleet.update(claim.worker)
        for lo, hi in array.done:  # nobody wants these any more
            claim.rows.remove(lo, hi)
        if not claim.rows:
            self._drop(claim)
            self.complete.append(claim)

    def _drop(self, claim: Claim) -> None:
        self.claims.pop(claim.attempt, None)
        key = (claim.client, claim.task)
        mine = self.by_task.get(key)
        if mine is not None:
            mine.pop(claim.attempt, None)
            if not mine:
                del self.by_task[key]

    # -------------------------------------------------------------------------------------------------------- time

    def deliver(self) -> None:
        """Handle what was reported before the client came."""
        while self.complete:
            claim = self.complete.pop(0)
            for message in claim.reports:
                if claim.worker.ready:
                    self.report(claim.worker, message)

    def next_deadline(self) -> float | None:
        """When the window ends, if that matters to anybody."""
        return self.until if self.claims or self.waiting or self.arrays or self.clients else None

    def expire(self) -> None:
        """At the end of the window: what nobody wants is dropped by its workers, what nobody holds is run."""
        state = self.state
        if self.is_open or self.next_deadline() is None:
            return
        for client in self.clients:
            client.redeclared_tasks, client.redeclared_rows = RangeSet(), {}
        self.clients.clear()
        for claim in list(self.claims.values()):
            self._drop(claim)
            for lo, hi in claim.rows:
                state.cancel_rows(claim.worker, claim.attempt, lo, hi)
            self.complete.append(claim)
        for task in self.waiting:
            if task.state is TaskState.READY and task.attempt is None:
                state.ready.add(task)
        self.waiting.clear()
        for array in self.arrays:
            for lo, hi in array.held:
                array.redo.add(lo, hi)
            array.held.clear()
            if has_unassigned(array):
                state.ready.add(array)
        self.arrays.clear()
