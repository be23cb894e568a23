"""What a worker knows, and the small steps that keep its books straight; what is decided is decided elsewhere."""

import math
from collections import deque
from collections.abc import Iterable

from attrs import frozen

from scaler_protocol import Buffer
from scaler_trio.worker.channel import Manner
from scaler_trio.worker.core import events as e
from scaler_trio.worker.core import reports, tuning
from scaler_trio.worker.core.records import Attempt, Function, Kept, Piece, SingleRow, Slot, Withdrawal


@frozen
class Offer:
    """What the worker tells the scheduler of itself."""

    slots: int
    capabilities: tuple[tuple[str, int], ...] = ()
    manager: str = ""
    latency_s: float = 0.0
    unit: str = ""


class WorkerState:
    """The tables of one worker; ``core.py`` owns them, and the files beside it change them."""

    def __init__(self, offer: Offer, task_timeout_s: float) -> None:
        self.offer = offer
        self.task_timeout_s = task_timeout_s  # of every item that runs here; 0 = none
        self.slots = [Slot(number) for number in range(offer.slots)]
        self.attempts: dict[tuple[int, int], Attempt] = {}  # by (epoch, number)
        self.tasks: deque[Piece] = deque()  # queued single tasks, which go before
        self.rows: deque[Piece] = deque()  # queued rows of arrays
        self.queued_rows = 0  # in both
        self.tasks_came_at = -math.inf
        self.functions: dict[int, Function] = {}  # by the scheduler's number, of this connection
        self.withdrawals: list[Withdrawal] = []
        self.epoch = 0
        self.is_connected = False
        self.is_known = False  # the scheduler has said what it knows
        self.drain_until: float | None = None
        self.is_leaving = False
        self.object_address = ""
        self.kept_bytes = 0
        self.kept_results = 0
        self.inputs: dict[int, list[bytes]] = {}  # by attempt: they come before it
        self.inputs_bytes = 0
        self.last_key = 0
        self.is_nested = False  # some slot is not active
        self.is_start_due = False  # a processor is to be started in this step
        self.ended_sessions: list[bytes] = []  # of processors that died, and nobody to tell
        self._story: deque[tuple[float, tuple[int, int], str, int, int]] = deque(maxlen=tuning.STORY_ENTRIES)
        self.out: e.Effects = []
        self.now = 0.0

    @property
    def may_start(self) -> bool:
        """Whether queued rows may be given to processors."""
        return self.is_known and self.drain_until is None

    @property
    def is_full(self) -> bool:
        """So much is kept that only what has begun goes on: a slice is settled as a whole, when all of it has ended."""
        return self.kept_bytes >= tuning.KEPT_BYTES or self.kept_results >= tuning.KEPT_RESULTS

    @property
    def running(self) -> int:
        """Slots with something to do."""
        return sum([slot.limit > slot.done for slot in self.slots])

    def find(self, number: int) -> Attempt | None:
        """By its number alone: of this epoch, else of the newest one before it."""
        attempt = self.attempts.get((self.epoch, number))
        if attempt is None and self.attempts:
            epochs = {epoch for epoch, _ in self.attempts} if next(iter(self.attempts))[0] != self.epoch else ()
            attempt = next(
                (a for epoch in sorted(epochs, reverse=True) if (a := self.attempts.get((epoch, number)))), None
            )
        return attempt

    def truncate(self, slot: Slot, item: int) -> None:
        """Have a slot given back what its processor has not claimed, from ``item`` on."""
        if slot.truncating is None:
            slot.truncating = item
            self.out.append(e.Truncate(slot.number, item))
        elif slot.truncating > item:
            slot.truncate_next = item if slot.truncate_next is None else min(item, slot.truncate_next)

    def enqueue(self, piece: Piece, *, front: bool = False) -> None:
        """Rows wait, behind the others of their kind or before them."""
        self.queued_rows += piece.hi - piece.lo
        queue = self.tasks if type(piece.attempt.work) is SingleRow else self.rows
        if front:
            queue.appendleft(piece)
        else:
            queue.append(piece)

    def send_results(self, send: list[Kept]) -> None:
        """Report them, if there is somebody to report to."""
        if self.is_connected:
            self.out += [e.Send(message) for message in reports.messages(send)]

    def keep(self, attempt: Attempt, kept: Kept, send: list[Kept]) -> None:
        """A result is kept until it is settled, and reported with ``send``; not if nobody wants it."""
        if attempt.is_dropped:
            return
        attempt.kept.append(kept)
        self.kept_bytes += kept.size_bytes
        self.kept_results += 1
        send.append(kept)

    def unkeep(self, attempt: Attempt) -> None:
        """Its results need not be kept any more."""
        for kept in attempt.kept:
            self.kept_bytes -= kept.size_bytes
        self.kept_results -= len(attempt.kept)
        attempt.kept.clear()

    def ended(self, attempt: Attempt, rows: int) -> None:
        """So many of its rows are not open any more."""
        attempt.open -= rows
        if not attempt.open:
            self.forget_if_done(attempt)

    def forget_if_done(self, attempt: Attempt) -> None:
        """Drop its work when no row is open, and all of it when nothing is kept either."""
        if attempt.open:
            return
        if attempt.work is not None:
            attempt.work = None
            attempt.function.attempts -= 1
            self.drop_function_if_unused(attempt.function)
        if not attempt.kept:
            self.attempts.pop((attempt.epoch, attempt.number), None)

    def new_function(self, name: str, payload: Buffer, manner: Manner | None = None) -> Function:
        """A function, or another manner of calling one."""
        self.last_key += 1
        return Function(self.last_key, name, payload, manner=manner)

    def variant(self, function: Function, manner: Manner | None) -> Function:
        """The function called in this manner."""
        if manner is None:
            return function
        variant = function.variants.get(manner)
        if variant is None:
            variant = function.variants[manner] = self.new_function(function.name, function.payload, manner)
        return variant

    def forget(self, function: Function) -> None:
        """No new assignment will name it."""
        for one in (function, *function.variants.values()):
            one.is_forgotten = True
            self.drop_function_if_unused(one)

    def drop_function_if_unused(self, function: Function) -> None:
        """Have the processors forget a function that nothing will name again."""
        if function.is_forgotten and not function.attempts:
            for slot in self.slots:
                if function.key in slot.functions:
                    slot.functions.discard(function.key)
                    slot.forget.append(function.key)

    def tell(self, what: str, attempt: Attempt, lo: int, hi: int) -> None:
        """Remember an event."""
        self._story.append((self.now, (attempt.epoch, attempt.number), what, lo, hi))

    def tell_all(self, what: str, attempts: Iterable[Attempt]) -> None:
        """Remember an event of many single tasks."""
        now = self.now
        self._story.extend([(now, (attempt.epoch, attempt.number), what, 0, 1) for attempt in attempts])

    def last_lines(self, count: int) -> list[str]:
        """What happened last, to whatever attempt."""
        return [f"{attempt[1]} {what} [{lo}, {hi})" for _, attempt, what, lo, hi in list(self._story)[-count:]]

    def story(self, number: int) -> list[str]:
        """What is remembered of an attempt, a line per event."""
        return [f"{now:.6f} {what} [{lo}, {hi})" for now, key, what, lo, hi in self._story if key[1] == number]
