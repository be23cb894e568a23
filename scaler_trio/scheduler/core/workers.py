"""Workers that come, go and come back: what they hold, their grace, and what becomes of their work."""

from attrs import define

from scaler_protocol import messages as m
from scaler_protocol.limits import HELD_ROWS
from scaler_protocol.messages import EventKind
from scaler_trio.ranges import RangeSet
from scaler_trio.scheduler.core.errors import PeerFault
from scaler_trio.scheduler.core.nesting import Nesting
from scaler_trio.scheduler.core.records import Array, Attempt, Client, Task, Worker
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.requeue import Requeue
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskEvent, TaskState
from scaler_trio.words import counted


@define(eq=False, repr=False)
class Workers:
    """The table of workers."""

    state: SchedulerState
    requeue: Requeue
    recovery: Recovery
    nesting: Nesting

    def connected(self, session: bytes, name: str, python: str) -> None:
        """A worker is there, for the first time or again; it says next what it holds."""
        worker = self.state.workers.get(session)
        if worker is None:
            worker = self.state.workers[session] = Worker(session, name, python)
        elif worker.connected:  # a second connection supersedes the first
            self._disconnected(worker)
        worker.connected = True
        worker.departure = 0

    def _disconnected(self, worker: Worker) -> None:
        state = self.state
        worker.connected = worker.ready = worker.draining = False
        state.fleet.leave(worker)
        if worker.manager:
            state.units[worker] = None
        for rows in (worker.assignments, worker.cancels, worker.settled, worker.forgets):
            rows.clear()
        state.unsettled.pop(worker, None)
        worker.assignment_demands.clear()
        worker.assignment_bytes = 0
        worker.recalls = worker.recalled = 0
        for number in list(worker.waits):
            state.set_waiting(state.attempts[number], 0)  # it says so again when it is back
        for attempt in worker.attempts.values():
            attempt.recalled = False
        for function in worker.functions:
            function.workers.pop(worker, None)
        worker.functions.clear()
        self.recovery.forget_worker(worker)

    # ---------------------------------------------------------------------------------------------------- held-set

    def held(self, worker: Worker, message: m.WorkerHeld) -> None:
        """What a worker is, and what it holds: what is missing there is requeued, what is unknown here it drops."""
        if worker.ready:
            raise PeerFault("a worker says what it holds once per connection")
        state, tuning = self.state, self.state.tuning
        worker.slots = message.slots
        worker.manager, worker.unit = message.manager, message.unit
        worker.depth_s = (tuning.feed_s + message.latency_s) * message.slots
        worker.rows_depth_s = (tuning.feed_rows_s + message.latency_s) * message.slots
        worker.slice_s = max(tuning.slice_s, message.latency_s)
        worker.capabilities = dict(message.capabilities)
        worker.free = {name: amount for name, amount in worker.capabilities.items() if amount >= 0}
        worker.ready = True
        worker.requeued = False
        worker.last_report_at = state.now
        held: dict[int, RangeSet] = {}
        drop: dict[tuple[int, int], None] = {}
        for row in (*message.unfinished, *message.finished):
            attempt = state.attempts.get(row[1])
            if attempt is not None and attempt.worker is worker:
                held.setdefault(row[1], RangeSet()).add(row[4], row[5])
            elif not self.recovery.declare(worker, row):
                drop[row[0], row[1]] = None
        for attempt in worker.attempts.values():
            if not attempt.lost:
                self._count_amounts(attempt)
        for attempt in list(worker.attempts.values()):
            self._compare(attempt, held.get(attempt.number) or RangeSet())
        dropped = list(drop)
        state.effects.send(
            worker.session,
            m.WorkerKnown(state.epoch, object_address=state.object_address, drop=tuple(dropped[:HELD_ROWS])),
        )
        for _, number in dropped[HELD_ROWS:]:
            state.tell_settled(worker, number)
        for attempt in worker.attempts.values():
            self._cancel_again(attempt)
        state.fleet.join(worker)
        if worker.manager:
            state.units[worker] = None
        self.recovery.declared(worker)
        state.fleet.update(worker)
        state.feed.tell(state.now, EventKind.WORKER, worker.name, f"has connected: {counted(worker.slots, 'slot')}")

    def _compare(self, attempt: Attempt, held: RangeSet) -> None:
        """Requeue what the worker does not have (any more); go on with what it has."""
        state = self.state
        gone = [part for lo, hi in attempt.open for part in held.missing(lo, hi)]
        was_lost = attempt.lost
        for lo, hi in gone:
            state.close_rows(attempt, lo, hi)
            if not was_lost:
                self.requeue.take_back(attempt, lo, hi, TaskEvent.REQUEUE)
        if was_lost and attempt.open:
            self._take_up(attempt)
        state.settle(attempt)

    def _count_amounts(self, attempt: Attempt) -> None:
        worker = attempt.worker
        for name, amount in attempt.source.demand.amounts:
            if name in worker.free:
                worker.free[name] -= amount * len(attempt.open)

    def _take_up(self, attempt: Attempt) -> None:
        """A worker thought lost still has these rows: it goes on with them, perhaps in a race with somebody else."""
        state, source = self.state, attempt.source
        if type(source) is Task:
            if source.state is not TaskState.READY:
                if source.state is not TaskState.DONE:
                    source.rivals = [*(source.rivals or ()), attempt]
                return  # stays lost: its result counts if it is the first
            state.move(source, TaskEvent.ADOPT)
            source.attempt = attempt
            source.alone = False
            source.client.unassigned_bytes -= len(source.payload)
        elif type(source) is Array:
            places = (source.redo, source.suspects, source.resting)
            free = sum([place.remove(lo, hi) for lo, hi in attempt.open for place in places])
            if free < len(attempt.open):
                source.raced = True
            source.outstanding[attempt.number] = attempt
        attempt.lost = False
        state.take_load(attempt, len(attempt.open))

    def _cancel_again(self, attempt: Attempt) -> None:
        """Stop what was cancelled, or done by others, while the worker was away."""
        state, source = self.state, attempt.source
        if type(source) is Task:
            if source.state in (TaskState.CANCELLING, TaskState.DONE):
                state.cancel_rows(attempt.worker, attempt.number, 0, 1)
        elif type(source) is Array:
            for lo, hi in attempt.open:
                for a, b in RangeSet([*source.cancelled.within(lo, hi), *source.done.within(lo, hi)]):
                    state.cancel_rows(attempt.worker, attempt.number, a, b)

    # --------------------------------------------------------------------------------------------------------- loss

    def lost(self, worker: Worker, *, on_purpose: bool) -> None:
        """A worker's connection ended; its work waits for it a moment, unless it went on purpose."""
        if not worker.connected:
            return
        self._disconnected(worker)
        how = "has left" if on_purpose else f"lost its connection, with {counted(worker.items, 'item')}"
        self.state.feed.tell(self.state.now, EventKind.WORKER, worker.name, how)
        if on_purpose:
            self._requeue(worker, on_purpose=True)
            self._forget(worker)
        else:
            self.state.depart(worker, self.state.tuning.reconnect_grace_s)

    def expire(self, worker: Worker) -> None:
        """The grace is over: its work goes to others; then its results count a while longer."""
        if worker.requeued:
            self._forget(worker)
            return
        self._requeue(worker, on_purpose=False)
        worker.requeued = True
        if worker.attempts:
            self.state.depart(worker, self.state.tuning.worker_memory_s)
        else:
            self._forget(worker)

    def _forget(self, worker: Worker) -> None:
        """It will not come back, or if it does, as one that is not known."""
        del self.state.workers[worker.session]
        for client in worker.nested:
            client.host = None
        worker.nested.clear()
        for attempt in worker.attempts.values():
            attempt.open = RangeSet()
            if not attempt.unacknowledged:
                self.state.attempts.pop(attempt.number, None)
        worker.attempts.clear()

    def _requeue(self, worker: Worker, *, on_purpose: bool) -> None:
        """Give a lost worker's open rows to others. A death is charged only to an item that was alone there."""
        state = self.state
        self.nesting.worker_lost(worker)
        attempts = [attempt for attempt in worker.attempts.values() if not attempt.lost]
        alone = worker.items == 1 and not on_purpose
        for attempt in attempts:
            state.drop_load(attempt, len(attempt.open))
            attempt.lost = True
            if type(attempt.source) is Array:
                attempt.source.outstanding.pop(attempt.number, None)
        if attempts and not alone and not on_purpose:
            self._tell(worker, attempts)
        for attempt in attempts:
            if alone:
                text = f"its worker {worker.name!r} was lost while it ran alone there"
                self.requeue.crash(attempt, attempt.open.first[0], text, charged=True, suspect=True)
                continue
            for lo, hi in list(attempt.open):
                self.requeue.take_back(attempt, lo, hi, TaskEvent.REQUEUE, suspect=not on_purpose)

    def _tell(self, worker: Worker, attempts: list[Attempt]) -> None:
        told: dict[Client, list[Attempt]] = {}
        for attempt in attempts:
            told.setdefault(attempt.source.client, []).append(attempt)
        for client, its in told.items():
            count = sum([len(attempt.open) for attempt in its])
            text = f"the worker {worker.name!r} was lost; {count} of your items are run again elsewhere"
            self.state.notice(client, its[0].source.number, its[0].open.first[0], m.NoticeKind.RETRY, text)
