"""What is held and where, who waits for room, and how room is made: the half of the index that knows of no peers.

The index tells it what has become of an object; it keeps the accounts, and collects what is to be done in ``effects``.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from scaler_protocol.ids import ObjectId
from scaler_trio.objects.core import events as e
from scaler_trio.objects.core.events import Effect, SegmentNumber
from scaler_trio.objects.core.room import KEPT_S, Room, RoomLimits
from scaler_trio.objects.core.states import Record, State, Work

DISK_RETRY_S: Final = 5.0
"""After a write to disk failed nothing is spilled for this long, unless something was deleted from it."""
SPILLS: Final = 64
"""Objects on their way to disk at one time; enough to keep the disk busy."""
STORY_EVENTS: Final = 4096
"""Events remembered for ``story``, over all objects."""


class Holdings:
    """All records, in the orders in which they are looked for. ``effects`` and ``now`` are set before each event."""

    def __init__(self, room_limits: RoomLimits, on_gone: Callable[[Record], None]) -> None:
        self.room = Room(room_limits)
        self.records: dict[ObjectId, Record] = {}
        self.waiting: dict[ObjectId, Record] = {}  # for room; first come, first served
        self.idle: dict[ObjectId, Record] = {}  # sealed, in memory, not leased; least recently used first
        self.spilling: dict[ObjectId, Record] = {}
        self.effects: list[Effect] = []
        self.now = 0.0
        self.story: deque[tuple[float, ObjectId, str]] = deque(maxlen=STORY_EVENTS)
        self._on_gone = on_gone
        self._deadlines: list[tuple[float, ObjectId]] = []  # heap; valid if the record still has that deadline
        self._disk_retry_at: float | None = None

    def note(self, object_id: ObjectId, what: str) -> None:
        """Remember what happened to an object."""
        self.story.append((self.now, object_id, what))

    # -------------------------------------------------------------------------------------------------------- room

    def serve_waiting(self) -> None:
        """Give room to those who wait, the first first, as far as there is any; make some for the next."""
        while self.waiting:
            record = next(iter(self.waiting.values()))
            if not self._place(record):
                self._limit_waiting()
                return
            del self.waiting[record.object_id]
            record.deadline = None

    def grant(self, record: Record) -> None:
        """Its writer may write it."""
        assert record.segment is not None
        record.state, record.work = State.RESERVED, Work.NONE
        self.effects.append(e.Grant(record.writer, record.object_id, record.size_bytes, record.segment))

    def _limit_waiting(self) -> None:
        """Only who really waits gets a deadline: most reservations never cost an entry of the heap."""
        for record in reversed(self.waiting.values()):
            if record.deadline is not None:
                return
            self.set_deadline(record, record.since + record.patience_s)

    def _place(self, record: Record) -> bool:
        """Give the record a segment, or a new one on its way, or start to make room and say False."""
        room = self.room
        while True:
            record.segment = room.recycle(record.size_bytes)
            if record.segment is not None:
                self.grant(record)
                return True
            missing_bytes = room.missing_for(record.size_bytes)
            if not missing_bytes:
                record.segment = segment = room.add(record.size_bytes)
                record.state, record.work = State.ALLOCATING, Work.CREATING
                self.effects.append(e.CreateSegment(record.object_id, segment, room.segments[segment]))
                return True
            kept = room.oldest_kept()
            if kept is not None:
                self._destroy(kept)
            elif room.limits.drops and self.idle:
                victim = next(iter(self.idle.values()))
                self.note(victim.object_id, "dropped for a newer object")
                self.release(victim)
            else:
                self._spill(missing_bytes)
                return False

    def _spill(self, missing_bytes: int) -> None:
        """Begin to move least recently used objects to disk until so much will have become free."""
        room = self.room
        missing_bytes -= sum(map(self.capacity_of, self.spilling.values()))
        while missing_bytes > 0 and self.idle and len(self.spilling) < SPILLS:
            victim = next(iter(self.idle.values()))
            if not room.fits_on_disk(victim.size_bytes):
                return
            assert victim.segment is not None
            del self.idle[victim.object_id]
            self.spilling[victim.object_id] = victim
            victim.state, victim.work = State.SPILLING, Work.SPILLING
            room.disk_bytes += victim.size_bytes
            missing_bytes -= self.capacity_of(victim)
            self.note(victim.object_id, "spill")
            self.effects.append(e.Spill(victim.object_id, victim.segment, victim.size_bytes))

    def end_spill(self, record: Record, event: e.SpillDone | e.SpillFailed) -> None:
        """The work on an object's segment has ended: its file exists, or does not and the disk has a problem."""
        del self.spilling[record.object_id]
        record.work = Work.NONE
        if isinstance(event, e.SpillDone):
            record.on_disk = True
        else:
            self.room.disk_bytes -= record.size_bytes
            self.room.disk_error = event.reason
            self._disk_retry_at = self.now + DISK_RETRY_S

    def capacity_of(self, record: Record) -> int:
        """Memory that the object takes."""
        return 0 if record.segment is None else self.room.segments[record.segment]

    def describe_usage(self) -> str:
        """Usage and limits, for a refusal."""
        idle_bytes = sum(map(self.capacity_of, self.idle.values()))
        return self.room.describe(self.room.used_bytes - idle_bytes)

    # -------------------------------------------------------------------------------------------------- giving back

    def release(self, record: Record) -> None:
        """Forget an object that nobody uses, and give back what it takes."""
        self.release_segment(record)
        if record.on_disk:
            self.drop_file(record)
        record.deadline = None
        del self.records[record.object_id]
        self.idle.pop(record.object_id, None)
        self.waiting.pop(record.object_id, None)
        self._on_gone(record)

    def release_segment(self, record: Record) -> None:
        """Keep the segment for the next object, or give its memory back."""
        segment, record.segment = record.segment, None
        if segment is None:
            return
        if record.may_be_open or not self.room.keep(segment, self.now):
            self._destroy(segment)

    def drop_file(self, record: Record) -> None:
        """Delete the object's file; the disk may have room again."""
        record.on_disk = False
        self.room.disk_bytes -= record.size_bytes
        self.room.disk_error, self._disk_retry_at = "", None
        self.effects.append(e.DeleteFile(record.object_id))

    def _destroy(self, segment: SegmentNumber) -> None:
        self.room.remove(segment)
        self.effects.append(e.DestroySegment(segment))

    # --------------------------------------------------------------------------------------------------------- time

    def set_deadline(self, record: Record, when: float) -> None:
        """Something is to happen to the object then, unless ``record.deadline`` has been changed."""
        record.deadline = when
        heapq.heappush(self._deadlines, (when, record.object_id))

    def pop_overdue(self) -> Iterator[Record]:
        """Records whose deadline has passed; it is taken from them."""
        heap = self._deadlines
        while heap and heap[0][0] <= self.now:
            due, object_id = heapq.heappop(heap)
            if self._is_due(due, object_id):
                record = self.records[object_id]
                record.deadline = None
                yield record

    def end_periods(self) -> None:
        """Try the disk again, and give back what was kept for long enough, when it is time."""
        room = self.room
        if self._disk_retry_at is not None and self._disk_retry_at <= self.now:
            self._disk_retry_at, room.disk_error = None, ""
        while (oldest := room.oldest_kept()) is not None and room.kept[oldest] + KEPT_S <= self.now:
            self._destroy(oldest)

    def next_deadline(self) -> float | None:
        """When the next of all these is due, or None."""
        heap = self._deadlines
        while heap and not self._is_due(*heap[0]):
            heapq.heappop(heap)
        candidates = [heap[0][0]] if heap else []
        if self._disk_retry_at is not None:
            candidates.append(self._disk_retry_at)
        oldest = self.room.oldest_kept()
        if oldest is not None:
            candidates.append(self.room.kept[oldest] + KEPT_S)
        return min(candidates, default=None)

    def _is_due(self, due: float, object_id: ObjectId) -> bool:
        record = self.records.get(object_id)
        return record is not None and record.deadline == due
