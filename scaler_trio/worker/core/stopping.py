"""Items that must stop, and processors that died: interrupt, then kill; whom a crash is charged to; the successor."""

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from scaler_trio.worker.core import blocking, reports, taking, tuning, withdrawing
from scaler_trio.worker.core import events as e
from scaler_trio.worker.core.records import Crash, Fed, Interruption, Kept, Piece, SingleRow, Slot
from scaler_trio.worker.core.stances import Stance
from scaler_trio.worker.core.state import WorkerState
from scaler_trio.worker.core.states import Happening, Row, step


def stop_if_unwanted(state: WorkerState, slot: Slot) -> None:
    """Interrupt what runs there if it is cancelled, dropped, or out of time."""
    item = slot.running
    if item is None or (slot.interruption is not None and slot.interruption.item == item):
        return
    fed = slot.fed[0]
    attempt = fed.attempt
    outcome = None
    if attempt.is_dropped or (attempt.cancelled is not None and fed.lo in attempt.cancelled):
        outcome = Outcome.CANCELLED
    elif (deadline := timeout(state, slot)) is not None and state.now >= deadline:
        outcome = Outcome.TIMED_OUT
    if outcome is not None:
        step(Row.CLAIMED, Happening.INTERRUPT, attempt)
        slot.interruption = Interruption(item, outcome, state.now + tuning.GRACE_S, is_killed=False)
        state.tell(f"interrupted, {outcome.name.lower()}", attempt, fed.lo, fed.lo + 1)
        state.out.append(e.Interrupt(slot.number, item))


def timeout(state: WorkerState, slot: Slot) -> float | None:
    """When the item that runs there is out of time, or None."""
    if slot.running is None or slot.interruption is not None or not slot.fed:
        return None
    timeouts = (slot.fed[0].attempt.options.timeout_s, state.task_timeout_s)  # its client's, and the operator's
    timeout_s = min([seconds for seconds in timeouts if seconds], default=0.0)
    return slot.running_since + timeout_s if timeout_s else None


def on_slot_died(state: WorkerState, event: e.SlotDied) -> None:
    """Report what it had finished and what it was running; what waited behind runs in its successor."""
    progress = event.progress
    slot = state.slots[progress.slot]
    if progress.taken is not None:
        taking.take(state, slot, progress.taken)
    blocking.end_if_done(state, slot)
    running = progress.running if progress.running == slot.done < slot.limit else None
    if slot.waits == slot.done:
        running = slot.done
    slot.session = progress.session or slot.session
    blocking.slot_died(state, slot, slot.fed[0].attempt if running is not None else None)
    _judge_death(state, slot, running, event.text)
    stopped, killed_because, is_charged = slot.interruption, slot.killed_because, slot.is_charged
    pieces = list(slot.fed)
    slot.reset()
    if running is not None:
        fed = pieces[0]
        text = f"{killed_because}; {event.text}" if killed_because else event.text
        stopped = stopped if stopped is not None and stopped.item == running else None
        _on_crash(state, slot, fed, stopped, text, charged=is_charged or not killed_because)
        fed.lo += 1
        fed.first += 1
    for fed in reversed(pieces):
        if fed.lo < fed.hi:
            step(Row.FED, Happening.DIE, fed.attempt)
            state.enqueue(Piece(fed.attempt, fed.lo, fed.hi), front=True)
    withdrawing.slot_is_truncated(state, slot)


def _on_crash(
    state: WorkerState, slot: Slot, fed: Fed, stopped: Interruption | None, text: str, *, charged: bool
) -> None:
    """The row that ran when its processor died."""
    attempt, row = fed.attempt, fed.lo
    state.tell("its processor died", attempt, row, row + 1)
    if stopped is not None:
        step(Row.STOPPING, Happening.DIE, attempt)
        is_slice = type(attempt.work) is not SingleRow
        words = reports.TIMED_OUT if stopped.outcome is Outcome.TIMED_OUT else reports.CANCELLED
        seconds = max(0.0, state.now - slot.running_since)
        send: list[Kept] = []
        state.keep(attempt, reports.one_row(attempt.number, is_slice, row, stopped.outcome, words, seconds), send)
        state.ended(attempt, 1)
        state.send_results(send)
        return
    step(Row.CLAIMED, Happening.DIE, attempt)
    crash = Crash(row, charged, text)
    if attempt.is_dropped or state.is_known:
        if not attempt.is_dropped:
            state.out.append(e.Send(m.Crashed(((attempt.number, *crash),))))
        state.ended(attempt, 1)
    else:
        attempt.crashes.append(crash)


def _judge_death(state: WorkerState, slot: Slot, running: int | None, text: str) -> None:
    """When to replace it, or whether to give up."""
    if slot.done or running is not None or slot.killed_because:
        slot.failed_starts = 0
    else:
        slot.failed_starts += 1
    if slot.failed_starts >= tuning.FAILED_STARTS:
        state.out.append(e.Fail(f"{slot.failed_starts} processors in a row ended before they ran anything: {text}"))
        return
    wait_s = tuning.START_BACKOFF_S * 2 ** (slot.failed_starts - 1) if slot.failed_starts else 0.0
    if slot.stance is Stance.ACTIVE:
        slot.start_at = state.now + wait_s
        start_processors(state)


def start_processors(state: WorkerState) -> None:
    """Start those whose time has come."""
    state.is_start_due = False
    for slot in state.slots:
        if slot.start_at is not None and slot.start_at <= state.now and not state.is_leaving:
            slot.start_at = None
            state.out.append(e.Start(slot.number))


def on_spare_kept(state: WorkerState, event: e.SpareKept) -> None:
    """It is asked about again when it has been of no use for as long again."""
    slot = state.slots[event.slot]
    slot.killed_because = ""
    slot.parked_at = state.now


def on_over_memory(state: WorkerState, event: e.OverMemory) -> None:
    """Kill the processor, at the expense of what runs there; one that runs nothing keeps what others have left."""
    slot = state.slots[event.slot]
    if slot.killed_because:
        return
    slot.is_charged = slot.running is not None
    _kill(state, slot, f"killed as {event.text}")


def on_tick(state: WorkerState, event: e.Tick) -> None:
    """A deadline has passed: of a start, a timeout, an interrupt's grace, a drain."""
    start_processors(state)
    for slot in state.slots:
        stop_if_unwanted(state, slot)
        stopped = slot.interruption
        if stopped is not None and not stopped.is_killed and state.now >= stopped.kill_at and slot.done == stopped.item:
            slot.interruption = stopped._replace(is_killed=True)
            _kill(state, slot, f"killed on purpose, {tuning.GRACE_S:g} s after a task on it was told to stop")
    if state.is_nested:
        for slot in blocking.spares_to_end(state):
            slot.killed_because = "killed on purpose: a spare that was of no use for a while"
            state.out.append(e.EndSpare(slot.number))
    if state.drain_until is not None and state.now >= state.drain_until and not state.is_leaving:
        for slot in state.slots:
            if slot.fed and not slot.killed_because:
                _kill(state, slot, "killed on purpose, as the worker's time to drain was over")


def _kill(state: WorkerState, slot: Slot, why: str) -> None:
    slot.killed_because = why
    state.out.append(e.Kill(slot.number))
