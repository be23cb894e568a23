"""The scheduler's tables, and the small steps on them that all parts of the core share."""

from heapq import heappop, heappush

from attrs import Factory, define, field

from scaler_protocol import ErrorCode, limits
from scaler_protocol import messages as m
from scaler_trio.ranges import RangeSet
from scaler_trio.scheduler.core.effects import Close, Effects
from scaler_trio.scheduler.core.feed import Feed
from scaler_trio.scheduler.core.fixed_rows import NO_ROWS, FixedRows
from scaler_trio.scheduler.core.fleet import Fleet
from scaler_trio.scheduler.core.queues import ReadyQueues
from scaler_trio.scheduler.core.records import (
    STORY_LENGTH,
    Array,
    Attempt,
    Client,
    Function,
    Manager,
    Source,
    Storage,
    Task,
    Worker,
)
from scaler_trio.scheduler.core.references import ObjectReferences
from scaler_trio.scheduler.core.states import TaskEvent, TaskState, transition
from scaler_trio.scheduler.core.tuning import Tuning


@define(eq=False, repr=False)
class SchedulerState:
    """Everything the scheduler knows; only the parts of the core change it."""

    epoch: int
    tuning: Tuning
    object_address: str = ""
    now: float = 0.0
    address: str = ""  # where peers find it, for monitors
    policy: str = ""  # what decides over capacity, for monitors
    began_at: float = field(default=Factory(lambda self: self.now, takes_self=True))
    effects: Effects = field(factory=Effects)
    references: ObjectReferences = field(factory=ObjectReferences)
    clients: dict[bytes, Client] = field(factory=dict)
    workers: dict[bytes, Worker] = field(factory=dict)
    managers: dict[bytes, Manager] = field(factory=dict)  # connected ones
    monitors: set[bytes] = field(factory=set)  # connected ones
    storage: Storage = field(factory=Storage)
    feed: Feed = field(factory=Feed)
    units: dict[Worker, None] = field(factory=dict)  # workers of managers that came or went in this step
    attempts: dict[int, Attempt] = field(factory=dict)  # all that have open rows or unacknowledged results
    ready: ReadyQueues = field(factory=ReadyQueues)
    fleet: Fleet = field(factory=Fleet)
    next_attempt: int = 0
    next_function: int = 0
    usage_decayed_at: float = 0.0
    departures: list[tuple[float, int, Client | Worker]] = field(factory=list)  # heap of who is gone until when
    departure_count: int = 0
    touched: dict[Client, None] = field(factory=dict)  # clients with result rows or credit to flush after this step
    assigned: dict[Worker, None] = field(factory=dict)  # workers with rows to flush after this step

    unsettled: dict[Worker, float] = field(factory=dict)  # those with settled attempts to hear of, and by when
    acknowledged_bytes: int = 0  # of results, in this step
    protected: bool = True  # clients may not shut it down

    def __attrs_post_init__(self) -> None:
        # Unique over epochs as well: a worker may report an attempt of the scheduler before this one.
        self.next_attempt = (self.epoch & 0x7FFFFFFF) << 32
        self.usage_decayed_at = self.now

    # ------------------------------------------------------------------------------------------------- transitions

    def move(self, task: Task, event: TaskEvent) -> bool:
        """Apply an event to a task's state; False when it is to be dropped."""
        state = transition(task.state, event, task.story)
        if state is None:
            return False
        task.state = state
        task.story = (*task.story, (self.now, event._value_))
        if state is TaskState.READY and len(task.story) > STORY_LENGTH:
            # It may be tried without limit; how it came here and what happened last stay.
            task.story = (*task.story[:2], *task.story[2 - STORY_LENGTH :])
        return True

    # ----------------------------------------------------------------------------------------------------- attempts

    def open_attempt(
        self, number: int, worker: Worker, source: Source, lo: int, hi: int, rows: RangeSet | FixedRows
    ) -> Attempt:
        """Record an assignment; the caller updates the worker's place in the fleet."""
        attempt = Attempt(number, worker, source, lo, hi, source.function.expected_s, rows)
        self.attempts[number] = attempt
        self.take_load(attempt, len(rows))
        return attempt

    def take_load(self, attempt: Attempt, count: int) -> None:
        """So many rows of the attempt are with its worker."""
        worker = attempt.worker
        if not worker.items:
            worker.last_report_at = self.now
        worker.attempts[attempt.number] = attempt
        self._count(attempt, count)
        for name, amount in attempt.source.demand.amounts:
            if name in worker.free:
                worker.free[name] -= amount * count

    def drop_load(self, attempt: Attempt, count: int) -> None:
        """So many rows are no longer with it."""
        worker = attempt.worker
        self._count(attempt, -count)
        for name, amount in attempt.source.demand.amounts:
            if name in worker.free:
                worker.free[name] += amount * count
        if worker.items == 0 and not worker.waiting:
            worker.exclusive = False

    def _count(self, attempt: Attempt, count: int) -> None:
        worker = attempt.worker
        seconds = attempt.expected_s * count
        worker.items += count
        worker.load_s += seconds
        if type(attempt.source) is Array:
            worker.rows_load_s = max(0.0, worker.rows_load_s + seconds)
        root = attempt.source.client.root
        root.load_s = max(0.0, root.load_s + seconds)
        if worker.items == 0:
            worker.load_s = worker.rows_load_s = 0.0  # no drift by rounding

    def set_waiting(self, attempt: Attempt, count: int) -> None:
        """So many rows of the attempt wait for tasks of their own: their slots are free, though not what they took."""
        worker = attempt.worker
        change = count - worker.waits.get(attempt.number, 0)
        if change:
            if count:
                worker.waits[attempt.number] = count
            else:
                del worker.waits[attempt.number]
            worker.waiting += change
            self._count(attempt, -change)

    def close_rows(self, attempt: Attempt, lo: int, hi: int) -> int:
        """The worker is done with these rows, one way or another; how many were still open.

        The caller calls ``settle`` after it has dealt with them, and updates the worker's place in the fleet.
        """
        rows = attempt.open
        if type(rows) is RangeSet:
            closed = rows.remove(lo, hi)
        else:
            closed = len(rows) if lo <= 0 < hi else 0
            if closed:
                attempt.open = NO_ROWS
        if not closed:
            return 0
        if not attempt.lost:
            waits = attempt.worker.waits
            if waits and (waiting := waits.get(attempt.number)):
                self.set_waiting(attempt, min(waiting, len(attempt.open)))
            self.drop_load(attempt, closed)
        if not attempt.open:
            del attempt.worker.attempts[attempt.number]
            if type(attempt.source) is Array:
                attempt.source.outstanding.pop(attempt.number, None)
        return closed

    def settle(self, attempt: Attempt) -> None:
        """The worker may forget the attempt, if it has no open rows and no result that waits for its client."""
        if not attempt.open and not attempt.unacknowledged and self.attempts.pop(attempt.number, None) is not None:
            self.tell_settled(attempt.worker, attempt.number)

    def tell_settled(self, worker: Worker, number: int) -> None:
        """Tell a worker, at the end of the step, to forget an attempt, known here or not."""
        worker.settled.append(number)
        self.assigned[worker] = None

    def cancel_rows(self, worker: Worker, number: int, lo: int, hi: int) -> None:
        """Have the worker stop these rows of an attempt; it answers with ``Returned`` or results."""
        if worker.ready:
            worker.cancels.append((number, lo, hi))
            self.assigned[worker] = None

    # ---------------------------------------------------------------------------------------------------- functions

    def put_function(self, worker: Worker, function: Function) -> None:
        """Send a function, once per connection, before the first assignment that names it."""
        if worker not in function.workers:
            function.workers[worker] = None
            worker.functions[function] = None
            message = m.PutFunction(function.key, function.name, function.payload)
            self.effects.send(worker.session, message)

    def retire(self, function: Function) -> None:
        """The client will not name the function again."""
        function.retired = True
        self.forget_if_unused(function)

    def forget_if_unused(self, function: Function) -> None:
        """Have workers forget a retired function after its last user."""
        if function.retired and function.users == 0:
            for worker in function.workers:
                del worker.functions[function]
                worker.forgets.append(function.key)
                self.assigned[worker] = None
            function.workers.clear()

    # ------------------------------------------------------------------------------------------------------ clients

    def refer_result(self, client: Client, objects: tuple[bytes, ...]) -> None:
        """The client gets a result that names these objects; they live until it releases it."""
        self.references.add(objects)
        for object_ in objects:
            client.result_objects[object_] = client.result_objects.get(object_, 0) + 1

    def notice(self, client: Client, number: int, row: int, kind: m.NoticeKind, text: str) -> None:
        """Tell a client what happened to its task on the way."""
        if client.ready:
            text = limits.clip(text, limits.TEXT_BYTES)
            self.effects.send(client.session, m.Notices(((number, row, int(kind), text),)))

    def decay_usage(self) -> None:
        """Once a second: what clients used fades."""
        elapsed = self.now - self.usage_decayed_at
        self.usage_decayed_at = self.now
        factor = 0.5 ** (elapsed / self.tuning.fairness_half_life_s)
        for client in self.clients.values():
            client.usage_s *= factor
            self.ready.refresh(client)

    # -------------------------------------------------------------------------------------------------------- peers

    def depart(self, peer: Client | Worker, grace_s: float) -> None:
        """A peer is gone; ``due_departures`` gives it again when its grace is over."""
        self.departure_count += 1
        peer.departure = self.departure_count
        heappush(self.departures, (self.now + grace_s, peer.departure, peer))

    def next_departure(self) -> float | None:
        """When the next grace ends."""
        heap = self.departures
        while heap and heap[0][2].departure != heap[0][1]:
            heappop(heap)
        return heap[0][0] if heap else None

    def due_departures(self) -> list[Client | Worker]:
        """Those whose grace is over."""
        due = []
        while (at := self.next_departure()) is not None and at <= self.now:
            due.append(heappop(self.departures)[2])
        return due

    def close_session(self, session: bytes, code: ErrorCode, text: str) -> None:
        """Have the shell close a session."""
        self.effects.closes.append(Close(session, code, limits.clip(text, limits.TEXT_BYTES)))
