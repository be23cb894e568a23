"""Items that wait for tasks of their own: their slots give up their places, and get them back before anything else.

How to think about it: there are as many places as the worker offers. A *blocked* slot has none; a spare or a new slot
has its place. When its item may go on, the slot is *resuming*: an idle slot is parked for it, and if all are busy,
nothing is fed until the first of them ends its item. So however deep tasks wait for tasks, somebody runs.

Whatever waits behind an item that begins to wait goes back to the scheduler: it may be what this very item waits for,
and which work goes first while items wait is for the scheduler to say, which knows who waits for whom.
"""

from scaler_protocol import messages as m
from scaler_protocol.ids import SESSION_ID_BYTES
from scaler_protocol.messages import ReturnReason
from scaler_trio.worker.core import events as e
from scaler_trio.worker.core import tuning, withdrawing
from scaler_trio.worker.core.records import Attempt, Slot
from scaler_trio.worker.core.stances import Stance, Turn, turn
from scaler_trio.worker.core.state import WorkerState

NO_SESSION = bytes(SESSION_ID_BYTES)
"""Of a processor whose items wait for tasks of another client than their own."""


def see(state: WorkerState, slot: Slot, event: e.Progress) -> None:
    """What a look tells of an item that waits, or does not any longer. The results of the look have been taken."""
    end_if_done(state, slot)
    if slot.done >= slot.limit:
        return
    if event.session:
        slot.session = event.session
    if event.waiting == e.WAITS:
        if slot.stance is not Stance.BLOCKED:
            _block(state, slot)
    elif event.waiting == e.WANTS:
        if slot.stance is Stance.ACTIVE:
            if event.request > slot.granted:
                _move(state, slot, Turn.GRANT)
                _permit(state, slot, event.request)
        else:
            slot.request = event.request
            _want(state, slot)
    elif slot.stance is Stance.BLOCKED:
        slot.request = 0  # a wait of another thread: nobody asks for permission
        _want(state, slot)


def end_if_done(state: WorkerState, slot: Slot) -> None:
    """If the item that waited has ended, its slot may have no place."""
    if slot.waits is None or slot.waits >= slot.done:
        return
    attempt, slot.waits, slot.blocked = slot.blocked, None, None
    if slot.stance is not Stance.ACTIVE:
        # What is behind it could not be taken back yet, and may run: that needs a place too.
        slot.request = 0
        _move(state, slot, Turn.END if slot.limit == slot.done else Turn.WANT)
        slot.parked_at = state.now
    if attempt is not None and attempt.open:
        _tell(state, attempt, slot.session)


def slot_died(state: WorkerState, slot: Slot, attempt: Attempt | None) -> None:
    """Its processor died while it ran an item of ``attempt``, or none; the slot is reset, and told of before that."""
    was_blocked = slot.stance is Stance.BLOCKED
    _move(state, slot, Turn.DIE)
    session, slot.session, slot.waits, slot.blocked = slot.session, b"", None, None
    slot.request = slot.granted = 0
    if session:
        state.ended_sessions.append(session)
        if state.is_known:
            its = attempt is not None and not attempt.is_dropped
            rows = ((attempt.number, _count(state, attempt), session),) if attempt is not None and its else ()
            state.out.append(e.Send(m.Waiting(rows, tuple(state.ended_sessions))))
            state.ended_sessions.clear()
    elif was_blocked and attempt is not None:
        _tell(state, attempt, session)


def declare(state: WorkerState) -> None:
    """Tell a scheduler that has just been connected to."""
    waiting = {slot.blocked: slot.session for slot in state.slots if slot.blocked is not None}
    rows = [
        (attempt.number, _count(state, attempt), session or NO_SESSION)
        for attempt, session in waiting.items()
        if not attempt.is_dropped
    ]
    if rows or state.ended_sessions:
        ended, state.ended_sessions = state.ended_sessions[-tuning.ENDED_SESSIONS :], []
        state.out.append(e.Send(m.Waiting(tuple(rows), tuple(ended))))


