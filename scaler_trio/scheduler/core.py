"""The scheduler's decisions, without clock or IO: ``handle(event, now)`` and what is to be done about it.

How to think about it: the tables of ``state.py`` are the truth. Clients' messages (``submissions.py``) put work in,
``feeding.py`` gives it to workers, their reports (``reports.py``) end it (``completion.py``) or put it back, and
``peers.py`` deals with those that go. Every step ends by feeding hungry workers and by putting the step's rows into one
message per peer. A message is checked before anything of it is taken in: what a peer does wrong closes its session only.

Invariants (``check_invariants``): every task is in exactly one state with the fields that it needs; a worker's load is the
sum of its open rows; every received row of an array is exactly one of done, assigned, to be redone, or not yet assigned.
"""

from collections.abc import Sequence

from attrs import frozen

from scaler_protocol import ErrorCode, Message
from scaler_protocol import messages as m
from scaler_trio.scheduler.completion import Completion
from scaler_trio.scheduler.effects import Effects
from scaler_trio.scheduler.errors import InternalError, PeerFault
from scaler_trio.scheduler.feeding import Feeding
from scaler_trio.scheduler.invariants import broken
from scaler_trio.scheduler.peers import Peers
from scaler_trio.scheduler.records import Client
from scaler_trio.scheduler.recovery import Recovery
from scaler_trio.scheduler.reports import Reports
from scaler_trio.scheduler.state import SchedulerState
from scaler_trio.scheduler.submissions import Submissions
from scaler_trio.scheduler.tuning import Tuning


@frozen
class ClientConnected:
    """A client's session is open."""

    session: bytes
    name: str = ""
    python: str = ""


@frozen
class WorkerConnected:
    """A worker's session is open."""

    session: bytes
    name: str = ""
    python: str = ""


@frozen
class PeerLost:
    """A session ended; ``on_purpose`` if the peer had said goodbye."""

    session: bytes
    on_purpose: bool = False


@frozen
class Received:
    """Messages of one peer, as many as one read brought."""

    session: bytes
    messages: Sequence[Message]


Event = ClientConnected | WorkerConnected | PeerLost | Received


class SchedulerCore:
    """Owns all task state. One owner calls it; it never calls back."""

    def __init__(self, *, epoch: int, now: float, object_address: str = "", tuning: Tuning | None = None) -> None:
        tuning = tuning or Tuning()
        self.state = SchedulerState(epoch, tuning, object_address, now)
        self.completion = Completion(self.state)
        self.recovery = Recovery(self.state, until=now + tuning.recovery_s)
        self.feeding = Feeding(self.state, self.completion)
        self.submissions = Submissions(self.state, self.completion, self.recovery)
        self.reports = Reports(self.state, self.completion, self.feeding, self.recovery)
        self.peers = Peers(self.state, self.feeding, self.reports, self.recovery)
        self.recovery.redeliver = self.reports.handle

    def handle(self, event: Event, now: float) -> Effects:
        """One event; what is to be done about it."""
        state = self.state
        state.now = now
        if type(event) is Received:
            self._received(event)
        elif type(event) is ClientConnected:
            self.peers.client_connected(event.session, event.name, event.python)
        elif type(event) is WorkerConnected:
            self.peers.worker_connected(event.session, event.name, event.python)
        elif type(event) is PeerLost:
            self.peers.client_lost(event.session, on_purpose=event.on_purpose)
            self.peers.worker_lost(event.session, on_purpose=event.on_purpose)
        return self._finish_step()

    def on_deadline(self, now: float) -> Effects:
        """Time has passed: what was due by ``next_deadline``."""
        self.state.now = now
        self.peers.expire()
        self.feeding.check_unrunnable()
        return self._finish_step()

    def next_deadline(self) -> float | None:
        """When ``on_deadline`` should be called next; None = only after another event."""
        times = (self.peers.next_deadline(), self.feeding.next_unrunnable_at(), self.feeding.recall_at or None)
        return min((time for time in times if time is not None), default=None)

    def _received(self, event: Received) -> None:
        session = event.session
        worker = self.state.workers.get(session)
        client = self.state.clients.get(session)
        try:
            for message in event.messages:
                if client is not None:
                    self.submissions.handle(client, message)
                elif worker is not None:
                    if type(message) is m.WorkerHeld:
                        self.peers.worker_held(worker, message)
                    elif worker.ready:
                        self.reports.handle(worker, message)
                    else:
                        raise PeerFault("a worker's first message says what it holds")
        except PeerFault as fault:
            self.state.close_session(session, ErrorCode.NOT_YOURS, str(fault))

    def _finish_step(self) -> Effects:
        state = self.state
        if self.recovery.pending:
            self.recovery.deliver()
        self.feeding.feed()
        if state.ready or self.feeding.unfit_since:
            self.feeding.check_unrunnable()
        self.feeding.recall()
        for client in state.touched:
            state.flush_rows(client)
            self._grant(client)
        state.touched.clear()
        for worker in state.assigned:
            self.feeding.flush_worker(worker)
        state.assigned.clear()
        effects, state.effects = state.effects, Effects()
        state.references.effects = state.effects
        return effects

    def _grant(self, client: Client) -> None:
        tuning = self.state.tuning
        total = client.received_bytes - client.unassigned_bytes + tuning.credit_bytes
        if total >= client.credit_bytes + tuning.credit_step_bytes and client.connected:
            client.credit_bytes = total
            self.state.effects.send(client.session, m.Credit(total))

    # --------------------------------------------------------------------------------------------------- questions

    def story(self, session: bytes, number: int) -> list[str]:
        """What is remembered of a task or array, oldest first."""
        client = self.state.clients.get(session)
        if client is None:
            return []
        record = client.tasks.get(number) or client.arrays.get(number)
        return (
            [" ".join(str(getattr(part, "value", part)) for part in entry) for entry in record.story] if record else []
        )

    def check_invariants(self) -> None:
        """Raise ``InternalError`` if the tables contradict each other: for tests, and cheap to read."""
        for fault in broken(self.state):
            raise InternalError(fault)
