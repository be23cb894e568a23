"""What several messages speak of: roles, outcomes, reasons, and what a client may ask of a task."""

from enum import IntEnum
from typing import Final

import attrs

from scaler_protocol import limits
from scaler_protocol.fields import INTEGER, NAME, Row, bounded, rows

PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1


class Role(IntEnum):
    """What a peer is; it decides which messages it may send."""

    CLIENT = 1
    WORKER = 2
    MANAGER = 3
    SCHEDULER = 4
    OBJECTS = 5
    MONITOR = 6
    PROCESSOR = 7  # towards the object storage server only


class Outcome(IntEnum):
    """How an item ended. For ``VALUE``, ``ERROR`` and ``RETRY`` the payload is a pickle, else UTF-8 text for people."""

    VALUE = 0
    ERROR = 1  # the task raised: the payload is the pickled exception with its remote traceback
    CRASHED = 2  # its processor died, more often than the task's crash limit allows
    CANCELLED = 3
    UNRUNNABLE = 4  # no connected or obtainable worker fits
    UPSTREAM = 5  # a node that it needs failed; the payload is that node's number in ASCII
    TIMED_OUT = 6
    LOST = 7  # an object that it needs is gone and cannot be made again
    RETRY = 8  # from workers only: as ERROR, and the options allow that it is run again
    TOO_DEEP = 9  # a task of a task of a task …, deeper than the limit of nesting


class ReturnReason(IntEnum):
    """Why a worker gives an unstarted item back."""

    RECALLED = 0
    CANCELLED = 1
    NEIGHBOUR_CRASHED = 2  # it waited behind an item whose processor died
    DRAINING = 3
    NEIGHBOUR_WAITS = 4  # it waited behind an item that waits for tasks of its own, which go before


class NoticeKind(IntEnum):
    """What a notice tells the client."""

    RETRY = 1  # an item is run again, and why
    WARNING = 2


class EventKind(IntEnum):
    """What an event that monitors are told of is about."""

    CAPACITY = 0  # a worker manager was asked for another number of units, and why
    MANAGER = 1  # one came, went, or says that it cannot start units
    WORKER = 2  # one came, went or leaves
    CLIENT = 3  # one came or went


@attrs.frozen  # compared and hashed for each batch of tasks
class TaskOptions:
    """What a client may ask of a task, an array or a graph; the defaults ask for nothing."""

    priority: int = bounded(minimum=-(1 << 31), maximum=(1 << 31) - 1, default=0)
    #: (name, amount), amount -1 = just the name
    capabilities: tuple[Row, ...] = rows(NAME, INTEGER, at_most=limits.CAPABILITIES, default=())
    timeout_s: float = bounded(minimum=0, default=0.0)  # of running time; 0 = none
    max_retries: int = bounded(minimum=0, maximum=1 << 16, default=0)  # runs after the first that raised
    crash_limit: int = bounded(minimum=1, maximum=1 << 16, default=3)  # deaths of its processor until it fails
    profiling: bool = False  # of single tasks and nodes
    stream_output: bool = False
    name: str = bounded(maximum=limits.NAME_BYTES, default="")
    #: pickled tuple of the exception classes after which it is retried, b"" = any ``Exception``
    retry_on: bytes = bounded(maximum=limits.RETRY_ON_BYTES, default=b"")


DEFAULT_OPTIONS: Final = TaskOptions()
