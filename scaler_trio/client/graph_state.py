"""What a client keeps of one graph: all of its nodes, until the last target has ended."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import define, field

from scaler_protocol import Message, limits
from scaler_protocol.messages import GraphEnd, GraphNodes, TaskOptions
from scaler_trio.client.events import Function, NodeRow
from scaler_trio.ranges import RangeSet

MESSAGE_BYTES: Final = 1024 * 1024
"""Payload in one message, so that others interleave."""


@define(eq=False)
class GraphState:
    """One graph; it is sent whole or, after a lost connection, whole again."""

    number: int
    nodes: tuple[NodeRow, ...]
    open_targets: set[int]  # whose results have not come
    owner: Any
    sent: bool = False  # on this connection, or the scheduler has it from an earlier one
    functions: frozenset[Function] = field(init=False)

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

    def messages(self, numbers: Mapping[Function, int]) -> list[Message]:
        """All of it, with these numbers for its functions."""
        messages: list[Message] = []
        for part in _parts(self.nodes):
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
            messages.append(GraphNodes(self.number, tuple(options), tuple(rows)))
        return [*messages, self.end()]


def _parts(nodes: Sequence[NodeRow]) -> Iterator[Sequence[NodeRow]]:
    """The nodes in pieces that fit into messages."""
    start = size = 0
    for i, node in enumerate(nodes):
        if i > start and (i - start == limits.BATCH_ROWS or size + len(node.payload) > MESSAGE_BYTES):
            yield nodes[start:i]
            start, size = i, 0
        size += len(node.payload)
    if start < len(nodes):
        yield nodes[start:]
