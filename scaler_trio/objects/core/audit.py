"""The invariants of the object index, each with the name that a failing test prints."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from scaler_protocol.ids import ObjectId
from scaler_trio.objects.core.states import Record, State, Work

if TYPE_CHECKING:
    from scaler_trio.objects.core.index import ObjectIndex

_IN_MEMORY = {State.ALLOCATING, State.RESERVED, State.SEALED, State.SPILLING}


def contradictions(index: "ObjectIndex") -> list[str]:
    """The names of all invariants that do not hold."""
    checks = {**_room(index), **_objects(index)}
    return [name for name, holds in checks.items() if not holds]


def _room(index: "ObjectIndex") -> dict[str, bool]:
    held = index._held
    room, records = held.room, held.records
    used = {r.segment for r in records.values() if r.segment is not None}
    disk = sum(r.size_bytes for r in records.values() if r.on_disk or r.object_id in held.spilling)
    return {
        "a segment is used twice": len(used) == sum(r.segment is not None for r in records.values()),
        "a kept segment is in use": used.isdisjoint(room.kept),
        "a segment belongs to nobody": used | room.kept.keys() == room.segments.keys(),
        "memory is counted wrongly": room.memory_bytes == sum(room.segments.values()),
        "memory is over its limit": room.memory_bytes <= room.limits.memory_bytes,
        "kept memory is counted wrongly": room.kept_bytes == sum(room.segments[s] for s in room.kept),
        "kept memory is over its share": room.kept_bytes <= room.limits.kept_share * room.limits.memory_bytes,
        "too many segments": len(room.segments) <= room.limits.segments,
        "disk is counted wrongly": room.disk_bytes == disk,
        "disk is over its limit": room.disk_bytes <= room.limits.disk_bytes,
        "a segment is too small": all(
            r.size_bytes <= room.segments[r.segment] for r in records.values() if r.segment is not None
        ),
    }


def _objects(index: "ObjectIndex") -> dict[str, bool]:
    held, records = index._held, index._held.records
    counted: dict[ObjectId, int] = {}
    for leased in index._leases.values():
        for object_id, count in leased.items():
            counted[object_id] = counted.get(object_id, 0) + count
    condemned = [r for r in records.values() if r.state is State.CONDEMNED]
    on_disk = [r for r in records.values() if r.state is State.SPILLED]
    unadopted = {object_id for mine in index._unadopted.values() for object_id in mine}
    return {
        "leases are counted wrongly": all(r.leases == counted.get(r.object_id, 0) for r in records.values()),
        "a lease of nothing": counted.keys() <= records.keys(),
        "the idle ones are others": held.idle.keys()
        == _ids(records, lambda r: r.state is State.SEALED and not r.leases),
        "the waiting ones are others": held.waiting.keys() == _ids(records, lambda r: r.state is State.WAITING),
        "the spilling ones are others": held.spilling.keys() == _ids(records, lambda r: r.work is Work.SPILLING),
        "an object in memory has no segment": all(
            r.segment is not None for r in records.values() if r.state in _IN_MEMORY
        ),
        "an object on disk has no file, or a segment": all(r.segment is None and r.on_disk for r in on_disk),
        "a deleted object is used by nobody": all(r.leases or r.work is not Work.NONE for r in condemned),
        "somebody waits without end": all(r.deadline is not None for r in held.waiting.values()),
        "an unadopted object does not exist, or is adopted": all(
            object_id in records and not records[object_id].adopted for object_id in unadopted
        ),
        "an empty entry": all(index._leases.values()) and all(index._unadopted.values()),
    }


def _ids(records: dict[ObjectId, Record], want: Callable[[Record], bool]) -> set[ObjectId]:
    return {object_id for object_id, record in records.items() if want(record)}
