"""What a client keeps of one graph: all of its nodes, until the last target has ended."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define, field

from scaler_protocol import Message
from scaler_protocol.messages import GraphEnd, GraphNodes, TaskOptions
from scaler_trio.client.core.events import Function, NodeRow
from scaler_trio.ranges import RangeSet

MESSAGE_BYTES: Final = 1024 * 1024
"""Payload in one message, so that others interleave."""

MESSAGE_ROWS: Final = 512
"""Nodes in one message: while the next ones are made, the scheduler takes in these."""

ROW_BYTES: Final = 32
INPUT_BYTES: Final = 9
"""What a node, and each of its inputs, takes in a message beside its payload, at most."""


@define(eq=False)
class GraphState:
    """One graph; after a lost connection it is sent again from its beginning, unless the scheduler has all of it."""

    number: int
    functions: frozenset[Function]  # of all its nodes
    open_targets: set[int]  # whose results have not come
    owner: Any
    nodes: list[NodeRow] = field(factory=list)  # each after those that it needs
    is_whole: bool = False  # no more nodes come
    sent: bool = False  # all of it, on this connection, or the scheduler has it from an earlier one
    nodes_sent: int = 0
    _numbers: Mapping[Function, int] | None = None  # while it is being sent
    _uses: Counter[int] | None = None  # for each node, by targets and other nodes; once a target was given up
    _inputs: dict[int, tuple[int, ...]] = field(factory=dict)

    def is_known(self, known: RangeSet) -> bool:
        """Whether the scheduler, which knows these tasks, has all of it.

        Nodes arrive in order and none starts before all have arrived, so the last one tells; open targets tell whether
        it is the scheduler that had it.
        """
        last = self.nodes[-1].number
        if last in self.open_targets and last not in known:
            return False
        return all(target in known for target in self.open_targets)

    def give_up(self, number: int) -> list[int]:
        """A target, or with the graph's own number all of it, is not wanted any more; nodes that nothing else needs."""
        if number == self.number:
            self.open_targets.clear()
            return [node.number for node in self.nodes]
        if number not in self.open_targets:
            return []
        if not self.is_whole or len(self.open_targets) == 1:  # what comes may need any of these, or nothing does
            self.open_targets.remove(number)
            return [] if self.open_targets else [node.number for node in self.nodes]
        if self._uses is None:
            self._uses = Counter(self.open_targets)
            self._uses.update([source for node in self.nodes for source in node.inputs])
            self._inputs = {node.number: node.inputs for node in self.nodes}
        self.open_targets.remove(number)
        unneeded = []
        pending = [number]
        while pending:
            used = pending.pop()
            self._uses[used] -= 1
            if not self._uses[used]:
                unneeded.append(used)
                pending += self._inputs[used]
        return unneeded

    def end(self) -> GraphEnd:
        """What makes it start."""
        return GraphEnd(self.number, tuple(sorted(self.open_targets)))

    @property
    def is_begun(self) -> bool:
        """Whether some of it is sent, and its functions are in use."""
        return self.sent or self._numbers is not None

    @property
    def has_next(self) -> bool:
        """Whether ``take`` has something to give."""
        return not self.sent and (self.nodes_sent < len(self.nodes) or self.is_whole)

    def begin(self, numbers: Mapping[Function, int]) -> None:
        """It is being sent, with these numbers for its functions."""
        self._numbers = numbers

    def take(self) -> Message:
        """The next message of it; after the end it is sent."""
        numbers = self._numbers
        assert numbers is not None
        if self.nodes_sent == len(self.nodes):
            assert self.is_whole
            self._numbers = None
            self.sent = True
            return self.end()
        options: dict[TaskOptions, int] = {}
        rows = tuple(
            [
                (
                    node.number,
                    numbers[node.function],
                    node.payload,
                    node.objects,
                    options.setdefault(node.options, len(options)),
                    node.inputs,
                )
                for node in self._next_nodes()
            ]
        )
        self.nodes_sent += len(rows)
        return GraphNodes(self.number, tuple(options), rows)

    def rewind(self) -> None:
        """The connection is gone: half of it is nothing that a scheduler keeps."""
        self._numbers = None
        if not self.sent:
            self.nodes_sent = 0

    def _next_nodes(self) -> Sequence[NodeRow]:
        """As many as fit into a message, at least one."""
        nodes = self.nodes[self.nodes_sent : self.nodes_sent + MESSAGE_ROWS]
        size = 0
        for count, node in enumerate(nodes):
            size += len(node.payload)
            if count and size > MESSAGE_BYTES:
                return nodes[:count]
        return nodes


def size_bytes(message: Message) -> int:
    """What a message takes in an outbox, about."""
    if type(message) is not GraphNodes:
        return 0
    return sum([ROW_BYTES + len(row[2]) + INPUT_BYTES * len(row[5]) for row in message.rows])
