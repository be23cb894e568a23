"""Peers that come, go, and come back: grace periods, held-sets, and what happens to the work of those that stay away."""

from attrs import define

from scaler_protocol import messages as m
from scaler_trio.scheduler.errors import PeerFault
from scaler_trio.scheduler.feeding import Feeding
from scaler_trio.scheduler.records import Array, Attempt, Client, Task, Worker
from scaler_trio.scheduler.recovery import Recovery
from scaler_trio.scheduler.reports import Reports
from scaler_trio.scheduler.state import SchedulerState
from scaler_trio.scheduler.states import TaskEvent, TaskState

SUSPECT_PARTS = 8
"""A lost worker's slice is run again in parts of an eighth, each alone, until the row that kills workers is alone."""


@define
class Peers:
    """The tables of clients and workers."""

    state: SchedulerState
    feeding: Feeding
    reports: Reports
    recovery: Recovery

    # ----------------------------------------------------------------------------------------------------- clients

    def client_connected(self, session: bytes, name: str, python: str) -> None:
        """A client is there, for the first time or again."""
        client = self.state.clients.get(session)
        if client is None:
            client = Client(session, name, python, usage_at=self.state.now)
            self.state.clients[session] = client
        client.connected = True

    def client_lost(self, session: bytes, *, on_purpose: bool) -> None:
        """A client's connection ended; one that went on purpose gets no grace."""
        client = self.state.clients.get(session)
        if client is None:
            return
        client.connected = False
        client.gone_at = self.state.now + (0.0 if on_purpose else self.state.tuning.client_grace_s)
        if on_purpose:
            self.forget_client(client)

    def forget_client(self, client: Client) -> None:
        """Cancel everything of a client and free what it kept."""
        state = self.state
        del state.clients[client.session]
        state.blocked.discard(client)
        state.touched.pop(client, None)
        state.ready.drop_client(client)
        for task in client.tasks.values():
            attempt = task.attempt
            if task.state is not TaskState.DONE and task.objects:
                state.references.remove(task.objects)
            if task.readers and task.result_objects:
                state.references.remove(task.result_objects)
            state.move(task, TaskEvent.ABANDON)
            if attempt is not None:
                self._abandon(attempt)
        for array in client.arrays.values():
            for attempt in list(array.outstanding.values()):
                self._abandon(attempt)
            for block in array.blocks.values():
                for ids in block.objects.values():
                    state.references.remove(ids)
            array.done.add(0, max(array.received, 1))
        for entry in client.unacknowledged:
            for attempt in entry.attempts:
                attempt.unacknowledged -= 1
                state.settle(attempt)
        for object_, count in client.result_objects.items():
            for _ in range(count):
                state.references.remove((object_,))
        state.references.remove(client.held)
        for worker in state.workers.values():
            known = [f.key for f in client.functions.values() if f.key in worker.functions]
            if known:
                worker.functions.difference_update(known)
                if worker.connected:
                    state.effects.send(worker.session, m.ForgetFunctions(tuple(known[:4096])))

    def _abandon(self, attempt: Attempt) -> None:
        """Nobody wants this attempt any more; its worker answers the cancel with results, which are settled as stale."""
        state = self.state
        worker = attempt.worker
        if worker.connected and not attempt.lost:
            rows = tuple([(attempt.number, lo, hi) for lo, hi in attempt.open])
            if rows:
                state.effects.send(worker.session, m.CancelAttempts(rows))
        # The record stays until the worker has answered: its slot is taken until then.

    # ----------------------------------------------------------------------------------------------------- workers

    def worker_connected(self, session: bytes, name: str, python: str) -> None:
        """A worker is there, for the first time or again; it says next what it holds."""
        worker = self.state.workers.get(session)
        if worker is None:
            worker = Worker(session, name, python)
            self.state.workers[session] = worker
        if worker.ready:  # a second connection supersedes the first
            self.state.slots -= worker.slots
        worker.connected = True
        worker.ready = False
        worker.functions.clear()
        worker.recalls = 0
        for attempt in worker.attempts.values():
            attempt.recalled = False

    def worker_held(self, worker: Worker, message: m.WorkerHeld) -> None:
        """What a worker is, and what it holds: what is missing there is requeued, what is unknown here it drops."""
        if worker.ready:
            raise PeerFault("a worker says what it holds once per connection")
        state = self.state
        worker.slots = message.slots
        worker.manager = message.manager
        worker.capabilities = {name: amount for name, amount, *_ in message.capabilities}
        worker.free = dict(worker.capabilities)
        worker.fits.clear()
        worker.ready = True
        worker.last_report_at = state.now
        state.slots += worker.slots
        state.fleet += 1
        drop = []
        held: dict[int, list[tuple[int, int]]] = {}
        for finished, rows in ((False, message.unfinished), (True, message.finished)):
            for row in rows:
                number = row[1]
                attempt = state.attempts.get(number)
                if attempt is None or attempt.worker is not worker:
                    if not self.recovery.declare(worker, row):
                        drop.append((row[0], number))
                    continue
                if not finished:
                    self._take_up(attempt, row[4], row[5])
                held.setdefault(number, []).append((row[4], row[5]))
        for attempt in list(worker.attempts.values()):
            open_rows = list(attempt.open)
            kept = type(attempt.open)(held.get(attempt.number, []))
            for lo, hi in open_rows:
                for a, b in kept.missing(lo, hi):
                    state.close_rows(attempt, a, b)
                    self.feeding.take_back(attempt, a, b, TaskEvent.REQUEUE)
            state.settle(attempt)
        state.effects.send(
            worker.session, m.WorkerKnown(state.epoch, object_address=state.object_address, drop=tuple(drop))
        )
        for attempt in worker.attempts.values():
            self._cancel_again(attempt)
        state.check_hunger(worker)

    def _take_up(self, attempt: Attempt, lo: int, hi: int) -> None:
        """A worker thought lost still has these rows: it may go on with those that nobody else was given."""
        if not attempt.lost:
            return
        state, source, worker = self.state, attempt.source, attempt.worker
        if type(source) is Task:
            if source.state is TaskState.READY and state.move(source, TaskEvent.ADOPT):
                source.attempt = attempt
                source.client.unassigned_bytes -= len(source.payload)
            elif source.attempt is not attempt:
                return
        else:
            assert type(source) is Array
            source.redo.remove(lo, hi)
            source.outstanding[attempt.number] = attempt
        attempt.lost = False
        worker.attempts[attempt.number] = attempt
        worker.items += len(attempt.open)
        worker.load_s += attempt.expected_s * len(attempt.open)

    def _cancel_again(self, attempt: Attempt) -> None:
        """Cancels that were asked for while the worker was away."""
        source = attempt.source
        if type(source) is Task:
            if source.state in (TaskState.CANCELLING, TaskState.DONE):
                self.state.effects.send(attempt.worker.session, m.CancelAttempts(((attempt.number, 0, 1),)))
        elif type(source) is Array and source.cancelled:
            rows = [(attempt.number, a, b) for lo, hi in attempt.open for a, b in source.cancelled.within(lo, hi)]
            if rows:
                self.state.effects.send(attempt.worker.session, m.CancelAttempts(tuple(rows)))

    def worker_lost(self, session: bytes, *, on_purpose: bool) -> None:
        """A worker's connection ended; its work waits for it a moment, unless it went on purpose."""
        worker = self.state.workers.get(session)
        if worker is None:
            return
        state = self.state
        if worker.ready:
            state.slots -= worker.slots
            state.fleet += 1
        worker.connected = False
        worker.ready = False
        worker.assignments.clear()
        worker.assignment_options.clear()
        worker.settled.clear()
        state.check_hunger(worker)
        worker.gone_at = state.now + (0.0 if on_purpose else state.tuning.reconnect_grace_s)
        if on_purpose:
            self.requeue_worker(worker, on_purpose=True)

    def requeue_worker(self, worker: Worker, *, on_purpose: bool) -> None:
        """Give a lost worker's open rows to others. A death is charged only to an item that was alone there."""
        state = self.state
        attempts = list(worker.attempts.values())
        alone = worker.items == 1 and not on_purpose
        for attempt in attempts:
            rows = list(attempt.open)
            count = len(attempt.open)
            del worker.attempts[attempt.number]
            attempt.lost = True
            if type(attempt.source) is Array:
                attempt.source.outstanding.pop(attempt.number, None)
            if alone:
                self.reports.crash(attempt, rows[0][0], True, f"its worker {worker.name!r} was lost while it ran alone")
                continue
            suspect = 0 if on_purpose else -(-count // SUSPECT_PARTS)
            for lo, hi in rows:
                self.feeding.take_back(attempt, lo, hi, TaskEvent.REQUEUE, suspect=suspect)
        worker.items = 0
        worker.load_s = 0.0
        worker.exclusive = False
        worker.free = dict(worker.capabilities)
        if attempts and not alone and not on_purpose:
            self._tell(worker, attempts)
        for attempt in attempts:
            if not attempt.unacknowledged and (on_purpose or not attempt.open):
                state.attempts.pop(attempt.number, None)

    def _tell(self, worker: Worker, attempts: list[Attempt]) -> None:
        told: dict[Client, int] = {}
        for attempt in attempts:
            client = attempt.source.client
            told[client] = told.get(client, 0) + len(attempt.open)
        for client, count in told.items():
            source = next(a.source for a in attempts if a.source.client is client)
            text = f"the worker {worker.name!r} was lost; {count} of your items are run again elsewhere"
            self.state.notice(client, source.number, 0, m.NoticeKind.RETRY, text)

    # ------------------------------------------------------------------------------------------------------- time

    def expire(self) -> None:
        """End what has been over its grace."""
        state = self.state
        for client in [c for c in state.clients.values() if not c.connected and c.gone_at <= state.now]:
            self.forget_client(client)
        for worker in [w for w in state.workers.values() if not w.connected and w.gone_at <= state.now]:
            if worker.attempts:
                self.requeue_worker(worker, on_purpose=False)
            if worker.gone_at + state.tuning.client_grace_s <= state.now or not self._results_matter(worker):
                del state.workers[worker.session]
                for number in [n for n, a in state.attempts.items() if a.worker is worker and not a.unacknowledged]:
                    del state.attempts[number]
            else:
                worker.gone_at = state.now + state.tuning.client_grace_s
        for foreign in self.recovery.expire():
            if foreign.worker.connected:
                state.effects.send(
                    foreign.worker.session, m.CancelAttempts(((foreign.attempt, foreign.lo, foreign.hi),))
                )
                if foreign.results:
                    state.tell_settled(foreign.worker, foreign.attempt)

    def _results_matter(self, worker: Worker) -> bool:
        """Whether the worker may come back with a result that is still open."""
        return any(a.worker is worker and a.open for a in self.state.attempts.values())

    def next_deadline(self) -> float | None:
        """The earliest end of a grace."""
        times = [c.gone_at for c in self.state.clients.values() if not c.connected]
        times += [w.gone_at for w in self.state.workers.values() if not w.connected]
        if self.recovery.open:
            times.append(self.recovery.until)
        return min(times, default=None)
