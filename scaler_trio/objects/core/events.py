"""What the object index is told (events) and what it wants done (effects): frozen values without behaviour."""

from typing import TypeAlias

from scaler_protocol import ErrorCode
from scaler_protocol.ids import ObjectId
from scaler_protocol.values import frozen

Connection: TypeAlias = int
"""A peer's connection, numbered by the shell; never used again within a process."""

SegmentNumber: TypeAlias = int
"""A segment, numbered by the index; never used again within a process."""

# --------------------------------------------------------------------------------------------------------------- events


@frozen
class Reserve:
    """A peer wants room; ``patience_s`` is how long it is made to wait when there is none."""

    connection: Connection
    object_id: ObjectId
    size_bytes: int
    patience_s: float


@frozen
class SegmentCreated:
    """``CreateSegment`` for this object was carried out."""

    object_id: ObjectId


@frozen
class SegmentFailed:
    """``CreateSegment`` for this object failed: the machine has no memory or no file descriptor left."""

    object_id: ObjectId
    reason: str


@frozen
class Seal:
    """A peer has written its object completely."""

    connection: Connection
    object_id: ObjectId


@frozen
class Abandon:
    """A peer will not write its object after all."""

    connection: Connection
    object_id: ObjectId


@frozen
class Fetch:
    """A peer wants to read an object; answered by ``Serve``, which begins a lease, or ``NotThere``."""

    connection: Connection
    object_id: ObjectId


@frozen
class EndLeases:
    """A peer reads these no longer, one lease each."""

    connection: Connection
    objects: tuple[ObjectId, ...]


@frozen
class Adopt:
    """The scheduler knows these: their lives no longer depend on the connection of who wrote them."""

    objects: tuple[ObjectId, ...]


@frozen
class Delete:
    """Nobody refers to these any more."""

    objects: tuple[ObjectId, ...]


@frozen
class ConnectionLost:
    """A peer is gone, with its leases and with what it had not finished writing."""

    connection: Connection


@frozen
class SpillDone:
    """``Spill`` was carried out: the object's bytes are on disk."""

    object_id: ObjectId


@frozen
class SpillFailed:
    """``Spill`` failed and left nothing on disk."""

    object_id: ObjectId
    reason: str


@frozen
class TimePassed:
    """Nothing happened but time; due at ``next_deadline()``."""


Event: TypeAlias = (
    Reserve
    | SegmentCreated
    | SegmentFailed
    | Seal
    | Abandon
    | Fetch
    | EndLeases
    | Adopt
    | Delete
    | ConnectionLost
    | SpillDone
    | SpillFailed
    | TimePassed
)

# -------------------------------------------------------------------------------------------------------------- effects


@frozen
class CreateSegment:
    """Make a segment for this object; answer with ``SegmentCreated`` or ``SegmentFailed``."""

    object_id: ObjectId
    segment: SegmentNumber
    capacity_bytes: int


@frozen
class DestroySegment:
    """Give the segment's memory back; nobody reads or writes it."""

    segment: SegmentNumber


@frozen
class Grant:
    """Tell the peer that it may write its object into the segment."""

    connection: Connection
    object_id: ObjectId
    size_bytes: int
    segment: SegmentNumber


@frozen
class Refuse:
    """Tell the peer that there is no room."""

    connection: Connection
    object_id: ObjectId
    text: str


@frozen
class Acknowledge:
    """Tell the peer that its object is stored."""

    connection: Connection
    object_id: ObjectId


@frozen
class Serve:
    """Let the peer read the object: from the segment, or, where that is None, from its file on disk."""

    connection: Connection
    object_id: ObjectId
    size_bytes: int
    segment: SegmentNumber | None


@frozen
class NotThere:
    """Tell the peer that there is no such object."""

    connection: Connection
    object_id: ObjectId


@frozen
class Offend:
    """The peer did what it must not: close its connection with this sentence."""

    connection: Connection
    code: ErrorCode
    text: str


@frozen
class Spill:
    """Copy the segment's first bytes to disk; answer with ``SpillDone`` or ``SpillFailed``."""

    object_id: ObjectId
    segment: SegmentNumber
    size_bytes: int


@frozen
class DeleteFile:
    """Delete the object's file from disk. Who has it open may go on reading."""

    object_id: ObjectId


Effect: TypeAlias = (
    CreateSegment | DestroySegment | Grant | Refuse | Acknowledge | Serve | NotThere | Offend | Spill | DeleteFile
)
