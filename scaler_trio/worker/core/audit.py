"""What must always be true of a worker state, and what it declares to a scheduler that it connects to."""

from collections import Counter

from scaler_protocol.fields import Row as WireRow
from scaler_trio.ranges import Range, RangeSet
from scaler_trio.worker.core.records import Attempt
from scaler_trio.worker.core.stances import Stance
from scaler_trio.worker.core.state import WorkerState
from scaler_trio.worker.errors import InternalError

HELD_ROWS = 1 << 18
"""Rows that a held-set may have, by its message's limit. What does not fit, the scheduler has run elsewhere."""


def held_ranges(state: WorkerState) -> tuple[tuple[WireRow, ...], tuple[WireRow, ...]]:
    """Rows of ``WorkerHeld``: what is queued or running here, and what is finished and not settled."""
    unfinished: list[WireRow] = []
    finished: list[WireRow] = []
    places = _places(state)
    for attempt in state.attempts.values():
        if attempt.is_dropped:
            continue
        crashed = [(crash.row, crash.row + 1) for crash in attempt.crashes]
        for ranges, crashes, rows in (
            (places.get(attempt, []), 0, unfinished),
            (crashed, sum([crash.charged for crash in attempt.crashes]) and 1, unfinished),
            ([(kept.lo, kept.hi) for kept in attempt.kept], 0, finished),
        ):
            rows += [
                (attempt.epoch, attempt.number, attempt.client, attempt.task, lo, hi, crashes)
                for lo, hi in RangeSet(ranges)
            ]
    return tuple(unfinished[:HELD_ROWS]), tuple(finished[:HELD_ROWS])


def check_state(state: WorkerState) -> None:
    """Raises InternalError, naming the first contradiction."""
    places = _places(state)
    for attempt, ranges in places.items():
        rows = sum([hi - lo for lo, hi in ranges])
        _must(rows == len(RangeSet(ranges)), f"{attempt}: rows are in two places: {ranges}")
        _must(
            state.attempts.get((attempt.epoch, attempt.number)) is attempt, f"{attempt} is queued or fed, and unknown"
        )
        finished = RangeSet([(kept.lo, kept.hi) for kept in attempt.kept])
        both = RangeSet([*ranges, *finished])
        _must(rows + len(finished) == len(both), f"{attempt}: rows are unfinished and finished")
    users: Counter[int] = Counter()
    for attempt in state.attempts.values():
        rows = sum([hi - lo for lo, hi in places.get(attempt, [])])
        _must(attempt.open == rows + len(attempt.crashes), f"{attempt}: {attempt.open} open rows, found {rows}")
        _must(bool(attempt.open or attempt.kept), f"{attempt} has ended and is still known")
        _must(
            (attempt.work is None) == (attempt.open == 0), f"{attempt}: its rows' payload outlives them, or died first"
        )
        _must(not attempt.crashes or not state.is_known, f"{attempt}: a crash that was not told")
        _must(
            attempt.withheld == sum([attempt in w.wanted for w in state.withdrawals]),
            f"{attempt} is withheld for nothing",
        )
        users[attempt.function.key] += attempt.work is not None
    for attempt in state.attempts.values():
        function = attempt.function
        _must(function.attempts == users[function.key], f"{function.name}: {function.attempts} attempts use it")
    kept = [kept for attempt in state.attempts.values() for kept in attempt.kept]
    _must(state.kept_bytes == sum([one.size_bytes for one in kept]), "kept bytes are miscounted")
    _must(state.kept_results == len(kept), "kept results are miscounted")
    _must(
        state.queued_rows == sum([piece.hi - piece.lo for piece in (*state.tasks, *state.rows)]),
        "queued rows are miscounted",
    )
    _must(all(withdrawal.waiting for withdrawal in state.withdrawals), "a withdrawal waits for nothing")
    for slot in state.slots:
        who = f"slot {slot.number}"
        _must(slot.done <= slot.claimed <= slot.limit, f"{who}: {slot.done}, {slot.claimed}, {slot.limit}")
        at = slot.done
        for fed in slot.fed:
            _must(fed.first == at and fed.lo < fed.hi, f"{who}: a part at {fed.first}, expected {at}")
            at += fed.hi - fed.lo
        _must(at == slot.limit, f"{who}: parts up to {at}, limit {slot.limit}")
        _must(slot.ahead_ns == sum([(f.hi - f.lo) * f.row_ns for f in slot.fed]), f"{who}: time ahead is miscounted")
        _must(slot.ahead_bytes == sum([(f.hi - f.lo) * f.attempt.row_bytes for f in slot.fed]), f"{who}: bytes ahead")
        _must(slot.is_ready or not slot.fed, f"{who} has work and no processor")
        _must(slot.start_at is None or not slot.is_ready, f"{who} is ready and to be started")
        has_place, is_stopped = slot.stance is Stance.ACTIVE, slot.stance in (Stance.BLOCKED, Stance.RESUMING)
        _must(has_place or is_stopped or not slot.fed, f"{who} is {slot.stance.value} and has work")
        _must(has_place or slot.start_at is None, f"{who} is {slot.stance.value} and to be started")
        _must(not is_stopped or slot.done < slot.limit, f"{who} is {slot.stance.value} without an item")
        _must(slot.stance is not Stance.BLOCKED or slot.waits == slot.done, f"{who} waits with item {slot.waits}")
        _must((slot.blocked is not None) == (slot.stance is Stance.BLOCKED), f"{who}: blocked by {slot.blocked}")
        _must(slot.blocked is None or slot.blocked is slot.fed[0].attempt, f"{who} waits for another item than it runs")
    active = sum([slot.stance is Stance.ACTIVE for slot in state.slots])
    _must(active == state.offer.slots, f"{active} active slots of {state.offer.slots}")
    _must(state.is_nested == (active < len(state.slots)), f"{len(state.slots)} slots, nested: {state.is_nested}")


def _places(state: WorkerState) -> dict[Attempt, list[Range]]:
    """The rows of each attempt in the queue and in slots."""
    places: dict[Attempt, list[Range]] = {}
    for piece in (*state.tasks, *state.rows):
        places.setdefault(piece.attempt, []).append((piece.lo, piece.hi))
    for slot in state.slots:
        for fed in slot.fed:
            places.setdefault(fed.attempt, []).append((fed.lo, fed.hi))
    return places


def _must(holds: bool, text: str) -> None:
    if not holds:
        raise InternalError(text)
