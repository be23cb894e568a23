"""Items that wait for tasks of their own, and the clients by which they submitted those.

How to think about it: a processor has one client session for all that its items submit. When an item waits, its worker
says so and names that session. From then on the session's work is the item's: one deeper than the item's own client,
and on the account of the same root. What is deepest goes first, so few items wait; what waits holds no slot.
"""

from collections.abc import Callable

from attrs import define, field

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from scaler_trio.ranges import RangeSet
from scaler_trio.scheduler.core.completion import Completion
from scaler_trio.scheduler.core.ownership import find
from scaler_trio.scheduler.core.records import Attempt, Client, Worker
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskEvent, TaskState

NESTING_DEPTH = 200
"""Tasks within tasks. A recursion that is deeper is most likely one without an end, and each level holds a process."""

UNLINKED = 4_096
"""Sessions named before they connect, as after a restart of the scheduler; of more, the oldest are forgotten."""


@define(eq=False, repr=False)
class Nesting:
    """Takes in what workers say of items that wait."""

    state: SchedulerState
    completion: Completion
    recovery: Recovery
    abandon: Callable[[Client], None] = field(default=lambda client: None)  # forget a client at once
    unlinked: dict[bytes, Attempt] = field(factory=dict)  # by session
    last_rank: int = 0

    def take(self, worker: Worker, message: m.Waiting) -> None:
        """Rows of attempts wait, or do not any longer; processors have died.

        Raises:
            PeerFault: an attempt is another worker's; nothing was taken in.
        """
        rows, found = find(self.state, self.recovery, worker, message, None)
        for (_, count, session), attempt in zip(rows, found, strict=True):
            if attempt is None:
                continue
            if not attempt.lost:
                self.state.set_waiting(attempt, min(count, len(attempt.open)))
            client = self.state.clients.get(session)
            if client is not None:
                self._link(client, attempt)
            elif any(session):
                if len(self.unlinked) >= UNLINKED:
                    del self.unlinked[next(iter(self.unlinked))]
                self.unlinked[session] = attempt
        for session in message.ended:
            self.unlinked.pop(session, None)
            client = self.state.clients.get(session)
            if client is not None and client.host is worker:
                self.abandon(client)

    def connected(self, client: Client) -> None:
        """A client is there; a worker may have named it before."""
        attempt = self.unlinked.pop(client.session, None)
        if attempt is not None and attempt.open:
            self._link(client, attempt)

    def worker_lost(self, worker: Worker) -> None:
        """Its work goes to others: what its processors had submitted is of no use, if they are gone too."""
        for client in list(worker.nested):
            if not client.connected:
                self.abandon(client)

    def forget(self, client: Client) -> None:
        """The client is gone."""
        if client.host is not None:
            client.host.nested.pop(client, None)
        client.root.nested.pop(client, None)
        for below in list(client.nested):  # their tasks are cancelled where they run; they stay in their processors
            self._place(below, below, 0)

    def _link(self, client: Client, attempt: Attempt) -> None:
        worker, parent = attempt.worker, attempt.source.client
        if client.host is not worker:
            if client.host is not None or client is parent:
                return  # a session has one process, and that of a user is nobody's
            client.host = worker
            worker.nested[client] = None
        if self.state.clients.get(parent.session) is not parent:
            return
        root, depth = parent.root, parent.depth + 1
        if root is client:
            return
        if client.root is not root or client.depth != depth:
            self._place(client, root, depth)
        self.end_if_too_deep(client)

    def _place(self, client: Client, root: Client, depth: int) -> None:
        state = self.state
        if root is not client.root:
            load_s = _load(client)
            before = client.root
            before.load_s = max(0.0, before.load_s - load_s)
            before.nested.pop(client, None)
            if root is not client:
                root.nested[client] = None
            root.load_s += load_s
        self.last_rank += 1
        deeper, below = depth - client.depth, list(client.nested)
        state.ready.move(client, root, depth, self.last_rank)
        state.ready.refresh(client)
        for member in below:  # it was a root itself, as after a restart of the scheduler
            self._place(member, root, member.depth + deeper)

    def end_if_too_deep(self, client: Client) -> None:
        """Whatever has not begun of a client below the limit fails, and with it the recursion.

        Asked when the client sends something too: its tasks and the word that their parent waits have no order.
        """
        if client.depth <= NESTING_DEPTH:
            return
        text = f"tasks within tasks are nested deeper than {NESTING_DEPTH}: a recursion without an end?".encode()
        for task in list(client.tasks.values()):
            if task.state is TaskState.READY:
                self.completion.finish(task, TaskEvent.UNRUNNABLE, Outcome.TOO_DEEP, text)
        for array in list(client.arrays.values()):
            rows = RangeSet([*array.redo, (array.next, array.received)])
            array.redo.clear()
            array.next = array.received
            for lo, hi in rows:
                self.completion.report_rows(array, lo, hi, Outcome.TOO_DEEP, text)


def _load(client: Client) -> float:
    """Predicted running time of what workers have of a client."""
    attempts = [task.attempt for task in client.tasks.values()]
    attempts += [attempt for array in client.arrays.values() for attempt in array.outstanding.values()]
    return sum(
        [
            attempt.expected_s * (len(attempt.open) - attempt.worker.waits.get(attempt.number, 0))
            for attempt in attempts
            if attempt is not None and not attempt.lost
        ]
    )
