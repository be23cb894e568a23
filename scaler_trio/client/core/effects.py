"""What a client's session wants done: the core's output."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from scaler_protocol import Message
from scaler_protocol.fields import Row
from scaler_protocol.messages import ArrayResults
from scaler_protocol.values import frozen
from scaler_trio.ranges import Range


@frozen
class Send:
    """Send these, in this order."""

    messages: Sequence[Message]


@frozen
class TasksDone:
    """Single tasks have ended: (owner, row of ``TaskResults``)."""

    results: Sequence[tuple[Any, Row]]


@frozen
class Profiled:
    """What tasks used whose results follow: (owner, row of ``TaskResults.profiles``)."""

    profiles: Sequence[tuple[Any, Row]]


@frozen
class NodesDone:
    """Nodes of a graph have ended: rows of ``TaskResults``."""

    owner: Any
    rows: Sequence[Row]


@frozen
class SliceDone:
    """Rows of an array have ended: those of ``message`` that lie in ``pieces``, all of them for the first time."""

    owner: Any
    message: ArrayResults
    pieces: Sequence[Range]


@frozen
class ArrayProgress:
    """So many bytes of the array's rows have not been sent yet: its producer may go on, or wait."""

    owner: Any
    unsent_bytes: int


@frozen
class ArrayDone:
    """Every row of the array has ended (or was cancelled before it was sent).

    Two threads may carry out effects at one time, so this may come before the last ``SliceDone``: it says how many.
    """

    owner: Any
    slices: int


@frozen
class Dropped:
    """The client gave up; these owners get no results any more."""

    owners: Sequence[Any]
    reason: str = "the task was cancelled by clear()"


@frozen
class Known:
    """The connection is in use; objects are stored at this address ("" = nowhere)."""

    object_address: str
    epoch: int


@frozen
class Noticed:
    """What happened to tasks on the way: rows of ``Notices``."""

    rows: Sequence[Row]


@frozen
class Explained:
    """The answer to ``Asked``."""

    request: int
    text: str


@frozen
class Printed:
    """What tasks printed: (label, 1 = stdout or 2 = stderr, bytes before these that were left out, lines)."""

    rows: Sequence[Row]
    left_out: int  # bytes of whatever tasks before all these


@frozen
class Violated:
    """The scheduler broke the protocol: no use in going on."""

    reason: str


@frozen
class ShutDown:
    """The cluster ends, and nobody shall come back."""

    reason: str


@frozen
class ShutdownRefused:
    """The cluster does not end."""

    text: str


Effect: TypeAlias = (
    ShutDown
    | ShutdownRefused
    | Send
    | TasksDone
    | Profiled
    | NodesDone
    | SliceDone
    | ArrayProgress
    | ArrayDone
    | Dropped
    | Known
    | Noticed
    | Explained
    | Printed
    | Violated
)
