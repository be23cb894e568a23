"""What a ring of results held: cut by attempt, kept until it is settled, and reported."""

from scaler_trio.worker.core import events as e
from scaler_trio.worker.core import reports
from scaler_trio.worker.core.records import Attempt, Fed, Function, Kept, SingleRow, Slot
from scaler_trio.worker.core.state import WorkerState
from scaler_trio.worker.core.states import Happening, Row, step
from scaler_trio.worker.errors import InternalError


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
        if stopped is None and type(attempt.work) is SingleRow and not taken.profiles:
            _take_tasks(state, slot, reader, send)
            continue
        rows = min(fed.hi - fed.lo, left)
        override = None
        if stopped is not None and fed.first <= stopped.item < fed.first + rows:
            override = (fed.lo + stopped.item - fed.first, stopped.outcome)
            slot.interruption = None
        step(Row.STOPPING if override else Row.CLAIMED, Happening.FINISH, attempt)
        if type(attempt.work) is SingleRow:
            kept, elapsed_ns = reader.single(attempt.number, override[1] if override else None)
            if taken.profiles and (profile := taken.profiles.get(fed.first)):
                kept = reports.with_profile(kept, profile)
        else:
            kept, elapsed_ns = reader.rows(attempt.number, fed.lo, fed.lo + rows, override)
        attempt.function.ran(rows, elapsed_ns)
        state.tell("finished", attempt, fed.lo, fed.lo + rows)
        _unfeed(slot, fed, rows)
        state.keep(attempt, kept, send)
        state.ended(attempt, rows)
    slot.done += taken.items
    state.send_results(send)


def _take_tasks(state: WorkerState, slot: Slot, reader: reports.Reader, send: list[Kept]) -> None:
    """The single tasks that come next; every one of them takes this path, so it is written for speed."""
    step(Row.CLAIMED, Happening.FINISH, slot)
    fed, attempts = slot.fed, state.attempts
    ended: list[Attempt] = []
    left, ahead_ns, ahead_bytes, kept_bytes, kept_before = reader.left, 0, 0, 0, len(send)
    function = fed[0].attempt.function
    count = ran_ns = 0
    while left and type((attempt := fed[0].attempt).work) is SingleRow:
        left -= 1
        ahead_ns += fed.popleft().row_ns
        ahead_bytes += attempt.row_bytes
        kept, elapsed_ns = reader.single(attempt.number, None)
        if attempt.function is not function:
            _ended(state, function, count, ran_ns)
            function, count, ran_ns = attempt.function, 0, 0
        count += 1
        ran_ns += elapsed_ns
        ended.append(attempt)
        attempt.open = 0
        attempt.work = None
        if attempt.is_dropped:
            attempts.pop((attempt.epoch, attempt.number), None)
        else:
            attempt.kept.append(kept)
            kept_bytes += kept.size_bytes
            send.append(kept)
    _ended(state, function, count, ran_ns)
    slot.ahead_ns -= ahead_ns
    slot.ahead_bytes -= ahead_bytes
    state.kept_bytes += kept_bytes
    state.kept_results += len(send) - kept_before
    state.tell_all("finished", ended)


def _ended(state: WorkerState, function: Function, count: int, ran_ns: int) -> None:
    """So many single tasks of a function have ended."""
    function.ran(count, ran_ns)
    function.attempts -= count
    state.drop_function_if_unused(function)


def _unfeed(slot: Slot, fed: Fed, rows: int) -> None:
    """The first ``rows`` of the slot's first part are done."""
    slot.ahead_ns -= rows * fed.row_ns
    slot.ahead_bytes -= rows * fed.attempt.row_bytes
    fed.lo += rows
    fed.first += rows
    if fed.lo == fed.hi:
        slot.fed.popleft()
