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
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from attrs import frozen

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome, ReturnReason
from scaler_trio.worker import events as e
from scaler_trio.worker import feeding, reports, tuning
from scaler_trio.worker.audit import check_core, held_ranges
from scaler_trio.worker.errors import InternalError, PeerFault
from scaler_trio.worker.ranges import contains, merge, split
from scaler_trio.worker.records import (
    Attempt,
    Crash,
    Fed,
    Function,
    Interruption,
    Kept,
    PagedRows,
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
        self._inputs: dict[int, list[bytes]] = {}  # by attempt: they come before it
        self._inputs_bytes = 0
        self._last_key = 0
        self._story: deque[tuple[float, tuple[int, int], str, int, int]] = deque(maxlen=tuning.STORY_ENTRIES)
        self._out: e.Effects = []
        self._now = 0.0
        self._handlers: dict[type, Callable[[Any], None]] = {
            e.Connected: self._on_connected,
            e.Disconnected: self._on_disconnected,
            e.SlotReady: self._on_slot_ready,
            e.Progress: self._on_progress,
            e.Truncated: self._on_truncated,
            e.SlotDied: self._on_slot_died,
            e.Tick: self._on_tick,
            m.WorkerKnown: self._on_known,
            m.PutFunction: self._on_put_function,
            m.ForgetFunctions: self._on_forget_functions,
            m.AssignInputs: self._on_assign_inputs,
            m.AssignTasks: self._on_assign_tasks,
            m.AssignSlice: self._on_assign_slice,
            m.Recall: self._on_recall,
            m.CancelAttempts: self._on_cancel,
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
        self._now = now
        out: e.Effects = []
        self._out = out
        self._handlers[type(event)](event)
        if self.queue:
            if self.drain_until is not None:
                self._return_all()
            feeding.feed(self, out)
        feeding.steal(self, out, self._truncate)
        if self.drain_until is not None:
            self._leave_if_done()
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
            elif (deadline := self._timeout(slot)) is not None:
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
        self._out.append(
            e.Send(m.WorkerHeld(offer.slots, offer.capabilities, offer.manager, offer.latency_s, unfinished, finished))
        )
        kept = tuple(reports.messages(chain.from_iterable([a.kept for a in self.attempts.values()])))
        if kept:
            self._out.append(e.Resend(kept))

    def _on_disconnected(self, event: e.Disconnected) -> None:
        self.is_connected = self.is_known = False
        for slot in self.slots:
            if slot.limit > slot.done:
                self._truncate(slot, 0)
        for withdrawal in list(self.withdrawals):
            if withdrawal.reason != ReturnReason.CANCELLED:
                self._end_withdrawal(withdrawal)  # void with its connection: the rows are declared in the next one
        for function in self.functions.values():
            self._forget(function)
        self.functions.clear()
        self._inputs.clear()
        self._inputs_bytes = 0

    def _on_known(self, message: m.WorkerKnown) -> None:
        self.epoch = message.epoch
        self.is_known = True
        if message.object_address != self.object_address:
            self.object_address = message.object_address
            self._out.append(e.Configure(message.object_address))
        dropped = [attempt for key in message.drop if (attempt := self.attempts.get((key[0], key[1]))) is not None]
        for attempt in dropped:
            attempt.is_dropped = True
            self._unkeep(attempt)
            attempt.open -= len(attempt.crashes)
            attempt.crashes.clear()
        self._withdraw({attempt: [(attempt.lo, attempt.hi)] for attempt in dropped}, ReturnReason.CANCELLED)
        crashed = []
        for attempt in self.attempts.values():
            crashed += [(attempt.number, *crash) for crash in attempt.crashes]
            attempt.open -= len(attempt.crashes)
            attempt.crashes.clear()
        if crashed:
            self._out.append(e.Send(m.Crashed(tuple(crashed))))
        for attempt in list(self.attempts.values()):
            self._forget_if_done(attempt)

    # -------------------------------------------------------------------------------------------------- assignments

    def _on_put_function(self, message: m.PutFunction) -> None:
        self._check_known("PutFunction")
        if message.function in self.functions:
            raise PeerFault(f"function {message.function} was defined twice")
        self._last_key += 1
        self.functions[message.function] = Function(self._last_key, message.name, message.payload)

    def _on_forget_functions(self, message: m.ForgetFunctions) -> None:
        for number in message.functions:
            function = self.functions.pop(number, None)
            if function is not None:
                self._forget(function)

    def _on_assign_inputs(self, message: m.AssignInputs) -> None:
        self._check_known("AssignInputs")
        size = sum(map(len, message.payloads))
        if self._inputs_bytes + size > tuning.INPUTS_BYTES:
            raise PeerFault(f"inputs of tasks that never came; the limit is {tuning.INPUTS_BYTES} bytes")
        self._inputs_bytes += size
        self._inputs.setdefault(message.attempt, []).extend(message.payloads)

    def _on_assign_tasks(self, message: m.AssignTasks) -> None:
        self._check_known("AssignTasks")
        for row in message.rows:
            if row[3] not in self.functions:
                raise PeerFault(f"attempt {row[0]} names function {row[3]}, which was not defined on this connection")
            if not 0 <= row[6] < len(message.options):
                raise PeerFault(f"attempt {row[0]} names options {row[6]} of {len(message.options)}")
        self._check_room(len(message.rows))
        for number, client, task, function_number, payload, inputs, options in message.rows:
            before = self._inputs.pop(number, ())
            if (self.epoch, number) in self.attempts:
                continue  # a duplicate
            if before:
                self._inputs_bytes -= sum(map(len, before))
                inputs = (*before, *inputs)
            size = len(payload) + sum(map(len, inputs)) if inputs else len(payload)
            function = self.functions[function_number]
            work = SingleRow(payload, inputs)
            self._add(
                Attempt(self.epoch, number, client, task, 0, 1, function, message.options[options], work, size, 1)
            )

    def _on_assign_slice(self, message: m.AssignSlice) -> None:
        self._check_known("AssignSlice")
        function = self.functions.get(message.function)
        if function is None:
            raise PeerFault(
                f"attempt {message.attempt} names function {message.function}, which was not defined on this connection"
            )
        if fault := feeding.slice_fault(message):
            raise PeerFault(f"attempt {message.attempt}: {fault}")
        self._check_room(1)
        if (self.epoch, message.attempt) in self.attempts:
            return
        if not function.mean_ns:
            function.mean_ns = int(message.expected_s * 1e9)
        rows = message.hi - message.lo
        work = PagedRows(message.first, message.page_rows, message.offsets, message.data)
        key = (self.epoch, message.attempt, message.client, message.task, message.lo, message.hi)
        self._add(Attempt(*key, function, message.options, work, len(message.data) // rows, rows))

    def _add(self, attempt: Attempt) -> None:
        step(Row.UNKNOWN, Happening.ASSIGN, attempt)
        self.attempts[attempt.epoch, attempt.number] = attempt
        attempt.function.attempts += 1
        self._enqueue(Piece(attempt, attempt.lo, attempt.hi))
        self._tell("assigned", attempt, attempt.lo, attempt.hi)

    def _enqueue(self, piece: Piece, *, front: bool = False) -> None:
        self.queued_rows += piece.hi - piece.lo
        if front:
            self.queue.appendleft(piece)
        else:
            self.queue.append(piece)

    def _check_known(self, what: str) -> None:
        if not self.is_known:
            raise PeerFault(f"{what} before WorkerKnown")

    def _check_room(self, attempts: int) -> None:
        if len(self.attempts) + attempts > tuning.ATTEMPTS:
            raise PeerFault(f"more than {tuning.ATTEMPTS} attempts at one time")

    # ------------------------------------------------------------------------------------ recall, cancel, settle, drain

    def _find(self, number: int) -> Attempt | None:
        """By its number alone: of this epoch, else of the newest one before it."""
        attempt = self.attempts.get((self.epoch, number))
        if attempt is None and self.attempts:
            epochs = {epoch for epoch, _ in self.attempts} if next(iter(self.attempts))[0] != self.epoch else ()
            attempt = next(
                (a for epoch in sorted(epochs, reverse=True) if (a := self.attempts.get((epoch, number)))), None
            )
        return attempt

    def _on_recall(self, message: m.Recall) -> None:
        wanted: dict[Attempt, list[tuple[int, int]]] = {}
        unknown = []
        for number, lo in message.rows:
            attempt = self._find(number)
            if attempt is None or lo >= attempt.hi:
                unknown.append((number, lo, lo, int(ReturnReason.RECALLED)))
            else:
                wanted.setdefault(attempt, []).append((max(lo, attempt.lo), attempt.hi))
        if unknown:
            self._out.append(e.Send(m.Returned(tuple(unknown))))
        self._withdraw(wanted, ReturnReason.RECALLED)

    def _on_cancel(self, message: m.CancelAttempts) -> None:
        wanted: dict[Attempt, list[tuple[int, int]]] = {}
        for number, lo, hi in message.rows:
            attempt = self._find(number)
            if attempt is not None and lo < hi:
                wanted.setdefault(attempt, []).append((lo, hi))
        self._withdraw(wanted, ReturnReason.CANCELLED)

    def _withdraw(self, wanted: dict[Attempt, list[tuple[int, int]]], reason: ReturnReason) -> None:
        """Take rows out of slots, as far as possible, and out of the queue, and answer."""
        wanted = {attempt: merge(ranges) for attempt, ranges in wanted.items()}
        if not wanted:
            return
        withdrawal = Withdrawal(wanted, int(reason), set())
        for attempt in wanted:
            attempt.withheld += 1
            if reason is ReturnReason.CANCELLED:
                attempt.cancelled = merge([*attempt.cancelled, *wanted[attempt]])
        self.withdrawals.append(withdrawal)
        for slot in self.slots:
            for fed in slot.fed:
                inside = split(fed.lo, fed.hi, wanted[fed.attempt])[0] if fed.attempt in wanted else ()
                if inside:
                    # Claimed or not: the look at the page that comes with it tells what runs now and needs an interrupt.
                    withdrawal.waiting.add(slot.number)
                    self._truncate(slot, fed.first + inside[0][0] - fed.lo)
                    break
        if not withdrawal.waiting:
            self._end_withdrawal(withdrawal)

    def _end_withdrawal(self, withdrawal: Withdrawal) -> None:
        self.withdrawals.remove(withdrawal)
        for attempt in withdrawal.wanted:
            attempt.withheld -= 1
        is_recall = withdrawal.reason == ReturnReason.RECALLED
        if is_recall and not self.is_known:
            return
        happening = {ReturnReason.RECALLED: Happening.RECALL, ReturnReason.CANCELLED: Happening.CANCEL}.get(
            ReturnReason(withdrawal.reason), Happening.DRAIN
        )
        rest: deque[Piece] = deque()
        gone: list[tuple[Attempt, int, int]] = []
        for piece in self.queue:
            ranges = withdrawal.wanted.get(piece.attempt)
            inside, outside = split(piece.lo, piece.hi, ranges) if ranges else ([], [(piece.lo, piece.hi)])
            gone += [(piece.attempt, lo, hi) for lo, hi in inside]
            rest += [Piece(piece.attempt, lo, hi) for lo, hi in outside] if inside else [piece]
        self.queue = rest
        answered = {attempt for attempt, _, _ in gone}
        if is_recall:
            gone += [(a, r[0][0], r[0][0]) for a, r in withdrawal.wanted.items() if a not in answered]
        self._return(gone, withdrawal.reason, happening)

    def _return(self, gone: Sequence[tuple[Attempt, int, int]], reason: int, happening: Happening) -> None:
        rows = []
        for attempt, lo, hi in gone:
            if lo < hi:
                step(Row.QUEUED, happening, attempt)
                self.queued_rows -= hi - lo
                self._tell(f"returned, {happening.name.lower()}", attempt, lo, hi)
            if not attempt.is_dropped:
                rows.append((attempt.number, lo, hi, reason))
            self._ended(attempt, hi - lo)
        if self.is_connected:
            for at in range(0, len(rows), feeding.BATCH_ROWS):
                self._out.append(e.Send(m.Returned(tuple(rows[at : at + feeding.BATCH_ROWS]))))

    def _return_all(self) -> None:
        gone = [(piece.attempt, piece.lo, piece.hi) for piece in self.queue]
        self.queue.clear()
        self._return(gone, int(ReturnReason.DRAINING), Happening.DRAIN)

    def _on_settled(self, message: m.Settled) -> None:
        for number in message.attempts:
            attempt = self._find(number)
            if attempt is not None:
                self._unkeep(attempt)
                self._forget_if_done(attempt)

    def _on_drain(self, message: m.Drain) -> None:
        until = self._now + message.grace_s
        self.drain_until = until if self.drain_until is None else min(until, self.drain_until)
        for slot in self.slots:
            if slot.limit > slot.done:
                self._truncate(slot, 0)

    def _on_goodbye(self, message: m.Goodbye) -> None:
        if not self.is_leaving:
            self.is_leaving = True
            self._out.append(e.Leave(f"the scheduler said goodbye: {message.reason or 'no reason given'}"))

    def _leave_if_done(self) -> None:
        assert self.drain_until is not None
        is_late = self._now >= self.drain_until
        open_rows = any(a.open - len(a.crashes) for a in self.attempts.values())
        if not self.is_leaving and not open_rows and (is_late or not self.attempts):
            self.is_leaving = True
            self._out.append(e.Leave("drained"))

    # ------------------------------------------------------------------------------------------------------- slots

    def _on_slot_ready(self, event: e.SlotReady) -> None:
        slot = self.slots[event.slot]
        slot.is_ready = slot.was_ready = True

    def _on_progress(self, event: e.Progress) -> None:
        slot = self.slots[event.slot]
        if event.taken is not None:
            self._take(slot, event.taken)
        slot.claimed = max(event.claimed, slot.done)
        slot.running = event.running if event.running == slot.done < slot.limit else None
        if slot.running is not None:
            slot.running_since = self._now - event.running_s
            self._stop_if_unwanted(slot)

    def _take(self, slot: Slot, taken: e.Taken) -> None:
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
            self._tell("finished", attempt, fed.lo, fed.lo + rows)
            self._unfeed(slot, fed, rows)
            self._keep(attempt, kept, send)
            self._ended(attempt, rows)
        slot.done += taken.items
        self._send_results(send)

    def _unfeed(self, slot: Slot, fed: Fed, rows: int) -> None:
        """The first ``rows`` of the slot's first part are done."""
        slot.ahead_ns -= rows * fed.row_ns
        slot.ahead_bytes -= rows * fed.attempt.row_bytes
        fed.lo += rows
        fed.first += rows
        if fed.lo == fed.hi:
            slot.fed.popleft()

    def _truncate(self, slot: Slot, item: int) -> None:
        if slot.truncating is None:
            slot.truncating = item
            self._out.append(e.Truncate(slot.number, item))
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
            self._enqueue(Piece(fed.attempt, fed.lo + keep, fed.hi), front=True)
            slot.ahead_ns -= rows * fed.row_ns
            slot.ahead_bytes -= rows * fed.attempt.row_bytes
            fed.hi -= rows
            if not keep:
                slot.fed.pop()
        slot.limit = event.limit
        slot.claimed = min(slot.claimed, slot.limit)
        further, slot.truncate_next = slot.truncate_next, None
        if further is not None and further < slot.limit:
            self._truncate(slot, further)
        else:
            self._slot_is_truncated(slot)

    def _slot_is_truncated(self, slot: Slot) -> None:
        for withdrawal in list(self.withdrawals):
            withdrawal.waiting.discard(slot.number)
            if not withdrawal.waiting:
                self._end_withdrawal(withdrawal)

    def _stop_if_unwanted(self, slot: Slot) -> None:
        """Interrupt what runs there if it is cancelled, dropped, or out of time."""
        item = slot.running
        if item is None or (slot.interruption is not None and slot.interruption.item == item):
            return
        fed = slot.fed[0]
        attempt = fed.attempt
        outcome = None
        if attempt.is_dropped or (attempt.cancelled and contains(attempt.cancelled, fed.lo)):
            outcome = Outcome.CANCELLED
        elif (deadline := self._timeout(slot)) is not None and self._now >= deadline:
            outcome = Outcome.TIMED_OUT
        if outcome is not None:
            step(Row.CLAIMED, Happening.INTERRUPT, attempt)
            slot.interruption = Interruption(item, outcome, self._now + tuning.GRACE_S, is_killed=False)
            self._tell(f"interrupted, {outcome.name.lower()}", attempt, fed.lo, fed.lo + 1)
            self._out.append(e.Interrupt(slot.number, item))

    def _timeout(self, slot: Slot) -> float | None:
        if slot.running is None or slot.interruption is not None or not slot.fed:
            return None
        timeout_s = slot.fed[0].attempt.options.timeout_s
        return slot.running_since + timeout_s if timeout_s else None

    def _on_slot_died(self, event: e.SlotDied) -> None:
        slot = self.slots[event.slot]
        self._judge_death(slot, event)
        running = event.running if event.running == slot.done < slot.limit else None
        stopped, was_killed = slot.interruption, slot.is_killed
        pieces = list(slot.fed)
        slot.reset()
        if running is not None:
            fed = pieces[0]
            self._on_crash(slot, fed, stopped if stopped and stopped.item == running else None, was_killed, event.text)
            fed.lo += 1
            fed.first += 1
        for fed in reversed(pieces):
            if fed.lo < fed.hi:
                step(Row.FED, Happening.DIE, fed.attempt)
                self._enqueue(Piece(fed.attempt, fed.lo, fed.hi), front=True)
        self._slot_is_truncated(slot)

    def _on_crash(self, slot: Slot, fed: Fed, stopped: Interruption | None, was_killed: bool, text: str) -> None:
        """The row that ran when its processor died."""
        attempt, row = fed.attempt, fed.lo
        self._tell("its processor died", attempt, row, row + 1)
        if stopped is not None:
            step(Row.STOPPING, Happening.DIE, attempt)
            is_slice = type(attempt.work) is not SingleRow
            words = reports.TIMED_OUT if stopped.outcome is Outcome.TIMED_OUT else reports.CANCELLED
            seconds = max(0.0, self._now - slot.running_since)
            send: list[Kept] = []
            self._keep(attempt, reports.one_row(attempt.number, is_slice, row, stopped.outcome, words, seconds), send)
            self._ended(attempt, 1)
            self._send_results(send)
            return
        step(Row.CLAIMED, Happening.DIE, attempt)
        crash = Crash(row, not was_killed, text)
        if attempt.is_dropped or self.is_known:
            if not attempt.is_dropped:
                self._out.append(e.Send(m.Crashed(((attempt.number, *crash),))))
            self._ended(attempt, 1)
        else:
            attempt.crashes.append(crash)

    def _judge_death(self, slot: Slot, event: e.SlotDied) -> None:
        """When to replace it, or whether to give up."""
        if slot.done or event.running is not None or slot.is_killed:
            slot.failed_starts = 0
        else:
            slot.failed_starts += 1
        if slot.failed_starts >= tuning.FAILED_STARTS:
            self._out.append(
                e.Fail(f"{slot.failed_starts} processors in a row ended before they ran anything: {event.text}")
            )
            return
        wait_s = tuning.START_BACKOFF_S * 2 ** (slot.failed_starts - 1) if slot.failed_starts else 0.0
        slot.start_at = self._now + wait_s
        self._start_processors()

    def _start_processors(self) -> None:
        for slot in self.slots:
            if slot.start_at is not None and slot.start_at <= self._now and not self.is_leaving:
                slot.start_at = None
                self._out.append(e.Start(slot.number))

    def _on_tick(self, event: e.Tick) -> None:
        self._start_processors()
        for slot in self.slots:
            self._stop_if_unwanted(slot)
            stopped = slot.interruption
            if (
                stopped is not None
                and not stopped.is_killed
                and self._now >= stopped.kill_at
                and slot.done == stopped.item
            ):
                slot.interruption = stopped._replace(is_killed=True)
                self._kill(
                    slot, stopped.item, f"it did not stop within {tuning.GRACE_S:g} s of being {stopped.outcome.name}"
                )
        if self.drain_until is not None and self._now >= self.drain_until and not self.is_leaving:
            for slot in self.slots:
                if slot.fed and not slot.is_killed:
                    self._kill(slot, None, "the worker's time to drain was over")

    def _kill(self, slot: Slot, item: int | None, why: str) -> None:
        slot.is_killed = True
        self._out.append(e.Kill(slot.number, item, why))

    # ------------------------------------------------------------------------------------------------------ bookkeeping

    def _send_results(self, send: list[Kept]) -> None:
        if self.is_connected:
            self._out += [e.Send(message) for message in reports.messages(send)]

    def _keep(self, attempt: Attempt, kept: Kept, send: list[Kept]) -> None:
        if attempt.is_dropped:
            return
        attempt.kept.append(kept)
        self.kept_bytes += kept.size_bytes
        self.kept_results += 1
        send.append(kept)

    def _unkeep(self, attempt: Attempt) -> None:
        for kept in attempt.kept:
            self.kept_bytes -= kept.size_bytes
        self.kept_results -= len(attempt.kept)
        attempt.kept.clear()

    def _ended(self, attempt: Attempt, rows: int) -> None:
        attempt.open -= rows
        if not attempt.open:
            self._forget_if_done(attempt)

    def _forget_if_done(self, attempt: Attempt) -> None:
        if attempt.open:
            return
        if attempt.work is not None:
            attempt.work = None
            attempt.function.attempts -= 1
            self._drop_function_if_unused(attempt.function)
        if not attempt.kept:
            self.attempts.pop((attempt.epoch, attempt.number), None)

    def _forget(self, function: Function) -> None:
        function.is_forgotten = True
        self._drop_function_if_unused(function)

    def _drop_function_if_unused(self, function: Function) -> None:
        if function.is_forgotten and not function.attempts:
            for slot in self.slots:
                if function.key in slot.functions:
                    slot.functions.discard(function.key)
                    slot.forget.append(function.key)

    def _tell(self, what: str, attempt: Attempt, lo: int, hi: int) -> None:
        self._story.append((self._now, (attempt.epoch, attempt.number), what, lo, hi))
