"""What is stored, where it is, who reads it, and who waits for room: the pure core of the object storage server.

How to think about this: an object's life is the table in ``states``; this class carries the acts out and keeps the
accounts. After every event the first of those who wait for room is served as far as there is any: from a kept segment,
from a new one, or after the least recently used objects have been spilled. Who waits longest is served first, whatever
its size, so that a large object is not starved by small ones.

Invariants (``check_invariants``): every byte of memory is in one segment, of one object or kept; what is leased is
never spilled, recycled or forgotten; a segment whose writer or reader vanished without saying that it has finished is
never recycled, as that process may still have it open.
"""

from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from scaler_protocol import ErrorCode
from scaler_protocol.ids import ObjectId, short
from scaler_trio.objects.core import events as e
from scaler_trio.objects.core.audit import contradictions
from scaler_trio.objects.core.events import Connection, Effect, Event
from scaler_trio.objects.core.holdings import Holdings
from scaler_trio.objects.core.room import RoomLimits, capacity_for, megabytes
from scaler_trio.objects.core.states import TRANSITIONS, Act, Record, State, Verb, Work

ORPHAN_GRACE_S: Final = 30.0
"""An object that the scheduler has not adopted is deleted this long after the connection of its writer ended."""
SPILLING_PATIENCE_S: Final = 60.0
"""Who waits for room is not refused before this while objects are on their way to disk: room is about to come."""
WAITING_PER_CONNECTION: Final = 256
"""Reservations of one peer that wait for room; a peer writes one or a few objects at a time."""


class InternalError(Exception):
    """A bug of ours: something happened to an object that cannot; the text tells the object's story."""


@frozen
class Usage:
    """How full the store is."""

    objects: int
    #: Memory that holds objects, and memory kept for the next ones.
    memory_bytes: int
    kept_bytes: int
    disk_bytes: int
    leases: int
    waiting: int


