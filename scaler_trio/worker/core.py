"""WorkerCore: what the agent decides. Events in, effects out; no clock, no IO.

How to think about it: a row of an attempt is in exactly one place: the queue, a slot, the attempt's crashes, its kept
results; or it is not here. Slots are given a few milliseconds of work and can be truncated back to what their
processor has claimed, so nearly everything can still go anywhere. Whatever must leave (a recall, a cancel, a drain)
is first brought back into the queue by truncating the slots that have some of it, then removed from the queue, then
answered.

While there is no connection, or the scheduler has not yet said what it knows, nothing new is started; what runs, runs
on, and its results are kept. Results are kept until they are settled in any case, and sent again on every new
connection.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

from attrs import frozen

from scaler_protocol import messages as m
from scaler_protocol.messages import ReturnReason
from scaler_trio.worker import assigning, feeding, reports, stopping, tuning, withdrawing
from scaler_trio.worker import events as e
from scaler_trio.worker.audit import check_core, held_ranges
from scaler_trio.worker.errors import InternalError
from scaler_trio.worker.records import (
    Attempt,
    Fed,
    Function,
    Kept,
    Piece,
    SingleRow,
    Slot,
    Withdrawal,
)
from scaler_trio.worker.states import Happening, Row, step


@frozen
class Offer:
    """What the worker tells the scheduler of itself."""

    slots: int
    capabilities: tuple[tuple[str, int], ...] = ()
    manager: str = ""
    latency_s: float = 0.0


class WorkerCore:
    """One per agent. ``handle`` is the only entry that changes anything."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.slots = [Slot(number) for number in range(offer.slots)]
        self.attempts: dict[tuple[int, int], Attempt] = {}  # by (epoch, number)
        self.queue: deque[Piece] = deque()
        self.queued_rows = 0
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
        self._story: deque[tuple[float, tuple[int, int], str, int, int]] = deque(maxlen=tuning.STORY_ENTRIES)
        self.out: e.Effects = []
        self.now = 0.0
        self._handlers: dict[type, Callable[[Any], None]] = {
            e.Connected: self._on_connected,
            e.Disconnected: self._on_disconnected,
            e.SlotReady: self._on_slot_ready,
            e.Progress: self._on_progress,
            e.Truncated: self._on_truncated,
            e.SlotDied: partial(stopping.on_slot_died, self),
            e.Tick: partial(stopping.on_tick, self),
            m.WorkerKnown: self._on_known,
            m.PutFunction: partial(assigning.on_put_function, self),
            m.ForgetFunctions: partial(assigning.on_forget_functions, self),
            m.AssignInputs: partial(assigning.on_assign_inputs, self),
            m.AssignTasks: partial(assigning.on_assign_tasks, self),
            m.AssignSlice: partial(assigning.on_assign_slice, self),
            m.Recall: partial(withdrawing.on_recall, self),
            m.CancelAttempts: partial(withdrawing.on_cancel, self),
            m.Settled: self._on_settled,
            m.Drain: self._on_drain,
            m.Goodbye: self._on_goodbye,
        }

    def handle(self, event: e.Event, now: float) -> e.Effects:
        """What is to be done about ``event``, in this order.

        Raises:
            PeerFault: the scheduler's message contradicts what it said before; nothing has changed.
            InternalError: a fault of ours.
        """
        self.now = now
        out: e.Effects = []
        self.out = out
        try:
            self._handlers[type(event)](event)
            if self.queue:
                if self.drain_until is not None:
                    withdrawing.return_all(self)
                feeding.feed(self, out)
            feeding.steal(self, out, self.truncate)
            if self.drain_until is not None:
                self._leave_if_done()
        except InternalError as error:
            story = [f"{attempt[1]} {what} [{lo}, {hi})" for _, attempt, what, lo, hi in list(self._story)[-20:]]
            raise InternalError(f"{error}; it was given {event!r:.500}; what happened before: {story}") from error
        return out

    @property
    def may_start(self) -> bool:
        """Whether queued rows may be given to processors."""
        return (
            self.is_known
            and self.drain_until is None
            and self.kept_bytes < tuning.KEPT_BYTES
            and self.kept_results < tuning.KEPT_RESULTS
        )

    @property
    def running(self) -> int:
        """Slots with something to do."""
        return sum([slot.limit > slot.done for slot in self.slots])

    def next_deadline(self) -> float | None:
        """When to send ``Tick``, or None."""
        deadlines = [] if self.drain_until is None or self.is_leaving else [self.drain_until]
        for slot in self.slots:
            if slot.start_at is not None:
                deadlines.append(slot.start_at)
            if slot.interruption is not None and not slot.interruption.is_killed:
                deadlines.append(slot.interruption.kill_at)
            elif (deadline := stopping.timeout(self, slot)) is not None:
                deadlines.append(deadline)
        return min(deadlines, default=None)

    def check_invariants(self) -> None:
        """Raises InternalError when the records contradict each other."""
        check_core(self)

    def story(self, number: int) -> list[str]:
        """What is remembered of an attempt, a line per event."""
        return [f"{now:.6f} {what} [{lo}, {hi})" for now, key, what, lo, hi in self._story if key[1] == number]

    # --------------------------------------------------------------------------------------------------- connection

    def _on_connected(self, event: e.Connected) -> None:
        self.is_connected, self.is_known = True, False
        unfinished, finished = held_ranges(self)
        offer = self.offer
        self.out.append(
            e.Send(m.WorkerHeld(offer.slots, offer.capabilities, offer.manager, offer.latency_s, unfinished, finished))
        )
        kept = tuple(reports.messages(chain.from_iterable([a.kept for a in self.attempts.values()])))
        if kept:
            self.out.append(e.Resend(kept))

    def _on_disconnected(self, event: e.Disconnected) -> None:
        self.is_connected = self.is_known = False
        for slot in self.slots:
            if slot.limit > slot.done:
                self.truncate(slot, 0)
        for withdrawal in list(self.withdrawals):
            if withdrawal.reason == ReturnReason.RECALLED:
                withdrawing.end_withdrawal(
                    self, withdrawal
                )  # void with its connection: the rows are declared in the next one
        for function in self.functions.values():
            self.forget(function)
        self.functions.clear()
        self.inputs.clear()
        self.inputs_bytes = 0

    def _on_known(self, message: m.WorkerKnown) -> None:
        self.epoch = message.epoch
        self.is_known = True
        if message.object_address != self.object_address:
            self.object_address = message.object_address
            self.out.append(e.Configure(message.object_address))
        dropped = [attempt for key in message.drop if (attempt := self.attempts.get((key[0], key[1]))) is not None]
        for attempt in dropped:
            attempt.is_dropped = True
            self.unkeep(attempt)
            attempt.open -= len(attempt.crashes)
            attempt.crashes.clear()
        withdrawing.withdraw(self, {attempt: [(attempt.lo, attempt.hi)] for attempt in dropped}, ReturnReason.CANCELLED)
        crashed = []
        for attempt in self.attempts.values():
            crashed += [(attempt.number, *crash) for crash in attempt.crashes]
            attempt.open -= len(attempt.crashes)
            attempt.crashes.clear()
        if crashed:
            self.out.append(e.Send(m.Crashed(tuple(crashed))))
        for attempt in list(self.attempts.values()):
            self.forget_if_done(attempt)

    # ------------------------------------------------------------------------------------ recall, cancel, settle, drain

    def find(self, number: int) -> Attempt | None:
        """By its number alone: of this epoch, else of the newest one before it."""
        attempt = self.attempts.get((self.epoch, number))
        if attempt is None and self.attempts:
            epochs = {epoch for epoch, _ in self.attempts} if next(iter(self.attempts))[0] != self.epoch else ()
            attempt = next(
                (a for epoch in sorted(epochs, reverse=True) if (a := self.attempts.get((epoch, number)))), None
            )
        return attempt

    def _on_settled(self, message: m.Settled) -> None:
        for number in message.attempts:
            attempt = self.find(number)
            if attempt is not None:
                self.unkeep(attempt)
                self.forget_if_done(attempt)

    def _on_drain(self, message: m.Drain) -> None:
        until = self.now + message.grace_s
        self.drain_until = until if self.drain_until is None else min(until, self.drain_until)
        for slot in self.slots:
            if slot.limit > slot.done:
                self.truncate(slot, 0)

    def _on_goodbye(self, message: m.Goodbye) -> None:
        if not self.is_leaving:
            self.is_leaving = True
            self.out.append(e.Leave(f"the scheduler said goodbye: {message.reason or 'no reason given'}"))

    def _leave_if_done(self) -> None:
        assert self.drain_until is not None
        is_late = self.now >= self.drain_until
        open_rows = any(a.open - len(a.crashes) for a in self.attempts.values())
        if not self.is_leaving and not open_rows and (is_late or not self.attempts):
            self.is_leaving = True
            self.out.append(e.Leave("drained"))

    # ------------------------------------------------------------------------------------------------------- slots

    def _on_slot_ready(self, event: e.SlotReady) -> None:
        slot = self.slots[event.slot]
        slot.is_ready = slot.was_ready = True

    def _on_progress(self, event: e.Progress) -> None:
        slot = self.slots[event.slot]
        if event.taken is not None:
            self.take(slot, event.taken)
        slot.claimed = max(event.claimed, slot.done)
        slot.running = event.running if event.running == slot.done < slot.limit else None
        if slot.running is not None:
            slot.running_since = self.now - event.running_s
            stopping.stop_if_unwanted(self, slot)

    def take(self, slot: Slot, taken: e.Taken) -> None:
        """Report what a ring held."""
        if taken.first != slot.done or taken.first + taken.items > slot.limit:
            raise InternalError(f"slot {slot.number} at {slot.done} of {slot.limit}: results from {taken.first}")
        reader = reports.Reader(taken)
        send: list[Kept] = []
        stopped = slot.interruption
        while left := reader.left:
            fed = slot.fed[0]
            attempt = fed.attempt
            rows = min(fed.hi - fed.lo, left)
            override = None
            if stopped is not None and fed.first <= stopped.item < fed.first + rows:
                override = (fed.lo + stopped.item - fed.first, stopped.outcome)
                slot.interruption = None
            step(Row.STOPPING if override else Row.CLAIMED, Happening.FINISH, attempt)
            if type(attempt.work) is SingleRow:
                kept, elapsed_ns = reader.single(attempt.number, override[1] if override else None)
            else:
                kept, elapsed_ns = reader.rows(attempt.number, fed.lo, fed.lo + rows, override)
            attempt.function.ran(rows, elapsed_ns)
            self.tell("finished", attempt, fed.lo, fed.lo + rows)
            self._unfeed(slot, fed, rows)
            self.keep(attempt, kept, send)
            self.ended(attempt, rows)
        slot.done += taken.items
        self.send_results(send)

    def _unfeed(self, slot: Slot, fed: Fed, rows: int) -> None:
        """The first ``rows`` of the slot's first part are done."""
        slot.ahead_ns -= rows * fed.row_ns
        slot.ahead_bytes -= rows * fed.attempt.row_bytes
        fed.lo += rows
        fed.first += rows
        if fed.lo == fed.hi:
            slot.fed.popleft()

    def truncate(self, slot: Slot, item: int) -> None:
        if slot.truncating is None:
            slot.truncating = item
            self.out.append(e.Truncate(slot.number, item))
        elif slot.truncating > item:
            slot.truncate_next = item if slot.truncate_next is None else min(item, slot.truncate_next)

    def _on_truncated(self, event: e.Truncated) -> None:
        slot = self.slots[event.slot]
        if slot.truncating is None:
            return  # its processor has died meanwhile
        slot.truncating = None
        while slot.fed and slot.fed[-1].first + slot.fed[-1].hi - slot.fed[-1].lo > event.limit:
            fed = slot.fed[-1]
            keep = max(0, event.limit - fed.first)
            rows = fed.hi - fed.lo - keep
            step(Row.FED, Happening.TRUNCATE, fed.attempt)
            self.enqueue(Piece(fed.attempt, fed.lo + keep, fed.hi), front=True)
            slot.ahead_ns -= rows * fed.row_ns
            slot.ahead_bytes -= rows * fed.attempt.row_bytes
            fed.hi -= rows
            if not keep:
                slot.fed.pop()
        slot.limit = event.limit
        slot.claimed = min(slot.claimed, slot.limit)
        further, slot.truncate_next = slot.truncate_next, None
        if further is not None and further < slot.limit:
            self.truncate(slot, further)
        else:
            withdrawing.slot_is_truncated(self, slot)

    # ------------------------------------------------------------------------------------------------------ bookkeeping

    def enqueue(self, piece: Piece, *, front: bool = False) -> None:
        self.queued_rows += piece.hi - piece.lo
        if front:
            self.queue.appendleft(piece)
        else:
            self.queue.append(piece)

    def send_results(self, send: list[Kept]) -> None:
        if self.is_connected:
            self.out += [e.Send(message) for message in reports.messages(send)]

    def keep(self, attempt: Attempt, kept: Kept, send: list[Kept]) -> None:
        if attempt.is_dropped:
            return
        attempt.kept.append(kept)
        self.kept_bytes += kept.size_bytes
        self.kept_results += 1
        send.append(kept)

    def unkeep(self, attempt: Attempt) -> None:
        for kept in attempt.kept:
            self.kept_bytes -= kept.size_bytes
        self.kept_results -= len(attempt.kept)
        attempt.kept.clear()

    def ended(self, attempt: Attempt, rows: int) -> None:
        attempt.open -= rows
        if not attempt.open:
            self.forget_if_done(attempt)

    def forget_if_done(self, attempt: Attempt) -> None:
        if attempt.open:
            return
        if attempt.work is not None:
            attempt.work = None
            attempt.function.attempts -= 1
            self._drop_function_if_unused(attempt.function)
        if not attempt.kept:
            self.attempts.pop((attempt.epoch, attempt.number), None)

    def forget(self, function: Function) -> None:
        function.is_forgotten = True
        self._drop_function_if_unused(function)

    def _drop_function_if_unused(self, function: Function) -> None:
        if function.is_forgotten and not function.attempts:
            for slot in self.slots:
                if function.key in slot.functions:
                    slot.functions.discard(function.key)
                    slot.forget.append(function.key)

    def tell(self, what: str, attempt: Attempt, lo: int, hi: int) -> None:
        self._story.append((self.now, (attempt.epoch, attempt.number), what, lo, hi))
