"""What a ring of results held: cut by attempt, kept until it is settled, and reported."""

from scaler_trio.worker import events as e
from scaler_trio.worker import reports
from scaler_trio.worker.errors import InternalError
from scaler_trio.worker.records import Fed, Kept, SingleRow, Slot
from scaler_trio.worker.state import WorkerState
from scaler_trio.worker.states import Happening, Row, step


def take(state: WorkerState, slot: Slot, taken: e.Taken) -> None:
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
        state.tell("finished", attempt, fed.lo, fed.lo + rows)
        _unfeed(slot, fed, rows)
        state.keep(attempt, kept, send)
        state.ended(attempt, rows)
    slot.done += taken.items
    state.send_results(send)


def _unfeed(slot: Slot, fed: Fed, rows: int) -> None:
    """The first ``rows`` of the slot's first part are done."""
    slot.ahead_ns -= rows * fed.row_ns
    slot.ahead_bytes -= rows * fed.attempt.row_bytes
    fed.lo += rows
    fed.first += rows
    if fed.lo == fed.hi:
        slot.fed.popleft()
