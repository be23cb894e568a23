"""Giving rows back: recalls, cancels and drains; out of the slots first, then out of the queue, then the answer."""

from collections import deque
from collections.abc import Sequence

from scaler_protocol import messages as m
from scaler_protocol.limits import BATCH_ROWS
from scaler_protocol.messages import ReturnReason
from scaler_trio.ranges import RangeSet
from scaler_trio.worker.core import events as e
from scaler_trio.worker.core.records import Attempt, Piece, Slot, Withdrawal
from scaler_trio.worker.core.state import WorkerState
from scaler_trio.worker.core.states import Happening, Row, step

VOIDABLE = (ReturnReason.RECALLED, ReturnReason.NEIGHBOUR_WAITS)
"""Withdrawals that end with their connection: the rows are declared in the next one."""


def on_recall(state: WorkerState, message: m.Recall) -> None:
    """Each row of it is answered by at least one of ``Returned``, be it an empty one."""
    wanted: dict[Attempt, list[tuple[int, int]]] = {}
    unknown = []
    for number, lo in message.rows:
        attempt = state.find(number)
        if attempt is None or lo >= attempt.hi:
            unknown.append((number, lo, lo, int(ReturnReason.RECALLED)))
        else:
            wanted.setdefault(attempt, []).append((max(lo, attempt.lo), attempt.hi))
    if unknown:
        state.out.append(e.Send(m.Returned(tuple(unknown))))
    withdraw(state, wanted, ReturnReason.RECALLED)


def on_cancel(state: WorkerState, message: m.CancelAttempts) -> None:
    """What waits is returned, what runs is interrupted, what is finished or unknown has been answered already."""
    wanted: dict[Attempt, list[tuple[int, int]]] = {}
    for number, lo, hi in message.rows:
        attempt = state.find(number)
        if attempt is not None and lo < hi:
            wanted.setdefault(attempt, []).append((lo, hi))
    withdraw(state, wanted, ReturnReason.CANCELLED)


def withdraw(state: WorkerState, wanted: dict[Attempt, list[tuple[int, int]]], reason: ReturnReason) -> None:
    """Take rows out of slots, as far as possible, and out of the queue, and answer."""
    if not wanted:
        return
    withdrawal = Withdrawal({attempt: RangeSet(ranges) for attempt, ranges in wanted.items()}, int(reason), set())
    for attempt, ranges in wanted.items():
        attempt.withheld += 1
        if reason is ReturnReason.CANCELLED:
            attempt.cancelled = RangeSet([*(attempt.cancelled or ()), *ranges])
    state.withdrawals.append(withdrawal)
    for slot in state.slots:
        for fed in slot.fed:
            rows = withdrawal.wanted.get(fed.attempt)
            inside = rows.within(fed.lo, fed.hi) if rows is not None else ()
            if inside:
                # Claimed or not: the look at the page that comes with it tells what runs, and may need an interrupt.
                withdrawal.waiting.add(slot.number)
                state.truncate(slot, fed.first + inside[0][0] - fed.lo)
                break
    if not withdrawal.waiting:
        end_withdrawal(state, withdrawal)


def end_withdrawal(state: WorkerState, withdrawal: Withdrawal) -> None:
    """Everything that could come back is in the queue: take it out and answer."""
    state.withdrawals.remove(withdrawal)
    for attempt in withdrawal.wanted:
        attempt.withheld -= 1
    is_recall = withdrawal.reason in VOIDABLE
    if is_recall and not state.is_known:
        return
    happening = Happening.RECALL if is_recall else Happening.CANCEL
    gone: list[tuple[Attempt, int, int]] = []
    state.tasks = _take_out(state.tasks, withdrawal, gone)
    state.rows = _take_out(state.rows, withdrawal, gone)
    answered = {attempt for attempt, _, _ in gone}
    if withdrawal.reason == ReturnReason.RECALLED:
        gone += [(a, r.first[0], r.first[0]) for a, r in withdrawal.wanted.items() if a not in answered]
    _return(state, gone, withdrawal.reason, happening)


def _take_out(queue: deque[Piece], withdrawal: Withdrawal, gone: list[tuple[Attempt, int, int]]) -> deque[Piece]:
    """What stays of a queue."""
    rest: deque[Piece] = deque()
    for piece in queue:
        wanted = withdrawal.wanted.get(piece.attempt)
        inside = wanted.within(piece.lo, piece.hi) if wanted is not None else ()
        if wanted is None or not inside:
            rest.append(piece)
            continue
        gone += [(piece.attempt, lo, hi) for lo, hi in inside]
        rest += [Piece(piece.attempt, lo, hi) for lo, hi in wanted.missing(piece.lo, piece.hi)]
    return rest


def _return(state: WorkerState, gone: Sequence[tuple[Attempt, int, int]], reason: int, happening: Happening) -> None:
    rows = []
    for attempt, lo, hi in gone:
        if lo < hi:
            step(Row.QUEUED, happening, attempt)
            state.queued_rows -= hi - lo
            state.tell(f"returned, {happening.name.lower()}", attempt, lo, hi)
        if not attempt.is_dropped:
            rows.append((attempt.number, lo, hi, reason))
        state.ended(attempt, hi - lo)
    if state.is_connected:
        for at in range(0, len(rows), BATCH_ROWS):
            state.out.append(e.Send(m.Returned(tuple(rows[at : at + BATCH_ROWS]))))


def return_all(state: WorkerState) -> None:
    """Give back whatever is queued: the worker drains."""
    gone = [(piece.attempt, piece.lo, piece.hi) for piece in (*state.tasks, *state.rows)]
    state.tasks.clear()
    state.rows.clear()
    _return(state, gone, int(ReturnReason.DRAINING), Happening.DRAIN)


def slot_is_truncated(state: WorkerState, slot: Slot) -> None:
    """Withdrawals need not wait for this slot any more."""
    for withdrawal in list(state.withdrawals):
        withdrawal.waiting.discard(slot.number)
        if not withdrawal.waiting:
            end_withdrawal(state, withdrawal)
