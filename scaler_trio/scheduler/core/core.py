"""The scheduler's decisions, without clock or IO: ``handle(event, now)`` and what is to be done about it.

How to think about it: the tables of ``state.py`` are the truth. Clients' messages (``submissions.py``, ``arrays.py``,
``graphs.py``) put work in, ``feeding.py`` and ``slicing.py`` give it to workers, their reports (``reports.py``,
``task_results.py``, ``slice_results.py``) end it (``completion.py``, ``delivery.py``) or put it back (``requeue.py``,
``retries.py``); ``clients.py``, ``workers.py`` and ``recovery.py`` deal with those that go and come back. Every step
ends by feeding hungry workers and by putting the step's rows into one message per peer. A message is checked before
anything of it is taken in: what a peer does wrong closes its session, and nothing else.

Invariants (``check_invariants``): every task is in exactly one state with the fields that it needs; a worker's load is
the sum of its open rows; every received row of an array is in exactly one of the places that ``records.Array`` names.

Cost: nothing in a step looks at all tasks or at all workers. It grows with the rows of the event, with the kinds of
worker that want work, and once a second with the number of clients.
"""

from itertools import takewhile

from scaler_protocol import ErrorCode, Message
from scaler_protocol import messages as m
from scaler_protocol.limits import BATCH_ROWS, MIB
from scaler_trio.scheduler.core import events as e
from scaler_trio.scheduler.core.arrays import Arrays
from scaler_trio.scheduler.core.clients import Clients
from scaler_trio.scheduler.core.completion import Completion
from scaler_trio.scheduler.core.delivery import Delivery
from scaler_trio.scheduler.core.effects import Effects
from scaler_trio.scheduler.core.errors import InternalError, PeerFault
from scaler_trio.scheduler.core.explaining import Explaining
from scaler_trio.scheduler.core.feeding import Feeding
from scaler_trio.scheduler.core.graphs import Graphs
from scaler_trio.scheduler.core.invariants import broken
from scaler_trio.scheduler.core.managers import Managers
from scaler_trio.scheduler.core.nesting import Nesting
from scaler_trio.scheduler.core.recall import Recall
from scaler_trio.scheduler.core.records import Client, Manager, Worker
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.reports import Reports
from scaler_trio.scheduler.core.requeue import Requeue
from scaler_trio.scheduler.core.retries import Retries
from scaler_trio.scheduler.core.slice_results import SliceResults
from scaler_trio.scheduler.core.slicing import Slicing
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.status import status
from scaler_trio.scheduler.core.submissions import Submissions
from scaler_trio.scheduler.core.task_results import TaskResults
from scaler_trio.scheduler.core.tuning import Tuning
from scaler_trio.scheduler.core.unrunnable import Unrunnable
from scaler_trio.scheduler.core.viewing import view
from scaler_trio.scheduler.core.workers import Workers
from scaler_trio.scheduler.policy.core.view import View

SETTLED_ROWS = 64
"""Settled attempts that a worker is told of although there is nothing else to tell it."""

SETTLED_BYTES = 4 * MIB
"""Results acknowledged in one step, of which workers are told at once: with less, what they keep because they have not
heard of it stays far below the 64 MiB at which they pause."""

DECAY_S = 1.0
"""How often what clients have used is let fade."""


