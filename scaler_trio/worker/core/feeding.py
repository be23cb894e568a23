"""Which queued rows go to which slot, and how many: enough to keep a processor busy, little enough to take back."""

from collections import deque

from scaler_trio.worker.channel import Pages
from scaler_trio.worker.core import events as e
from scaler_trio.worker.core import tuning
from scaler_trio.worker.core.records import Fed, PagedRows, Piece, SingleRow, Slot
from scaler_trio.worker.core.stances import Stance
from scaler_trio.worker.core.state import WorkerState
from scaler_trio.worker.core.states import Happening, Row, step
from scaler_trio.worker.streams import Place


def feed(state: WorkerState) -> None:
    """Give queued rows to the slots that want some, idle ones first, each its share."""
    if not state.may_start:
        return
    open_slots = [slot for slot in state.slots if slot.is_ready and slot.truncating is None and not slot.killed_because]
    if state.is_nested:
        if any(slot.stance is Stance.RESUMING for slot in state.slots):
            return  # it goes before whatever is queued
        open_slots = [slot for slot in open_slots if slot.stance is Stance.ACTIVE]
    idle = [slot for slot in open_slots if slot.limit == slot.done]
    parts: dict[int, list[Fed]] = {}
    for index, slot in enumerate(idle):
        left = len(idle) - index
        _fill(state, slot, -(-state.queued_rows // left), parts, at_most_idle=left > 1)
    for slot in open_slots:
        if not state.queued_rows:
            break
        _fill(state, slot, -(-state.queued_rows // len(open_slots)), parts)
    for number, fed in parts.items():
        state.out.append(_effect(state, state.slots[number], fed))


def steal(state: WorkerState) -> None:
    """When nothing is queued and a slot is idle, take back half of what waits in the fullest other one."""
    if len(state.slots) == 1 or state.queued_rows or not state.may_start or state.is_full or _someone_waits(state):
        return
    slots = [s for s in state.slots if s.is_ready and s.truncating is None and s.stance is Stance.ACTIVE]
    if not any(s.limit == s.done for s in slots):
        return
    busy = [s for s in slots if s.limit > s.claimed and s.limit > s.done + 1]
    fullest = max(busy, key=lambda slot: slot.ahead_ns, default=None)
    if fullest is not None and fullest.ahead_ns >= tuning.STEAL_NS:
        first = max(fullest.claimed, fullest.done + 1)
        state.truncate(fullest, first + (fullest.limit - first) // 2)


def make_way(state: WorkerState) -> None:
    """Single tasks have come: rows that wait in front of them, where all slots are busy, are taken back for them."""
    if _someone_waits(state):
        return  # little is queued then, and the scheduler says in which order
    with_rows = [slot for slot in state.slots if slot.fed and type(slot.fed[-1].attempt.work) is PagedRows]
    if not with_rows and not state.rows:
        return
    state.tasks_came_at = state.now
    if not any(s.is_ready and s.limit == s.done and s.stance is Stance.ACTIVE for s in state.slots):
        for slot in with_rows:
            if slot.is_ready and slot.ahead_ns >= tuning.MIXED_NS:
                state.truncate(slot, 0)


def _someone_waits(state: WorkerState) -> bool:
    """Whether an item waits for tasks of its own, or to go on; spares that are left of such times do not matter."""
    return state.is_nested and any(slot.stance in (Stance.BLOCKED, Stance.RESUMING) for slot in state.slots)


def _fill(
    state: WorkerState, slot: Slot, share: int, parts: dict[int, list[Fed]], *, at_most_idle: bool = False
) -> None:
    """One item beyond the running one in any case; more by predicted time, payload and number."""
    feed_ns, feed_bytes, feed_items = tuning.FEED_NS, tuning.FEED_BYTES, tuning.FEED_ITEMS
    is_full = state.is_full
    tasks = deque[Piece]() if is_full else state.tasks  # a single task that is queued is not begun
    if state.now - state.tasks_came_at < tuning.MIXED_S:
        feed_ns = tuning.MIXED_NS
    done, limit, ahead_ns, ahead_bytes = slot.done, slot.limit, slot.ahead_ns, slot.ahead_bytes
    aside: list[tuple[deque[Piece], Piece]] = []
    given: list[Fed] = []
    while share > 0 and (queue := tasks or state.rows):
        ahead = limit - done
        if ahead >= 2 and (ahead_ns >= feed_ns or ahead_bytes >= feed_bytes or ahead >= feed_items):
            break
        piece = queue[0]
        attempt = piece.attempt
        if attempt.withheld or (is_full and not attempt.kept):
            aside.append((queue, queue.popleft()))
            continue
        # Of unknown duration: taken for long, so that nothing but the next one waits behind it.
        row_ns = attempt.function.mean_ns or feed_ns
        rows = piece.hi - piece.lo
        if rows > 1:
            rows = min(
                rows,
                share,
                max(1, (feed_ns - ahead_ns) // row_ns),
                max(1, (feed_bytes - ahead_bytes) // max(1, attempt.row_bytes)),
                max(1, feed_items - ahead),
            )
        given.append(Fed(attempt, piece.lo, piece.lo + rows, limit, row_ns))
        limit += rows
        ahead_ns += rows * row_ns
        ahead_bytes += rows * attempt.row_bytes
        share -= rows
        piece.lo += rows
        if piece.lo == piece.hi:
            queue.popleft()
        if at_most_idle and ahead_ns >= feed_ns:
            break  # other idle slots come before this one's second item
    for queue, piece in reversed(aside):
        queue.appendleft(piece)
    if given:
        step(Row.QUEUED, Happening.FEED, slot)
        state.queued_rows -= limit - slot.limit
        slot.limit, slot.ahead_ns, slot.ahead_bytes = limit, ahead_ns, ahead_bytes
        slot.fed += given
        parts.setdefault(slot.number, []).extend(given)


def _effect(state: WorkerState, slot: Slot, parts: list[Fed]) -> e.Feed:
    functions = []
    manners = []
    ready: list[Pages | tuple[e.Task, ...]] = []
    tasks: list[e.Task] = []
    for fed in parts:
        function, work = fed.attempt.function, fed.attempt.work
        if function.key not in slot.functions:
            slot.functions.add(function.key)
            functions.append((function.key, function.payload))
            if function.manner is not None:
                manners.append((function.key, function.manner))
                slot.is_streaming |= function.manner.streamed
        if type(work) is SingleRow:
            tasks.append((function.key, work.payload, work.inputs))
            continue
        if tasks:
            ready.append(tuple(tasks))
            tasks = []
        assert type(work) is PagedRows
        ready.append(_pages(function.key, function.mean_ns, work, fed.lo, fed.hi))
    if tasks:
        ready.append(tuple(tasks))
    forget, slot.forget = tuple(slot.forget), []
    # With nothing queued there is nothing to be woken for.
    last_ns = max(1, parts[-1].row_ns)
    wake_at = (
        slot.limit - min((slot.limit - slot.claimed) // 2, tuning.WAKE_NS // last_ns) if state.queued_rows else None
    )
    return e.Feed(
        slot.number, forget, tuple(functions), tuple(ready), slot.limit, wake_at, tuple(manners), _streams(slot, parts)
    )


def _streams(slot: Slot, parts: list[Fed]) -> tuple[Place, ...]:
    """Where items are whose output their clients want."""
    if not slot.is_streaming:
        return ()
    return tuple(
        [
            Place(fed.first, fed.hi - fed.lo, fed.attempt.number, fed.lo)
            for fed in parts
            if fed.attempt.options.stream_output
        ]
    )


def _pages(key: int, expected_ns: int, work: PagedRows, lo: int, hi: int) -> Pages:
    """Whole pages that hold the rows, cut out without copying."""
    begin = (lo - work.first) // work.page_rows
    end = -(-(hi - work.first) // work.page_rows)
    skip = lo - work.first - begin * work.page_rows
    offsets = memoryview(work.offsets).cast("B")[4 * begin : 4 * end + 4]
    table = offsets.cast("I")
    return Pages(key, expected_ns, hi - lo, skip, work.page_rows, offsets, memoryview(work.data)[table[0] : table[-1]])
