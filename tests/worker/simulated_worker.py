"""A worker core with simulated slots and a scheduler that keeps the books: nothing is lost or reported twice.

The simulation is the shell's contract in miniature: effects are performed in order, a ``Truncate`` is answered by
``Progress`` and ``Truncated``, a death by ``Progress`` and ``SlotDied``.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import Any

from attrs import define, field

from scaler_protocol import messages as m
from scaler_protocol.codec import decode, encode
from scaler_protocol.frames import FrameDecoder
from scaler_protocol.messages import Outcome, ReturnReason
from scaler_trio.worker.core import events as e
from scaler_trio.worker.core.core import WorkerCore
from scaler_trio.worker.core.state import Offer

CLIENT = b"c" * 16
Rows = set[tuple[int, int, int]]  # (epoch, attempt, row)


@define
class SimulatedSlot:
    """A processor as its page shows it."""

    is_started: bool = False
    is_ready: bool = False
    functions: set[int] = field(factory=set)
    limit: int = 0
    claimed: int = 0
    done: int = 0
    taken: int = 0
    is_running: bool = False
    outcomes: dict[int, int] = field(factory=dict)  # of items done, where they are not values
    interrupted: set[int] = field(factory=set)
    untruncated: int | None = None
    wake_at: int | None = None
    waiting: int = e.RUNS
    requests: int = 0
    session: bytes = b""


class SimulatedWorker:
    """``core`` and everything around it."""

    def __init__(self, slots: int = 2, task_timeout_s: float = 0.0) -> None:
        self.core = WorkerCore(Offer(slots), task_timeout_s=task_timeout_s)
        self.slots = [SimulatedSlot() for _ in range(slots)]
        self.now = 100.0
        self.epoch = 1
        self.sent: list[Any] = []  # on this connection
        self.is_locked = False  # whether truncates find the page locked
        self.numbers = 0
        self.assigned: Rows = set()
        self.reported: Rows = set()  # results and crashes that the scheduler has seen, ever
        self.returned: Rows = set()
        self.kept: Rows = set()  # results that the scheduler has seen and not settled
        self.outcomes: dict[tuple[int, int, int], int] = {}
        self.epochs: dict[int, int] = {}  # of each attempt
        self.unfinished: set[int] = set()  # slots whose items have submitted what is unfinished
        self.left: str | None = None
        self.failed: str | None = None
        self.slices: dict[int, int] = {}  # attempt to rows
        self.waiting: dict[int, int] = {}  # attempt to rows that wait, as last told on this connection
        self.ended: set[bytes] = set()  # sessions of processors that are told to have died
        self.sessions = 0
        self.do(e.Tick())

    # ------------------------------------------------------------------------------------------------- the shell

    def do(self, *events: Any) -> None:
        queue = deque(events)
        while queue:
            event = queue.popleft()
            for effect in self.core.handle(event, self.now):
                self._perform(effect, queue)
            self.core.check_invariants()

    def _perform(self, effect: Any, queue: deque[Any]) -> None:
        if isinstance(effect, e.Send):
            self._receive(_through_the_codec(effect.message))
        elif isinstance(effect, e.Resend):
            for message in effect.messages:
                self._receive(_through_the_codec(message), is_again=True)
        elif isinstance(effect, e.Start):
            self.slots += [SimulatedSlot() for _ in range(effect.slot + 1 - len(self.slots))]
            assert not self.slots[effect.slot].is_started
            self.slots[effect.slot] = SimulatedSlot(is_started=True)
        elif isinstance(effect, e.Feed):
            slot = self.slots[effect.slot]
            assert slot.is_ready
            slot.functions -= set(effect.forget)
            slot.functions |= {key for key, _ in effect.functions}
            count = 0
            for part in effect.parts:
                keys = [part.key] if isinstance(part, tuple) and hasattr(part, "rows") else [task[0] for task in part]
                assert slot.functions.issuperset(keys)
                count += part.rows if hasattr(part, "rows") else len(part)
            slot.limit += count
            assert slot.limit == effect.limit
            slot.wake_at = effect.wake_at
        elif isinstance(effect, e.Truncate):
            slot = self.slots[effect.slot]
            if self.is_locked:
                slot.untruncated = effect.item
            else:
                self._truncate(effect.slot, effect.item, queue)
        elif isinstance(effect, e.Resume):
            slot = self.slots[effect.slot]
            if slot.waiting == e.WANTS and slot.requests == effect.request:
                slot.waiting = e.RUNS
        elif isinstance(effect, e.Interrupt):
            slot = self.slots[effect.slot]
            if slot.is_running and slot.done == effect.item:
                slot.interrupted.add(effect.item)
        elif isinstance(effect, e.EndSpare):
            if effect.slot in self.unfinished:
                queue.append(e.SpareKept(effect.slot))
            else:
                self._die(effect.slot, queue)
        elif isinstance(effect, e.Kill):
            self._die(effect.slot, queue)
        elif isinstance(effect, e.Leave):
            self.left = effect.reason
        elif isinstance(effect, e.Fail):
            self.failed = effect.text

    def _truncate(self, number: int, item: int, queue: deque[Any]) -> None:
        slot = self.slots[number]
        slot.untruncated = None
        slot.limit = max(slot.claimed, item)
        queue.appendleft(e.Truncated(number, slot.limit))
        queue.appendleft(self._look(number))

    def _look(self, number: int) -> e.Progress:
        slot = self.slots[number]
        first, count = slot.taken, slot.done - slot.taken
        taken = None
        if count:
            payload = [str(item).encode() for item in range(first, slot.done)]
            outcomes = bytes(slot.outcomes.get(item, 0) for item in range(first, slot.done))
            taken = e.Taken(
                first,
                array("I", map(len, payload)).tobytes(),
                b"".join(payload),
                outcomes if any(outcomes) else b"",
                {},
                list(range(first * 1000, slot.done * 1000 + 1, 1000)),
            )
            slot.taken = slot.done
        running = slot.done if slot.is_running else None
        return e.Progress(number, taken, slot.claimed, running, 0.001, slot.waiting, slot.requests, slot.session)

    def _die(self, number: int, queue: deque[Any]) -> None:
        progress = self._look(number)
        self.slots[number] = SimulatedSlot()
        queue.append(e.SlotDied(progress, "killed"))

    # ------------------------------------------------------------------------------------------------ the processors

    def start(self, number: int) -> None:
        if self.slots[number].is_started and not self.slots[number].is_ready:
            self.slots[number].is_ready = True
            self.do(e.SlotReady(number))

    def claim(self, number: int, items: int) -> None:
        slot = self.slots[number]
        if slot.claimed < slot.limit and slot.claimed == slot.done:
            slot.claimed = min(slot.limit, slot.claimed + items)
            slot.is_running = True

    def unclaim(self, number: int) -> None:
        slot = self.slots[number]
        if slot.is_running:
            slot.claimed = slot.done + 1

    def finish(self, number: int, items: int, outcome: int = 0) -> None:
        slot = self.slots[number]
        for _ in range(items):
            if slot.is_running:
                if slot.waiting and slot.done not in slot.interrupted:
                    return
                slot.waiting = e.RUNS
                if slot.done in slot.interrupted:
                    slot.outcomes[slot.done] = Outcome.CANCELLED
                elif outcome:
                    slot.outcomes[slot.done] = outcome
                slot.done += 1
                slot.is_running = slot.done < slot.claimed

    def wait(self, number: int) -> None:
        """The running item waits for tasks of its own."""
        slot = self.slots[number]
        if slot.is_running and slot.waiting == e.RUNS:
            if not slot.session:
                self.sessions += 1
                slot.session = self.sessions.to_bytes(16, "big")
            slot.claimed = slot.done + 1
            slot.waiting = e.WAITS

    def want(self, number: int, *, asks: bool = True) -> None:
        """It has what it waited for; its main thread asks before it goes on, another one does not."""
        slot = self.slots[number]
        if slot.waiting == e.WAITS:
            slot.waiting = e.WANTS if asks else e.RUNS
            slot.requests += asks

    def look(self, number: int) -> None:
        if self.slots[number].is_ready:
            self.do(self._look(number))

    def die(self, number: int) -> None:
        if self.slots[number].is_started:
            queue: deque[Any] = deque()
            self._die(number, queue)
            self.do(*queue)

    def retry_truncates(self) -> None:
        self.is_locked = False
        for number, slot in enumerate(self.slots):
            if slot.untruncated is not None:
                queue: deque[Any] = deque()
                self._truncate(number, slot.untruncated, queue)
                self.do(*queue)

    def tick(self, seconds: float) -> None:
        self.now += seconds
        for number in range(len(self.slots)):
            self.look(number)
        deadline = self.core.next_deadline()
        if deadline is not None and deadline <= self.now:
            self.do(e.Tick())

    def run_everything(self) -> None:
        """Until nothing moves any more."""
        self.retry_truncates()
        for _ in range(200):
            self.tick(0.5)
            for number in range(len(self.slots)):
                self.start(number)
                self.claim(number, 50)
                self.want(number)
                self.finish(number, 50)
                self.look(number)

    # ------------------------------------------------------------------------------------------------- the scheduler

    def connect(self, *, epoch: int | None = None, drop: tuple[tuple[int, int], ...] = ()) -> None:
        self.open()
        self.answer(epoch=epoch, drop=drop)

    def open(self) -> None:
        if not self.core.state.is_connected:
            self.sent = []
            self.waiting = {}
            self.do(e.Connected())

    def answer(self, *, epoch: int | None = None, drop: tuple[tuple[int, int], ...] = ()) -> None:
        if self.core.state.is_connected and not self.core.state.is_known:
            self.epoch = epoch or self.epoch
            gone = set(drop)
            self.assigned = {row for row in self.assigned if row[:2] not in gone}
            self.do(m.WorkerKnown(self.epoch, "", drop))
            for function in (1, 2):
                self.do(m.PutFunction(function, "f", b"code"))

    def disconnect(self) -> None:
        if self.core.state.is_connected:
            self.do(e.Disconnected())

    @property
    def held(self) -> m.WorkerHeld:
        return next(message for message in self.sent if isinstance(message, m.WorkerHeld))

    def task(self, function: int = 1, options: m.TaskOptions = m.DEFAULT_OPTIONS) -> int:
        self.numbers += 1
        self._assign(self.numbers, 1)
        row = (self.numbers, CLIENT, self.numbers, function, b"row", (), 0)
        self.do(m.AssignTasks((options,), (row,)))
        return self.numbers

    def slice(
        self,
        rows: int,
        *,
        function: int = 1,
        page_rows: int = 4,
        expected_s: float = 0.0,
        options: m.TaskOptions = m.DEFAULT_OPTIONS,
    ) -> int:
        self.numbers += 1
        self._assign(self.numbers, rows)
        self.slices[self.numbers] = rows
        self.do(slice_message(self.numbers, rows, function, page_rows, expected_s, options))
        return self.numbers

    def _assign(self, number: int, rows: int) -> None:
        self.epochs[number] = self.epoch
        self.assigned |= {(self.epoch, number, row) for row in range(rows)}

    def _receive(self, message: Any, *, is_again: bool = False) -> None:
        assert self.core.state.is_connected, "sent without a connection"
        self.sent.append(message)
        if isinstance(message, m.AttemptResults):
            for attempt, outcome, *_ in message.rows:
                self._result(attempt, 0, outcome, is_again=is_again)
        elif isinstance(message, m.SliceResults):
            failed = dict(message.failed)
            for row in range(message.lo, message.hi):
                self._result(message.attempt, row, failed.get(row, 0), is_again=is_again)
        elif isinstance(message, m.Waiting):
            assert self.core.state.is_known
            for attempt, rows, _ in message.rows:
                assert attempt in self.epochs
                self.waiting[attempt] = rows
            assert not self.ended & set(message.ended), "an end is told once"
            self.ended |= set(message.ended)
        elif isinstance(message, m.Crashed):
            for attempt, row, *_ in message.rows:
                key = (self.epochs[attempt], attempt, row)
                assert key in self.assigned - self.reported - self.returned
                self.reported.add(key)
        elif isinstance(message, m.Returned):
            for attempt, lo, hi, _ in message.rows:
                for row in range(lo, hi):
                    key = (self.epochs[attempt], attempt, row)
                    assert key in self.assigned - self.reported - self.returned
                    self.returned.add(key)
        elif isinstance(message, m.WorkerHeld):
            # What is neither here nor finished is lost with the connection, and the scheduler would run it elsewhere.
            held = {(r[0], r[1], row) for r in (*message.unfinished, *message.finished) for row in range(r[4], r[5])}
            self.assigned &= held | self.reported | self.returned
            assert (
                not {k for r in message.unfinished for k in ((r[0], r[1], x) for x in range(r[4], r[5]))}
                & self.returned
            )

    def _result(self, attempt: int, row: int, outcome: int, *, is_again: bool) -> None:
        key = (self.epochs[attempt], attempt, row)
        assert key not in self.returned
        assert key in self.assigned or key in self.reported
        if key in self.reported:
            assert is_again, f"{key} was reported twice on one connection"
        self.reported.add(key)
        self.kept.add(key)
        self.outcomes[key] = outcome

    def settle(self, *attempts: int) -> None:
        self.kept = {key for key in self.kept if key[1] not in attempts}
        self.do(m.Settled(attempts))

    def returned_rows(self, attempt: int) -> list[tuple[int, int, ReturnReason]]:
        rows = [row for message in self.sent if isinstance(message, m.Returned) for row in message.rows]
        return [(lo, hi, ReturnReason(reason)) for number, lo, hi, reason in rows if number == attempt]


def slice_message(
    number: int, rows: int, function: int, page_rows: int, expected_s: float, options: m.TaskOptions
) -> m.AssignSlice:
    pages = -(-rows // page_rows)
    offsets = array("I", range(0, 10 * pages + 1, 10)).tobytes()
    return m.AssignSlice(
        number, CLIENT, number, 0, rows, function, options, 0, page_rows, expected_s, offsets, b"x" * 10 * pages
    )


def _through_the_codec(message: Any) -> Any:
    (frame,) = FrameDecoder().feed(b"".join(map(bytes, encode(message))))
    return decode(frame)