class SchedulerCore:
    """Owns all task state. One owner calls it; it never calls back."""

    def __init__(
        self,
        *,
        epoch: int,
        now: float,
        object_address: str = "",
        tuning: Tuning | None = None,
        protected: bool = True,
        address: str = "",
        policy: str = "",
    ) -> None:
        """What ``SchedulerState`` says of each; addresses and policy are only passed on."""
        tuning = tuning or Tuning()
        self.state = state = SchedulerState(epoch, tuning, object_address, now, address, policy)
        state.protected = protected
        self.delivery = Delivery(state)
        self.recovery = Recovery(state, until=now + tuning.recovery_s)
        self.completion = Completion(state, self.delivery, self.recovery)
        self.requeue = Requeue(state, self.completion)
        self.feeding = Feeding(state, Slicing(state))
        self.recall = Recall(state)
        self.unrunnable = Unrunnable(state, self.completion)
        graphs = Graphs(state, self.completion, self.delivery, self.recovery)
        arrays = Arrays(state, self.completion, self.delivery, self.recovery)
        self.explaining = Explaining(state, self.recovery)
        self.submissions = Submissions(
            state, self.completion, self.delivery, self.recovery, arrays, graphs, self.explaining
        )
        self.retries = Retries(state, self.requeue)
        self.explaining.pauses = self.retries.pauses
        task_results = TaskResults(state, self.completion, self.requeue, self.retries, self.recovery)
        slice_results = SliceResults(state, self.completion, self.delivery, self.requeue, self.retries, self.recovery)
        self.nesting = nesting = Nesting(state, self.completion, self.recovery)
        self.reports = Reports(state, task_results, slice_results, self.requeue, self.recall, self.recovery, nesting)
        self.clients = Clients(state, self.delivery, graphs, self.recovery, nesting)
        self.workers = Workers(state, self.requeue, self.recovery, nesting)
        self.managers = Managers(state)
        nesting.abandon = self.clients.forget
        self.recovery.report = self.reports.handle

    def handle(self, event: e.Event, now: float) -> Effects:
        """One event; what is to be done about it.

        Raises:
            InternalError: a fault of ours; the tables may contradict each other from now on.
        """
        state = self.state
        state.now = now
        kind = type(event)
        if kind is e.Received:
            self._received(event)  # type: ignore[arg-type]
        elif kind is e.ClientConnected:
            self.clients.connected(event.session, event.name, event.python)  # type: ignore[union-attr]
        elif kind is e.WorkerConnected:
            self.workers.connected(event.session, event.name, event.python)  # type: ignore[union-attr]
        elif kind is e.ManagerConnected:
            self.managers.connected(event.session, event.name, event.python)  # type: ignore[union-attr]
        elif kind is e.MonitorConnected:
            self.state.monitors.add(event.session)  # type: ignore[union-attr]
        elif kind is e.Decided:
            self.managers.decide(event.desired, event.inputs)  # type: ignore[union-attr]
        elif kind is e.StorageSeen:
            self.state.storage = event.storage  # type: ignore[union-attr]
        elif kind is e.PeerLost:
            self._lost(event.session, on_purpose=event.on_purpose)  # type: ignore[union-attr]
        return self._finish_step()

    def on_deadline(self, now: float) -> Effects:
        """Time has passed: what was due by ``next_deadline``."""
        self.state.now = now
        for peer in self.state.due_departures():
            if type(peer) is Client:
                self.clients.forget(peer)
            elif type(peer) is Worker:
                self.workers.expire(peer)
        self.recovery.expire()
        self.retries.expire()
        unsettled = self.state.unsettled
        for worker in list(takewhile(lambda worker: unsettled[worker] <= now, unsettled)):
            self._settle(worker)
        return self._finish_step()

    def next_deadline(self) -> float | None:
        """When ``on_deadline`` should be called next; None = only after another event."""
        unsettled = self.state.unsettled
        times = (
            self.state.next_departure(),
            unsettled[next(iter(unsettled))] if unsettled else None,
            self.recovery.next_deadline(),
            self.retries.next_deadline(),
            self.unrunnable.due_at(),
            self.recall.due_at or None,
        )
        return min((time for time in times if time is not None), default=None)

    def _received(self, event: e.Received) -> None:
        session, state = event.session, self.state
        worker, client = state.workers.get(session), state.clients.get(session)
        try:
            if worker is not None and worker.connected:
                for message in event.messages:
                    if worker.ready:
                        self.reports.handle(worker, message)
                    elif type(message) is m.WorkerHeld:
                        self.workers.held(worker, message)
                    else:
                        raise PeerFault("a worker's first message says what it holds")
            elif client is not None and client.connected:
                for message in event.messages:
                    if client.ready:
                        self.submissions.handle(client, message)
                    elif type(message) is m.ClientHeld:
                        self.clients.held(client, message)
                    else:
                        raise PeerFault("a client's first message says what it holds")
                self.nesting.end_if_too_deep(client)
            elif (manager := state.managers.get(session)) is not None:
                for message in event.messages:
                    self.managers.handle(manager, message)
            elif session in state.monitors:
                for message in event.messages:
                    self._answer(session, message)
        except PeerFault as fault:
            # What it sent before and what it did right stays; it may come back, as after any loss of a connection.
            state.close_session(session, ErrorCode.NOT_YOURS, str(fault))
            self._lost(session, on_purpose=False)

    def _lost(self, session: bytes, *, on_purpose: bool) -> None:
        client, worker = self.state.clients.get(session), self.state.workers.get(session)
        if client is not None:
            self.clients.lost(client, on_purpose=on_purpose)
        if worker is not None:
            self.workers.lost(worker, on_purpose=on_purpose)
        if (manager := self.state.managers.get(session)) is not None:
            self.managers.lost(manager, on_purpose=on_purpose)
        self.state.monitors.discard(session)

    def _answer(self, monitor: bytes, message: Message) -> None:
        """A monitor's question."""
        if type(message) is m.AskStatus:
            self.state.effects.send(monitor, status(self.state, message.after))
        elif type(message) is m.ExplainTask:
            self.explaining.answer_monitor(monitor, message)
        else:
            raise PeerFault(f"a monitor does not send {type(message).__name__}")

    # -------------------------------------------------------------------------------------------------- end of step

    def _finish_step(self) -> Effects:
        state = self.state
        if self.recovery.complete:
            self.recovery.deliver()
        if state.now - state.usage_decayed_at >= DECAY_S:
            state.decay_usage()
        for client in state.touched:
            if client.rows:
                self.delivery.flush_rows(client)
            state.ready.refresh(client)
        if state.ready.classes or state.ready.suspects or state.fleet.reserved:
            self.feeding.feed()
        self.unrunnable.check()
        for client in state.touched:
            if client.rows:
                self.delivery.flush_rows(client)
            if client.profiles:
                client.profiles.clear()
            self._grant(client)
        state.touched.clear()
        for worker in state.assigned:
            self._flush_worker(worker)
        state.assigned.clear()
        if state.fleet.overloaded:
            self.recall.recall()  # after the assignments that it may be about
        else:
            self.recall.due_at = 0.0
        if state.unsettled:
            is_much = state.acknowledged_bytes >= SETTLED_BYTES
            told = state.unsettled if is_much else map(state.workers.get, state.effects.sends)
            for worker in [worker for worker in told if worker in state.unsettled]:
                self._settle(worker)
        state.acknowledged_bytes = 0
        if state.units:
            self.managers.tell_units()
        if state.effects.shutdown:
            self._tell_of_shutdown(state.effects)
        if state.feed.new:
            state.effects.events = state.feed.take_new()
        effects, state.effects = state.effects, Effects()
        references = state.references
        if references.adopted or references.deleted:
            references.flush(effects)
        return effects

    def _tell_of_shutdown(self, effects: Effects) -> None:
        """It is the last that anybody hears from us."""
        told = m.Shutdown(effects.shutdown)
        state = self.state
        peers: list[Client | Worker | Manager] = [
            *state.clients.values(),
            *state.workers.values(),
            *state.managers.values(),
        ]
        for peer in peers:
            if peer.connected:
                effects.send(peer.session, told)
        for session in state.monitors:
            effects.send(session, told)

    def _flush_worker(self, worker: Worker) -> None:
        state, session = self.state, worker.session
        if not worker.ready:  # it learns of all that from the held-sets when it comes back
            for rows in (worker.cancels, worker.forgets, worker.settled):
                rows.clear()
            state.unsettled.pop(worker, None)
            return
        if worker.cancels:
            cancels, worker.cancels = worker.cancels, []
            for at in range(0, len(cancels), BATCH_ROWS):
                state.effects.send(session, m.CancelAttempts(tuple(cancels[at : at + BATCH_ROWS])))
        if worker.forgets:
            forgets, worker.forgets = worker.forgets, []
            for at in range(0, len(forgets), BATCH_ROWS):
                state.effects.send(session, m.ForgetFunctions(tuple(forgets[at : at + BATCH_ROWS])))
        if worker.assignments:
            self.feeding.flush_assignments(worker)
        if worker.settled:
            state.unsettled.setdefault(worker, state.now + state.tuning.settle_s)
            if len(worker.settled) >= SETTLED_ROWS or worker.draining:  # which leaves when it has heard of all
                self._settle(worker)

    def _settle(self, worker: Worker) -> None:
        del self.state.unsettled[worker]
        settled, worker.settled = worker.settled, []
        for at in range(0, len(settled), BATCH_ROWS):
            self.state.effects.send(worker.session, m.Settled(tuple(settled[at : at + BATCH_ROWS])))

    def _grant(self, client: Client) -> None:
        tuning = self.state.tuning
        total = client.received_bytes - client.unassigned_bytes + tuning.credit_bytes
        if client.ready and total >= client.credit_bytes + tuning.credit_step_bytes:
            client.credit_bytes = total
            self.state.effects.send(client.session, m.Credit(total))

    # --------------------------------------------------------------------------------------------------- questions

    def view(self, now: float) -> View:
        """What a policy decides by."""
        self.state.now = now
        return view(self.state)

    def story(self, session: bytes, number: int) -> list[str]:
        """What is remembered of a task or array, oldest first."""
        client = self.state.clients.get(session)
        if client is None:
            return []
        record = client.tasks.get(number) or client.arrays.get(number)
        if record is None:
            return []
        name = record.demand.options.name
        lines = [" ".join(map(str, entry)) for entry in record.story]
        return [f"its name is {name}", *lines] if name else lines

    def check_invariants(self) -> None:
        """Raise ``InternalError`` if the tables contradict each other. For tests: it looks at everything."""
        held = {*self.recovery.waiting, *[source for _, _, source, _, _ in self.retries.pauses]}
        for fault in broken(self.state, held):
            raise InternalError(fault)
