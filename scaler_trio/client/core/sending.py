"""What of the unsent goes out next: within the credit and what the socket takes, in turns, so that nothing starves."""

from collections import deque
from typing import Any, Final

from scaler_protocol import Message
from scaler_protocol import messages as m
from scaler_trio.client.core import effects as do
from scaler_trio.client.core.array_state import ArrayState
from scaler_trio.client.core.function_table import FunctionTable
from scaler_trio.client.core.graph_state import GraphState, size_bytes
from scaler_trio.client.core.task_table import TaskTable

SEND_AHEAD_BYTES: Final = 2 * 1024 * 1024
"""What may wait for the socket, well below the 8 MiB at which a link gives up on its peer."""

OUTBOX_S: Final = 0.002
"""How soon to look again when that much waits; a link tells nobody that it has drained."""

Journal = deque[tuple[Any, ...]]


class Sender:
    """Takes from the tables of a core, which share them with it, and makes messages."""

    def __init__(
        self,
        tasks: TaskTable,
        graphs: dict[int, GraphState],
        arrays: dict[int, ArrayState],
        functions: FunctionTable,
        journal: Journal,
    ) -> None:
        self._tasks = tasks
        self._graphs = graphs
        self._arrays = arrays
        self._functions = functions
        self._journal = journal
        self.credit_bytes = 0  # payload that may be sent on this connection in all
        self.look_at: float | None = None  # when to look at the outbox again
        self.turns: deque[int] = deque()  # arrays with something to send, whose turn is next first
        self._sent_bytes = 0  # payload that was sent on this connection
        self._backlog_rows = 0  # as last announced
        self._messages: list[Message] = []  # of this step
        self._effects: list[do.Effect] = []  # of this step

    def begin(self, credit_bytes: int) -> None:
        """A connection is ready."""
        self.credit_bytes = credit_bytes
        self._sent_bytes = 0

    def stop(self) -> None:
        """It is gone."""
        self.look_at = None
        self._backlog_rows = 0

    def pump(self, outbox_bytes: int, now: float, messages: list[Message], effects: list[do.Effect]) -> None:
        """Send what credit and outbox allow: single tasks, graphs and a block of each array take turns."""
        self._messages, self._effects = messages, effects
        room = SEND_AHEAD_BYTES - outbox_bytes
        self.look_at = None
        is_starved = False
        while self._tasks.unsent or self._graphs or self.turns:
            before = self._sent_bytes
            count = len(self._messages)
            if room <= 0:
                self.look_at = now + OUTBOX_S
                break
            if not (self._send_tasks(now) and self._send_graph(now) and self._send_turn()):
                is_starved = True
                break
            room -= self._sent_bytes - before + sum(map(size_bytes, self._messages[count:]))
            if len(self._messages) == count and not self.turns:
                break
        self._functions.trim(self._messages)
        if is_starved or self._backlog_rows:
            self._announce_backlog()

    def _send_tasks(self, now: float) -> bool:
        """One message of single tasks; False if credit or the function table are used up."""
        if not self._tasks.unsent:
            return True
        size, goes_on = self._tasks.take_message(self.credit_bytes - self._sent_bytes, self._messages)
        self._sent_bytes += size
        last = self._messages[-1] if self._messages else None
        if type(last) is m.SubmitTasks:
            rows = last.rows
            self._journal.append((now, f"sent with {len(rows)} others", rows[0][0], rows[-1][0] + 1))
        return goes_on

    def _send_graph(self, now: float) -> bool:
        """A message of the next graph, outside of the credit: half a graph is never started, so it earns no more."""
        graph = next((graph for graph in self._graphs.values() if graph.has_next), None)
        if graph is None:
            return True
        if not graph.is_begun:
            if not self._functions.has_room(graph.functions):
                return False
            numbers = {}
            for function in graph.functions:
                number = self._functions.use(function, self._messages)
                assert number is not None, "there was room for it"
                numbers[function] = number
            graph.begin(numbers)
        self._messages.append(graph.take())
        if graph.sent:
            self._journal.append((now, "graph sent", graph.number, graph.number + 1))
        return True

    def _send_turn(self) -> bool:
        """A block of the array whose turn it is; False if credit or the function table are used up."""
        if not self.turns:
            return True
        array = self._arrays.get(self.turns[0])
        if array is None:
            self.turns.popleft()
            return True
        size = array.next_bytes
        if size is not None and self._sent_bytes + size > self.credit_bytes:
            return False
        if not array.opened:
            number = self._functions.use(array.function, self._messages)
            if number is None:
                return False
            self._messages.append(array.opening(number))
        if size is not None:
            self._messages.append(array.take_block())
            self._sent_bytes += size
            self._effects.append(do.ArrayProgress(array.owner, array.unsent_bytes))
        self.turns.popleft()
        if array.next_bytes is not None:
            self.turns.append(array.number)
        else:
            array.take_end(self._messages)
        return True

    def give_turn(self, array: ArrayState) -> None:
        """It may have something to send."""
        if array.number not in self.turns:
            self.turns.append(array.number)

    def _announce_backlog(self) -> None:
        """Tell how much waits, when it begins, ends, or has doubled or halved."""
        arrays = [self._arrays[number] for number in self.turns if number in self._arrays]
        size = self._tasks.unsent_bytes + sum([array.unsent_bytes for array in arrays])
        count = len(self._tasks.unsent) + sum([array.unsent_rows for array in arrays])
        told = self._backlog_rows
        if (count == 0) != (told == 0) or count > 2 * told or 2 * count < told:
            self._backlog_rows = count
            self._messages.append(m.Backlog(count, size))