def balance(state: WorkerState) -> None:
    """Give places to those that resume, then to spares, then to new slots."""
    for slot in state.slots:
        if slot.stance is Stance.RESUMING and slot.limit == slot.done:
            _move(state, slot, Turn.END)
            slot.parked_at = state.now
    places = state.offer.slots - sum([slot.stance is Stance.ACTIVE for slot in state.slots])
    for slot in [slot for slot in state.slots if slot.stance is Stance.RESUMING]:
        if not places and not _make_place(state):
            break
        places = max(0, places - 1)
        _move(state, slot, Turn.GRANT)
        _permit(state, slot, slot.request)
    for _ in range(places):
        _take_place(state)
    state.is_nested = any(slot.stance is not Stance.ACTIVE for slot in state.slots)


def spares_end_at(state: WorkerState) -> float | None:
    """When there is a spare too many, or None."""
    parked = sorted([slot.parked_at for slot in state.slots if _is_spare(slot)], reverse=True)
    return parked[state.offer.slots] + tuning.SPARE_S if len(parked) > state.offer.slots else None


def spares_to_end(state: WorkerState) -> list[Slot]:
    """Those that were of no use for a while, all but one for each place."""
    parked = sorted([slot for slot in state.slots if _is_spare(slot)], key=lambda slot: -slot.parked_at)
    return [slot for slot in parked[state.offer.slots :] if slot.parked_at + tuning.SPARE_S <= state.now]


def _is_spare(slot: Slot) -> bool:
    return slot.stance is Stance.PARKED and slot.is_ready and not slot.killed_because


def _block(state: WorkerState, slot: Slot) -> None:
    fed = slot.fed[0]
    slot.waits, slot.blocked = slot.done, fed.attempt
    _move(state, slot, Turn.WAIT)
    state.is_nested = True
    _tell(state, fed.attempt, slot.session)
    wanted: dict[Attempt, list[tuple[int, int]]] = {}
    if state.is_known:
        for piece in (*state.tasks, *state.rows):
            wanted.setdefault(piece.attempt, []).append((piece.lo, piece.hi))
        for index, behind in enumerate(slot.fed):
            if (lo := behind.lo + (index == 0)) < behind.hi:
                wanted.setdefault(behind.attempt, []).append((lo, behind.hi))
        withdrawing.withdraw(state, wanted, ReturnReason.NEIGHBOUR_WAITS)
    elif slot.limit > slot.done + 1:
        state.truncate(slot, slot.done + 1)


def _want(state: WorkerState, slot: Slot) -> None:
    _move(state, slot, Turn.WANT)
    attempt, slot.blocked = slot.blocked, None
    if attempt is not None:
        _tell(state, attempt, slot.session)


def _make_place(state: WorkerState) -> bool:
    """Park an active slot that has nothing to do; if there is none, have them end soon. Whether there is a place."""
    active = [slot for slot in state.slots if slot.stance is Stance.ACTIVE]
    idle = next((slot for slot in active if slot.limit == slot.done), None)
    if idle is not None:
        if idle.start_at is not None:
            idle.start_at = None
            _move(state, idle, Turn.VACATE)
        else:
            _move(state, idle, Turn.PARK)
            idle.parked_at = state.now
        return True
    for slot in active:
        if slot.truncating is None and slot.limit > max(slot.claimed, slot.done + 1):
            state.truncate(slot, slot.done + 1)
    return False


def _take_place(state: WorkerState) -> None:
    """A spare, else a processor that is not there yet."""
    spare = max(
        [slot for slot in state.slots if slot.stance is Stance.PARKED and not slot.killed_because],
        key=lambda slot: (slot.is_ready, slot.parked_at),
        default=None,
    )
    if spare is None:
        spare = next((slot for slot in state.slots if slot.stance is Stance.EMPTY), None)
        if spare is None:
            spare = Slot(len(state.slots), stance=Stance.EMPTY)
            state.slots.append(spare)
        spare.start_at = state.now
        state.is_start_due = True
    _move(state, spare, Turn.TAKE)


def _permit(state: WorkerState, slot: Slot, request: int) -> None:
    if request:
        slot.granted = request
        state.out.append(e.Resume(slot.number, request))


def _move(state: WorkerState, slot: Slot, event: Turn) -> None:
    slot.stance = turn(slot.stance, event, slot.number)


def _count(state: WorkerState, attempt: Attempt) -> int:
    return sum([slot.blocked is attempt for slot in state.slots])


def _tell(state: WorkerState, attempt: Attempt, session: bytes) -> None:
    if state.is_known and not attempt.is_dropped:
        row = (attempt.number, _count(state, attempt), session or NO_SESSION)
        state.out.append(e.Send(m.Waiting((row,))))
