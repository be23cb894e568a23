"""What can happen to a client's session: the core's input."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from attrs import field, frozen

from scaler_protocol import Message
from scaler_protocol.messages import TaskOptions


@frozen(eq=False)
class Function:
    """A pickled function; the core numbers it when it is sent. The same object is sent once per connection."""

    name: str
    payload: bytes = field(repr=False)


TaskRow: TypeAlias = tuple[int, Function, bytes, tuple[bytes, ...], TaskOptions, Any]
"""A single task: number, function, payload, objects that it reads, options, owner.

The owner is whom the result is for, opaque to the core. A plain tuple, as there is one for every call of ``submit``.
"""


class NodeRow(NamedTuple):
    """A node of a graph."""

    number: int
    function: Function
    payload: bytes
    objects: tuple[bytes, ...]
    options: TaskOptions
    inputs: tuple[int, ...]  # numbers of the nodes whose results it takes


@frozen
class Connected:
    """The handshake is done, with a scheduler of this epoch."""

    epoch: int


@frozen
class Disconnected:
    """The connection is gone."""

    reason: str


@frozen
class Received:
    """Messages came."""

    messages: Sequence[Message]


@frozen
class Submitted:
    """Calls of ``submit``, since the last time."""

    rows: Sequence[TaskRow]


@frozen
class GraphOpened:
    """A graph of these functions begins; ``owner`` gets results of ``targets``, and what else is told of its nodes."""

    number: int
    functions: frozenset[Function]
    targets: tuple[int, ...]
    owner: Any


@frozen
class NodesAdded:
    """The next nodes of a graph, each after those that it needs."""

    number: int
    nodes: Sequence[NodeRow]
    is_last: bool


@frozen
class ArrayOpened:
    """A call of ``map`` begins; ``count`` -1 = not known yet."""

    number: int
    function: Function
    options: TaskOptions
    count: int
    owner: Any


@frozen
class BlockAdded:
    """The next rows of an array, pickled; ``void`` and ``objects`` count rows from the block's first."""

    number: int
    count: int
    page_rows: int
    void: tuple[int, ...]
    objects: tuple[tuple[int, tuple[bytes, ...]], ...]
    offsets: bytes = field(repr=False)
    data: bytes = field(repr=False)


@frozen
class ArrayEnded:
    """All rows of the array were added."""

    number: int


@frozen
class TasksCancelled:
    """Nobody wants these any more: single tasks, graphs or arrays, by number.

    A single task or a graph is forgotten at once, and its late results are dropped. An array takes no more rows, and
    ends when all rows that were sent have ended in one way or another.
    """

    numbers: Sequence[int]


@frozen
class ObjectsHeld:
    """The client has written these objects and keeps them: (object, size in bytes)."""

    rows: Sequence[tuple[bytes, int]]


@frozen
class ObjectsReleased:
    """The client needs these objects no longer."""

    objects: Sequence[bytes]


@frozen
class Asked:
    """Somebody wants to know why a task is not done yet; ``request`` is for the answer."""

    request: int
    number: int


@frozen
class Tick:
    """The deadline has come, or there may be room in the outbox again."""


@frozen
class GivenUp:
    """These are cancelled, and whoever waits for them is told why."""

    numbers: Sequence[int]
    reason: str


@frozen
class Cleared:
    """The client wants nothing any more of what it has submitted and stored."""


@frozen
class ShutdownAsked:
    """The user wants the end of the cluster."""


@frozen
class Abandoned:
    """The client gives up: it was closed, or the scheduler did not come back. Final."""


Event: TypeAlias = (
    Connected
    | Disconnected
    | Received
    | Submitted
    | GraphOpened
    | NodesAdded
    | ArrayOpened
    | BlockAdded
    | ArrayEnded
    | TasksCancelled
    | ObjectsHeld
    | ObjectsReleased
    | Asked
    | Tick
    | GivenUp
    | Cleared
    | Abandoned
    | ShutdownAsked
)