class ObjectIndex:
    """``handle`` is the only thing that changes it; where objects are is kept in its ``Holdings``."""

    def __init__(self, room_limits: RoomLimits) -> None:
        self._held = Holdings(room_limits, self._disown)
        self._leases: dict[Connection, dict[ObjectId, int]] = {}
        self._unadopted: dict[Connection, dict[ObjectId, Record]] = {}  # by writer, from Reserve to Adopt

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event, and every deadline that has passed; say what is to be done, in this order."""
        held = self._held
        effects: list[Effect] = []
        held.effects, held.now = effects, now
        for record in held.pop_overdue():
            self._apply(Verb.OVERDUE, record.object_id, e.TimePassed(), None)
        held.end_periods()
        _ON_EVENT[type(event)](self, event)
        held.serve_waiting()
        return effects

    def next_deadline(self) -> float | None:
        """When ``TimePassed`` is due, or None."""
        return self._held.next_deadline()

    def usage(self) -> Usage:
        """A snapshot."""
        held, room = self._held, self._held.room
        leases = sum(sum(counts.values()) for counts in self._leases.values())
        return Usage(len(held.records), room.used_bytes, room.kept_bytes, room.disk_bytes, leases, len(held.waiting))

    def state_of(self, object_id: ObjectId) -> State | None:
        """Where an object is, or None."""
        record = self._held.records.get(object_id)
        return None if record is None else record.state

    def story(self, object_id: ObjectId) -> str:
        """What happened to an object, as far as it is remembered, one line each."""
        lines = [f"{when:.3f} {what}" for when, whose, what in self._held.story if whose == object_id]
        record = self._held.records.get(object_id)
        lines.append(f"now: {record!r}" if record else "now: unknown")
        return "\n".join(lines)

    # ------------------------------------------------------------------------------------------------------- events

    def _on_reserve(self, event: e.Reserve) -> None:
        if event.object_id in self._held.records:
            self._apply(Verb.RESERVE, event.object_id, event, event.connection)
            return
        bound = self._held.room.limits
        if capacity_for(event.size_bytes) > bound.memory_bytes:
            text = (
                f"it is larger than the memory for objects ({megabytes(bound.memory_bytes)}): split it, "
                "or raise memory_bytes of the object storage server"
            )
            self._held.effects.append(
                e.Refuse(event.connection, event.object_id, _about(event.object_id, event.size_bytes, text))
            )
            return
        mine = self._unadopted.setdefault(event.connection, {})
        if len(mine) >= WAITING_PER_CONNECTION:
            waiting = sum(record.state is State.WAITING for record in mine.values())
            if waiting >= WAITING_PER_CONNECTION:
                text = f"{waiting} reservations of this connection wait for room already; wait for their answers first"
                self._held.effects.append(e.Offend(event.connection, ErrorCode.LIMIT, text))
                return
        record = Record(event.object_id, event.connection, event.size_bytes)
        record.patience_s, record.since = event.patience_s, self._held.now
        self._held.records[event.object_id] = mine[event.object_id] = self._held.waiting[event.object_id] = record
        self._held.note(event.object_id, f"reserve {event.size_bytes} bytes by connection {event.connection}")

    def _on_objects(self, event: e.Adopt | e.Delete) -> None:
        verb = Verb.ADOPT if type(event) is e.Adopt else Verb.DELETE
        for object_id in event.objects:
            self._apply(verb, object_id, event, None)

    def _on_end_leases(self, event: e.EndLeases) -> None:
        counts = self._leases.get(event.connection, {})
        for object_id in event.objects:
            count = counts.get(object_id, 0)
            if count > 1:
                counts[object_id] = count - 1
            elif count == 1:
                del counts[object_id]
            else:
                continue  # it says so twice: its connection was lost in between, and the lease with it
            self._apply(Verb.END_LEASE, object_id, event, event.connection)
        if not counts:
            self._leases.pop(event.connection, None)

    def _on_connection_lost(self, event: e.ConnectionLost) -> None:
        for object_id, count in self._leases.pop(event.connection, {}).items():
            record = self._held.records[object_id]
            record.may_be_open = record.may_be_open or record.segment is not None
            for _ in range(count):
                self._apply(Verb.END_LEASE, object_id, event, event.connection)
        for object_id in list(self._unadopted.get(event.connection, {})):
            self._apply(Verb.WRITER_LOST, object_id, event, event.connection)
        self._unadopted.pop(event.connection, None)

    def _on_abandon(self, event: e.Abandon) -> None:
        if event.object_id in self._unadopted.get(event.connection, {}):
            self._apply(Verb.WRITER_LOST, event.object_id, event, event.connection)

    def _on_about_one(self, event: Any) -> None:
        self._apply(_VERB[type(event)], event.object_id, event, getattr(event, "connection", None))

    def _on_time_passed(self, event: e.TimePassed) -> None:
        """Deadlines have been looked at already."""

    def _apply(self, verb: Verb, object_id: ObjectId, event: object, connection: Connection | None) -> None:
        record = self._held.records.get(object_id)
        if record is None:
            if verb is Verb.FETCH and connection is not None:
                self._held.effects.append(e.NotThere(connection, object_id))
            elif verb is Verb.SEAL and connection is not None:
                self._offend(connection, object_id, "sealed an object that it has not reserved")
            return
        act = TRANSITIONS[record.state][verb]
        if act is not Act.IGNORE:
            self._held.note(object_id, f"{verb.value} while {record.state.value}: {act.value}")
            _ON_ACT[act](self, record, event, connection)

    # --------------------------------------------------------------------------------------------------------- acts

    def _act_bug(self, record: Record, event: object, connection: Connection | None) -> None:
        raise InternalError(
            f"{event!r} is impossible for an object {record.state.value}:\n{self.story(record.object_id)}"
        )

    def _act_offend(self, record: Record, event: object, connection: Connection | None) -> None:
        assert connection is not None
        did = "sealed" if type(event) is e.Seal else "reserved"
        self._offend(connection, record.object_id, f"{did} an object that is {record.state.value}")

    def _act_missing(self, record: Record, event: object, connection: Connection | None) -> None:
        assert connection is not None
        self._held.effects.append(e.NotThere(connection, record.object_id))

    def _act_grant(self, record: Record, event: object, connection: Connection | None) -> None:
        self._held.grant(record)

    def _act_refuse(self, record: Record, event: object, connection: Connection | None) -> None:
        held = self._held
        if type(event) is e.SegmentFailed:
            text = f"no memory for it: {event.reason}; {held.describe_usage()}"
        else:
            waited_s = held.now - record.since
            if held.spilling and waited_s < SPILLING_PATIENCE_S:
                held.set_deadline(record, record.since + SPILLING_PATIENCE_S)
                return
            text = f"no room within {waited_s:.0f} s: {held.describe_usage()}; {held.room.limits.advice}"
        self._held.effects.append(
            e.Refuse(record.writer, record.object_id, _about(record.object_id, record.size_bytes, text))
        )
        self._act_forget(record, event, connection)

    def _act_forget(self, record: Record, event: object, connection: Connection | None) -> None:
        record.may_be_open = True  # by a writer that has not finished
        self._held.release(record)

    def _act_seal(self, record: Record, event: object, connection: Connection | None) -> None:
        assert connection is not None
        if connection != record.writer:
            self._offend(connection, record.object_id, "sealed an object that another connection reserved")
            return
        record.state = State.SEALED
        self._held.idle[record.object_id] = record
        self._held.effects.append(e.Acknowledge(connection, record.object_id))

    def _act_lease(self, record: Record, event: object, connection: Connection | None) -> None:
        assert connection is not None
        counts = self._leases.setdefault(connection, {})
        counts[record.object_id] = counts.get(record.object_id, 0) + 1
        record.leases += 1
        self._held.idle.pop(record.object_id, None)
        segment = record.segment if record.state is not State.SPILLED else None
        self._held.effects.append(e.Serve(connection, record.object_id, record.size_bytes, segment))

    def _act_unlease(self, record: Record, event: object, connection: Connection | None) -> None:
        record.leases -= 1
        if record.leases:
            return
        if record.state is State.SEALED:
            self._held.idle[record.object_id] = record
        elif record.state is State.CONDEMNED and record.work is Work.NONE:
            self._held.release(record)

    def _act_adopt(self, record: Record, event: object, connection: Connection | None) -> None:
        record.adopted, record.deadline = True, None
        self._disown(record)

    def _act_orphan(self, record: Record, event: object, connection: Connection | None) -> None:
        self._held.set_deadline(record, self._held.now + ORPHAN_GRACE_S)

    def _act_remove(self, record: Record, event: object, connection: Connection | None) -> None:
        if record.leases:
            self._act_condemn(record, event, connection)
        else:
            self._held.release(record)

    def _act_condemn(self, record: Record, event: object, connection: Connection | None) -> None:
        record.state, record.deadline = State.CONDEMNED, None
        self._disown(record)

    def _act_spilled(self, record: Record, event: e.SpillDone, connection: Connection | None) -> None:
        held = self._held
        held.end_spill(record, event)
        if record.leases:  # somebody began to read it meanwhile: it is not the least recently used any more
            record.state = State.SEALED
            held.drop_file(record)
        else:
            record.state = State.SPILLED
            held.release_segment(record)

    def _act_keep(self, record: Record, event: e.SpillFailed, connection: Connection | None) -> None:
        self._held.end_spill(record, event)
        record.state = State.SEALED
        if not record.leases:
            self._held.idle[record.object_id] = record

    def _act_finish(self, record: Record, event: object, connection: Connection | None) -> None:
        held = self._held
        if isinstance(event, e.SpillDone | e.SpillFailed):
            held.end_spill(record, event)
            if record.on_disk:
                held.drop_file(record)
        record.work = Work.NONE
        if not record.leases:
            held.release(record)

    # ------------------------------------------------------------------------------------------------------- inside

    def _disown(self, record: Record) -> None:
        mine = self._unadopted.get(record.writer)
        if mine is not None:
            mine.pop(record.object_id, None)
            if not mine:
                del self._unadopted[record.writer]

    def _offend(self, connection: Connection, object_id: ObjectId, what: str) -> None:
        self._held.effects.append(e.Offend(connection, ErrorCode.OUT_OF_ORDER, f"{what} ({short(object_id)})"))

    def check_invariants(self) -> None:
        """Raise ``InternalError`` when the accounts do not agree; walks over everything, for tests."""
        broken = contradictions(self)
        if broken:
            last = list(self._held.story)[-5:]
            raise InternalError(f"the object index contradicts itself: {', '.join(broken)}; last: {last}")


def _about(object_id: ObjectId, size_bytes: int, text: str) -> str:
    return f"object {short(object_id)} of {megabytes(size_bytes)}: {text}"


_VERB: Final = {
    e.SegmentCreated: Verb.CREATED,
    e.SegmentFailed: Verb.FAILED,
    e.Seal: Verb.SEAL,
    e.Fetch: Verb.FETCH,
    e.SpillDone: Verb.SPILL_DONE,
    e.SpillFailed: Verb.SPILL_FAILED,
}

_ON_EVENT: Final[dict[type, Callable[[ObjectIndex, Any], None]]] = {
    e.Reserve: ObjectIndex._on_reserve,
    e.Adopt: ObjectIndex._on_objects,
    e.Delete: ObjectIndex._on_objects,
    e.EndLeases: ObjectIndex._on_end_leases,
    e.ConnectionLost: ObjectIndex._on_connection_lost,
    e.Abandon: ObjectIndex._on_abandon,
    e.TimePassed: ObjectIndex._on_time_passed,
    **dict.fromkeys(_VERB, ObjectIndex._on_about_one),
}

_ON_ACT: Final[dict[Act, Callable[[ObjectIndex, Record, Any, Connection | None], None]]] = {
    Act.BUG: ObjectIndex._act_bug,
    Act.OFFEND: ObjectIndex._act_offend,
    Act.MISSING: ObjectIndex._act_missing,
    Act.GRANT: ObjectIndex._act_grant,
    Act.REFUSE: ObjectIndex._act_refuse,
    Act.FORGET: ObjectIndex._act_forget,
    Act.SEAL: ObjectIndex._act_seal,
    Act.LEASE: ObjectIndex._act_lease,
    Act.UNLEASE: ObjectIndex._act_unlease,
    Act.ADOPT: ObjectIndex._act_adopt,
    Act.ORPHAN: ObjectIndex._act_orphan,
    Act.REMOVE: ObjectIndex._act_remove,
    Act.CONDEMN: ObjectIndex._act_condemn,
    Act.SPILLED: ObjectIndex._act_spilled,
    Act.KEEP: ObjectIndex._act_keep,
    Act.FINISH: ObjectIndex._act_finish,
}
