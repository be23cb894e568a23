"""The scheduler's tables, and the small steps on them that all parts of the core share."""

from attrs import define, field

from scaler_protocol import ErrorCode
from scaler_protocol import messages as m
from scaler_protocol.limits import BATCH_ROWS, MIB
from scaler_trio.scheduler.effects import Close, Effects
from scaler_trio.scheduler.queues import ReadyQueues
from scaler_trio.scheduler.ranges import RangeSet
from scaler_trio.scheduler.records import Array, Attempt, ClassKey, Client, Task, Unacknowledged, Worker
from scaler_trio.scheduler.references import ObjectReferences
from scaler_trio.scheduler.states import TaskEvent, transition
from scaler_trio.scheduler.tuning import Tuning

RESULT_MESSAGE_BYTES = 1 * MIB
"""Single results are put together up to this."""


@define(eq=False)
class SchedulerState:
    """Everything the scheduler knows; only the parts of the core change it."""

    epoch: int
    tuning: Tuning
    object_address: str = ""
    now: float = 0.0
    effects: Effects = field(factory=Effects)
    references: ObjectReferences = field(init=False)
    clients: dict[bytes, Client] = field(factory=dict)
    workers: dict[bytes, Worker] = field(factory=dict)
    attempts: dict[int, Attempt] = field(factory=dict)  # all that have open rows or unacknowledged results
    ready: ReadyQueues = field(factory=ReadyQueues)
    hungry: dict[Worker, None] = field(factory=dict)  # workers that may get more, in turn
    blocked: set[Client] = field(factory=set)  # clients that do not acknowledge their results
    overloaded: dict[Worker, None] = field(factory=dict)  # workers that hold more than they can run at once
    fleet: int = 0  # counts changes of what the connected workers offer
    slots: int = 0  # of all connected workers
    next_attempt: int = 0
    next_function: int = 0
    touched: dict[Client, None] = field(factory=dict)  # clients with result rows or credit to flush after this step
    assigned: dict[Worker, None] = field(factory=dict)  # workers with assignment rows to flush after this step

    def __attrs_post_init__(self) -> None:
        self.references = ObjectReferences(self.effects)
        # Unique over epochs as well: a worker may report an attempt of the scheduler before this one.
        self.next_attempt = (self.epoch & 0x7FFFFFFF) << 32

    # ------------------------------------------------------------------------------------------------- transitions

    def move(self, task: Task, event: TaskEvent) -> bool:
        """Apply an event to a task's state; False when it is to be dropped."""
        state = transition(task.state, event, task.story)
        if state is None:
            return False
        task.state = state
        task.story.append((self.now, event))
        return True

    # ------------------------------------------------------------------------------------------------------ workers

    def is_hungry(self, worker: Worker) -> bool:
        """Whether the worker should be given more."""
        if not worker.ready or not worker.connected or worker.draining or worker.exclusive:
            return False
        return worker.items < worker.slots or worker.load_s < self.tuning.feed_s * worker.slots

    def check_hunger(self, worker: Worker) -> None:
        """Note whether the worker may get more, after anything that changed its load."""
        if self.is_hungry(worker):
            self.hungry[worker] = None
        else:
            self.hungry.pop(worker, None)
        if worker.items > worker.slots and worker.connected:
            self.overloaded[worker] = None
        else:
            self.overloaded.pop(worker, None)

    def fits(self, worker: Worker, key: ClassKey) -> bool:
        """Whether the worker could run this class when it is empty."""
        known = worker.fits.get(key)
        if known is None:
            python, capabilities = key
            known = (not python or not worker.python or python == worker.python) and all(
                name in worker.capabilities and (amount < 0 or not 0 <= worker.capabilities[name] < amount)
                for name, amount in capabilities
            )
            worker.fits[key] = known
        return known

    def has_room(self, worker: Worker, key: ClassKey) -> bool:
        """Whether the amounts that this class asks for are free on the worker."""
        return all(
            amount < 0 or worker.capabilities[name] < 0 or worker.free[name] >= amount for name, amount in key[1]
        )

    def new_attempt(self, worker: Worker, source: Task | Array, lo: int, hi: int, expected_s: float) -> Attempt:
        """Record an assignment."""
        number = self.next_attempt
        self.next_attempt = number + 1
        attempt = Attempt(number, worker, source, lo, hi, expected_s, self.now, RangeSet([(lo, hi)]))
        self.attempts[number] = attempt
        if not worker.attempts:
            worker.last_report_at = self.now
        worker.attempts[number] = attempt
        worker.items += hi - lo
        worker.load_s += expected_s * (hi - lo)
        for name, amount in source.class_key[1]:
            if amount > 0 and worker.capabilities.get(name, -1) >= 0:
                worker.free[name] -= amount
        return attempt

    def close_rows(self, attempt: Attempt, lo: int, hi: int) -> int:
        """The worker is done with these rows of the attempt, one way or another; how many of them were still open."""
        closed = attempt.open.remove(lo, hi)
        if not closed or attempt.lost:
            return closed
        worker = attempt.worker
        worker.items -= closed
        worker.load_s -= attempt.expected_s * closed
        if not attempt.open:
            self._end(attempt)
        if worker.items == 0:
            worker.load_s = 0.0  # no drift by rounding
            worker.exclusive = False
        self.check_hunger(worker)
        return closed

    def _end(self, attempt: Attempt) -> None:
        worker = attempt.worker
        del worker.attempts[attempt.number]
        for name, amount in attempt.source.class_key[1]:
            if amount > 0 and worker.capabilities.get(name, -1) >= 0:
                worker.free[name] += amount
        if type(attempt.source) is Array:
            attempt.source.outstanding.pop(attempt.number, None)
        if attempt.unacknowledged:
            worker.unsettled[attempt.number] = attempt
        else:
            self.attempts.pop(attempt.number, None)

    def settle(self, attempt: Attempt) -> None:
        """The worker may forget the attempt, if it has no open rows and no result that waits for its client."""
        if attempt.open or attempt.unacknowledged:
            return
        attempt.worker.unsettled.pop(attempt.number, None)
        self.attempts.pop(attempt.number, None)
        self.tell_settled(attempt.worker, attempt.number)

    def tell_settled(self, worker: Worker, number: int) -> None:
        """Tell a worker, at the end of the step, to forget an attempt, known here or not."""
        worker.settled.append(number)
        self.assigned[worker] = None

    # ------------------------------------------------------------------------------------------------------ clients

    def result_row(self, task: Task, outcome: int, payload: bytes, objects: tuple[bytes, ...], seconds: float) -> None:
        """Queue a single task's result for its client; it leaves at the end of the step."""
        client = task.client
        client.rows.append((task.number, outcome, payload, objects, seconds))
        client.rows_bytes += len(payload)
        client.rows_tasks.append(task)
        if len(client.rows) >= BATCH_ROWS or client.rows_bytes >= RESULT_MESSAGE_BYTES:
            self.flush_rows(client)
        else:
            self.touched[client] = None

    def flush_rows(self, client: Client) -> None:
        """Put the queued result rows into a message."""
        if not client.rows:
            return
        rows, client.rows = client.rows, []
        tasks, client.rows_tasks = client.rows_tasks, []
        attempts, client.rows_attempts = client.rows_attempts, []
        size, client.rows_bytes = client.rows_bytes, 0
        self.send_result(client, m.TaskResults(client.sequence + 1, tuple(rows)), size, attempts, tasks)

    def send_result(
        self,
        client: Client,
        message: m.TaskResults | m.ArrayResults,
        size: int,
        attempts: list[Attempt],
        tasks: list[Task],
    ) -> None:
        """Send a result message, and keep it until the client acknowledges it."""
        client.sequence += 1
        client.unacknowledged.append(Unacknowledged(client.sequence, size, message, attempts, tasks))
        client.unacknowledged_bytes += size
        if client.unacknowledged_bytes > self.tuning.unacknowledged_bytes:
            self.blocked.add(client)
        if client.connected:
            self.effects.send(client.session, message)

    def notice(self, client: Client, number: int, row: int, kind: m.NoticeKind, text: str) -> None:
        """Tell a client what happened to its task on the way."""
        if client.connected:
            self.effects.send(client.session, m.Notices(((number, row, int(kind), text[:4000]),)))

    def close_session(self, session: bytes, code: ErrorCode, text: str) -> None:
        """Have the shell close a session."""
        self.effects.closes.append(Close(session, code, text))

    def use(self, client: Client, seconds: float) -> None:
        """Charge running time to a client, for fairness; what it used before fades."""
        elapsed = self.now - client.usage_at
        if elapsed > 1.0:
            client.usage_s *= 0.5 ** (elapsed / self.tuning.fairness_half_life_s)
            client.usage_at = self.now
        client.usage_s += seconds
