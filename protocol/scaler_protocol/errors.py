"""What goes wrong on the wire, by whose fault it is. Codes are never reused."""

from enum import IntEnum


class ErrorCode(IntEnum):
    """The reason in an ``Error`` message. A receiver treats an unknown code as ``UNSPECIFIED``."""

    UNSPECIFIED = 0
    BAD_MAGIC = 1  # not this protocol at all
    BAD_FRAME = 2  # lengths that contradict each other or the limits
    TOO_LARGE = 3  # over a limit
    BAD_BODY = 4  # not msgpack, or not the message it says it is
    UNKNOWN_KIND = 5
    OUT_OF_ORDER = 6  # a message that is not legal now, or not from this role
    VERSION = 7  # no common protocol version
    AUTHENTICATION = 8  # missing or wrong token
    NOT_YOURS = 9  # a row about another peer's task, attempt or object
    LIMIT = 10  # too many peers, arrays, functions, …
    SUPERSEDED = 11  # a newer connection of the same identity took over
    SHUTTING_DOWN = 12
    SLOW_PEER = 13  # it did not read what it asked for
    SILENT_PEER = 14  # its heartbeat is overdue
    EPOCH = 15  # the peer knows a newer scheduler
    INTERNAL = 16  # our own fault


class ProtocolError(Exception):
    """The rules of the protocol were broken; raised only as one of its two subclasses."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} [{self.code.name}]"


class LocalProtocolError(ProtocolError):
    """Our own caller asked for something illegal; nothing was sent. The peer's fault is ``RemoteProtocolError``."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something illegal; the connection is of no further use, and ``code`` is what to answer it."""
