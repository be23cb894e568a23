"""The life of a stored object as a table: for every state and everything that can happen to it, what is done."""

from enum import Enum
from typing import Final

from attrs import define

from scaler_protocol.ids import ObjectId
from scaler_trio.objects.core.events import Connection, SegmentNumber


class State(Enum):
    """Where an object is."""

    WAITING = "waiting for room"
    ALLOCATING = "getting its segment"
    RESERVED = "being written"
    SEALED = "in memory"
    SPILLING = "being copied to disk"  # still read from memory
    SPILLED = "on disk"  # read from its file; the kernel's page cache is what brings it back to memory
    CONDEMNED = "deleted, still in use"  # by readers, or by work in progress on its segment


class Verb(Enum):
    """What can happen to an object."""

    RESERVE = "reserve"
    CREATED = "segment created"
    FAILED = "segment failed"
    SEAL = "seal"
    FETCH = "fetch"
    END_LEASE = "end of lease"
    ADOPT = "adopt"
    DELETE = "delete"
    WRITER_LOST = "writer lost"
    SPILL_DONE = "spill done"
    SPILL_FAILED = "spill failed"
    OVERDUE = "deadline"


class Act(Enum):
    """What is done about it."""

    IGNORE = "-"
    BUG = "internal error"
    OFFEND = "close the peer"
    MISSING = "answer missing"
    GRANT = "grant"
    REFUSE = "refuse"
    FORGET = "forget"
    SEAL = "seal"
    LEASE = "serve, lease"
    UNLEASE = "end the lease"
    ADOPT = "adopt"
    ORPHAN = "start the grace period"
    REMOVE = "remove, or condemn while leased"
    CONDEMN = "condemn"
    SPILLED = "move to disk unless leased"
    KEEP = "keep in memory"
    FINISH = "remove when unused"


V, A = Verb, Act

_UNWRITTEN: Final = {
    V.RESERVE: A.OFFEND,
    V.CREATED: A.BUG,
    V.FAILED: A.BUG,
    V.SEAL: A.OFFEND,
    V.FETCH: A.MISSING,
    V.END_LEASE: A.IGNORE,
    V.ADOPT: A.IGNORE,
    V.DELETE: A.IGNORE,  # the scheduler cannot know it yet
    V.WRITER_LOST: A.FORGET,
    V.SPILL_DONE: A.BUG,
    V.SPILL_FAILED: A.BUG,
    V.OVERDUE: A.BUG,
}
_STORED: Final = {
    V.RESERVE: A.OFFEND,
    V.CREATED: A.BUG,
    V.FAILED: A.BUG,
    V.SEAL: A.OFFEND,
    V.FETCH: A.LEASE,
    V.END_LEASE: A.UNLEASE,
    V.ADOPT: A.ADOPT,
    V.DELETE: A.REMOVE,
    V.WRITER_LOST: A.ORPHAN,
    V.SPILL_DONE: A.BUG,
    V.SPILL_FAILED: A.BUG,
    V.OVERDUE: A.REMOVE,
}

TRANSITIONS: Final[dict[State, dict[Verb, Act]]] = {
    State.WAITING: _UNWRITTEN | {V.OVERDUE: A.REFUSE},
    State.ALLOCATING: _UNWRITTEN | {V.CREATED: A.GRANT, V.FAILED: A.REFUSE, V.WRITER_LOST: A.CONDEMN},
    State.RESERVED: _UNWRITTEN | {V.SEAL: A.SEAL},
    State.SEALED: _STORED,
    State.SPILLING: _STORED
    | {V.DELETE: A.CONDEMN, V.OVERDUE: A.CONDEMN, V.SPILL_DONE: A.SPILLED, V.SPILL_FAILED: A.KEEP},
    State.SPILLED: _STORED,
    State.CONDEMNED: {
        V.RESERVE: A.OFFEND,
        V.CREATED: A.FINISH,
        V.FAILED: A.FORGET,
        V.SEAL: A.OFFEND,
        V.FETCH: A.MISSING,
        V.END_LEASE: A.UNLEASE,
        V.ADOPT: A.IGNORE,
        V.DELETE: A.IGNORE,
        V.WRITER_LOST: A.IGNORE,
        V.SPILL_DONE: A.FINISH,
        V.SPILL_FAILED: A.FINISH,
        V.OVERDUE: A.BUG,
    },
}


class Work(Enum):
    """What the shell is doing to an object's segment; it may not be given away before."""

    NONE = "none"
    CREATING = "creating"
    SPILLING = "spilling"


@define(eq=False)
class Record:
    """One object; changed only by the index."""

    object_id: ObjectId
    #: Who reserves it and may seal it.
    writer: Connection
    size_bytes: int
    state: State = State.WAITING
    #: Where it is in memory; None in WAITING and SPILLED, and when condemned on disk.
    segment: SegmentNumber | None = None
    #: Whether a file on disk belongs to it.
    on_disk: bool = False
    work: Work = Work.NONE
    #: Whether a process may still have the segment open that will not tell when it has finished: never recycle it.
    may_be_open: bool = False
    #: Leases of all connections together.
    leases: int = 0
    adopted: bool = False
    #: When ``Verb.OVERDUE`` happens: end of the wait for room, or of the grace after the writer's connection ended.
    deadline: float | None = None
    #: How long it may wait for room, and since when it has.
    patience_s: float = 0.0
    since: float = 0.0
