"""What a client keeps of one graph: all of its nodes, until the last target has ended."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import define, field

from scaler_protocol import Message
from scaler_protocol.messages import GraphEnd, GraphNodes, TaskOptions
from scaler_trio.client.events import Function, NodeRow
from scaler_trio.ranges import RangeSet

MESSAGE_BYTES: Final = 1024 * 1024
"""Payload in one message, so that others interleave."""

MESSAGE_ROWS: Final = 1024
"""Nodes in one message: while the next one is made, the scheduler takes in this one."""

ROW_BYTES: Final = 32
INPUT_BYTES: Final = 9
"""What a node, and each of its inputs, takes in a message beside its payload, at most."""


@define(eq=False)
class GraphState:
    """One graph; after a lost connection it is sent again from its beginning, unless the scheduler has all of it."""

    number: int
    nodes: tuple[NodeRow, ...]
    open_targets: set[int]  # whose results have not come
    owner: Any
    sent: bool = False  # all of it, on this connection, or the scheduler has it from an earlier one
    nodes_sent: int = 0
    functions: frozenset[Function] = field(init=False)
    _parts: Iterator[GraphNodes] | None = None  # what follows, while it is being sent

    def __attrs_post_init__(self) -> None:
        self.functions = frozenset([node.function for node in self.nodes])

    def is_known(self, known: RangeSet) -> bool:
        """Whether the scheduler, which knows these tasks, has all of it.

        Nodes arrive in order and none starts before all have arrived, so the last one tells; open targets tell whether
        it is the scheduler that had it.
        """
        last = self.nodes[-1].number
        if last in self.open_targets and last not in known:
            return False
        return all(target in known for target in self.open_targets)

    def end(self) -> GraphEnd:
        """What makes it start."""
        return GraphEnd(self.number, tuple(sorted(self.open_targets)))

    @property
    def is_begun(self) -> bool:
        """Whether some of it is sent, and its functions are in use."""
        return self.sent or self._parts is not None

    def begin(self, numbers: Mapping[Function, int]) -> None:
        """It is being sent, with these numbers for its functions."""
        self._parts = self._messages(numbers)

    def take(self) -> Message:
        """The next message of it; after the end it is sent."""
        assert self._parts is not None
        message = next(self._parts, None)
        if message is None:
            self._parts = None
            self.sent = True
            return self.end()
        self.nodes_sent += len(message.rows)
        return message

    def rewind(self) -> None:
        """The connection is gone: half of it is nothing that a scheduler keeps."""
        self._parts = None
        if not self.sent:
            self.nodes_sent = 0

    def _messages(self, numbers: Mapping[Function, int]) -> Iterator[GraphNodes]:
        for part in _cut(self.nodes):
            options: dict[TaskOptions, int] = {}
            rows = [
                (
                    n.number,
                    numbers[n.function],
                    n.payload,
                    n.objects,
                    options.setdefault(n.options, len(options)),
                    n.inputs,
                )
                for n in part
            ]
            yield GraphNodes(self.number, tuple(options), tuple(rows))


def size_bytes(message: Message) -> int:
    """What a message takes in an outbox, about."""
    if type(message) is not GraphNodes:
        return 0
    return sum([ROW_BYTES + len(row[2]) + INPUT_BYTES * len(row[5]) for row in message.rows])


def _cut(nodes: Sequence[NodeRow]) -> Iterator[Sequence[NodeRow]]:
    """The nodes in pieces that fit into messages."""
    start = size = 0
    for i, node in enumerate(nodes):
        if i > start and (i - start == MESSAGE_ROWS or size + len(node.payload) > MESSAGE_BYTES):
            yield nodes[start:i]
            start, size = i, 0
        size += len(node.payload)
    if start < len(nodes):
        yield nodes[start:]
