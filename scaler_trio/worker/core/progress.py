"""What is seen of the slots: processors that are ready, results that a ring held, what was taken back."""

from scaler_trio.worker.core import blocking, stopping, taking, withdrawing
from scaler_trio.worker.core import events as e
from scaler_trio.worker.core.records import Piece
from scaler_trio.worker.core.state import WorkerState
from scaler_trio.worker.core.states import Happening, Row, step


def on_slot_ready(state: WorkerState, event: e.SlotReady) -> None:
    slot = state.slots[event.slot]
    slot.is_ready = slot.was_ready = True


def on_progress(state: WorkerState, event: e.Progress) -> None:
    slot = state.slots[event.slot]
    if event.taken is not None:
        taking.take(state, slot, event.taken)
    slot.claimed = max(event.claimed, slot.done)
    if event.waiting or slot.waits is not None:
        blocking.see(state, slot, event)
    slot.running = event.running if event.running == slot.done < slot.limit else None
    if slot.running is not None:
        slot.running_since = state.now - event.running_s
        stopping.stop_if_unwanted(state, slot)


def on_truncated(state: WorkerState, event: e.Truncated) -> None:
    slot = state.slots[event.slot]
    if slot.truncating is None:
        return  # its processor has died meanwhile
    slot.truncating = None
    while slot.fed and slot.fed[-1].first + slot.fed[-1].hi - slot.fed[-1].lo > event.limit:
        fed = slot.fed[-1]
        keep = max(0, event.limit - fed.first)
        rows = fed.hi - fed.lo - keep
        step(Row.FED, Happening.TRUNCATE, fed.attempt)
        state.enqueue(Piece(fed.attempt, fed.lo + keep, fed.hi), front=True)
        slot.ahead_ns -= rows * fed.row_ns
        slot.ahead_bytes -= rows * fed.attempt.row_bytes
        fed.hi -= rows
        if not keep:
            slot.fed.pop()
    slot.limit = event.limit
    slot.claimed = min(slot.claimed, slot.limit)
    further, slot.truncate_next = slot.truncate_next, None
    if further is not None and further < slot.limit:
        state.truncate(slot, further)
    else:
        withdrawing.slot_is_truncated(state, slot)
