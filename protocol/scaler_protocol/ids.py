"""Identities on the wire: distinct types, so that one cannot be passed for another.

They are made outside this package (it has no randomness); here are their sizes and their checks.
"""

from typing import Final, NewType

SessionId = NewType("SessionId", bytes)
"""One start of one process: 16 random bytes. A process that restarts is somebody else."""

TaskNumber = NewType("TaskNumber", int)
"""A client's own numbering of its tasks, arrays and graph nodes (u64, unique within its session)."""

FunctionNumber = NewType("FunctionNumber", int)
"""A function within one connection: numbered by the client towards the scheduler, by the scheduler towards workers."""

AttemptNumber = NewType("AttemptNumber", int)
"""One assignment of a task or slice to one worker (u64, unique within a scheduler's epoch)."""

ObjectId = NewType("ObjectId", bytes)
"""A stored object: 16 bytes session of who wrote it, 8 bytes big-endian number."""

SESSION_ID_BYTES: Final = 16
OBJECT_ID_BYTES: Final = 24
U64_MAX: Final = (1 << 64) - 1


def object_id(session: SessionId, number: int) -> ObjectId:
    """The id of the ``number``-th object that ``session`` writes."""
    return ObjectId(session + number.to_bytes(8, "big"))


def object_session(object_: ObjectId) -> SessionId:
    """The session that wrote ``object_``."""
    return SessionId(object_[:SESSION_ID_BYTES])


def short(identity: bytes) -> str:
    """The first eight hexadecimal digits, for people: log lines and errors."""
    return identity[:4].hex()
