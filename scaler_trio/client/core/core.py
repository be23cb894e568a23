"""A client's session, as a pure core: what is unfinished, what the scheduler has of it, and what to send next.

How to think about this: everything submitted is kept until its results came, in one of two places, ``unsent`` or with
the scheduler. A lost connection moves nothing; the next ``ClientKnown`` says what the scheduler has, and the rest
becomes unsent again. Every result is delivered once, however often it arrives.

Invariants (``check_invariants``): a task is in exactly one place; the payload of tasks and rows stays within the
credit (graphs are sent whole, outside of it); no task is sent before ``ClientKnown``; an acknowledgement is due
whenever one is owed.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from scaler_protocol import Message, limits
from scaler_protocol import messages as m
from scaler_protocol.fields import Row
from scaler_trio.client.core import effects as do
from scaler_trio.client.core import events as ev
from scaler_trio.client.core.array_state import ArrayState
from scaler_trio.client.core.function_table import FunctionTable
from scaler_trio.client.core.graph_state import GraphState
from scaler_trio.client.core.object_holds import ObjectHolds
from scaler_trio.client.core.receipts import Receipts
from scaler_trio.client.core.sending import Journal, Sender
from scaler_trio.client.core.task_table import FUNCTION, OPTIONS, OWNER, TaskTable
from scaler_trio.client.session.printing import label
from scaler_trio.ranges import RangeSet, ranges_of

HELD_RANGES: Final = 1 << 17
"""Ranges in ``ClientHeld``; half of its limit."""

JOURNAL: Final = 1_000
"""Entries for ``story``: one per batch, not per task."""


_number = attrgetter("number")


class ClientCore:
    """The only state of a client that matters. One caller at a time; see ``handle``."""

    def __init__(self) -> None:
        self._online = False  # ClientKnown has come on this connection
        self._connected = False
        self._abandoned = False
        self._receipts = Receipts()
        self._functions = FunctionTable()
        self._tasks = TaskTable(self._functions)
        self._graphs: dict[int, GraphState] = {}
        self._graph_of: dict[int, GraphState] = {}  # by node
        self._arrays: dict[int, ArrayState] = {}
        self._holds = ObjectHolds()
        self._asked: list[ev.Asked] = []  # of this step
        self._control: list[Message] = []  # cancels that wait for ClientKnown
        self._messages: list[Message] = []  # of this step
        self._effects: list[do.Effect] = []  # of this step
        self._journal: Journal = deque(maxlen=JOURNAL)
        self._sender = Sender(self._tasks, self._graphs, self._arrays, self._functions, self._journal)

    # ---------------------------------------------------------------------------------------------------- the entry

    def handle(self, event: ev.Event, now: float, outbox_bytes: int | None = 0) -> list[do.Effect]:
        """Take one event; what is to be done, in order. Never raises for what a peer sent.

        Args:
            event: what happened.
            now: on any monotonic clock, in seconds.
            outbox_bytes: what the link has not yet written; None = nothing that waits is sent now.
        """
        if self._abandoned:
            return self._refuse(event)
        if type(event) is ev.Received:
            for message in event.messages:
                self._on_message(message, now)
        elif type(event) is ev.Submitted:
            self._tasks.add(event.rows)
        elif type(event) is not ev.Tick:
            _HANDLERS[type(event)](self, event, now)
        if self._receipts.is_due(now):
            self._messages.append(self._receipts.acknowledge())
        if self._online:
            if outbox_bytes is not None:
                self._sender.pump(outbox_bytes, now, self._messages, self._effects)
            if self._holds.releases:
                self._release()
        if self._asked:
            self._ask()
        effects, self._effects = self._effects, []
        if self._messages:
            effects.append(do.Send(self._messages))
            self._messages = []
        return effects

    def next_deadline(self) -> float | None:
        """When a ``Tick`` is due."""
        due_at, look_at = self._receipts.due_at, self._sender.look_at
        if due_at is None or look_at is None:
            return look_at if due_at is None else due_at
        return min(due_at, look_at)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is unfinished."""
        return not (self._tasks.sent or self._tasks.unsent or self._arrays or self._graphs)

    def is_sent(self, number: int) -> bool:
        """Whether the scheduler was told of this task or node, on this connection or an earlier one."""
        return number in self._tasks.sent or number in self._graph_of

    def unfinished(self) -> set[int]:
        """The numbers of all tasks, graphs and arrays that have not ended."""
        return {*self._tasks.sent, *self._tasks.unsent, *self._graphs, *self._arrays}

    def story(self, number: int) -> list[str]:
        """What happened to one task, array or graph, oldest first, as far as the journal reaches."""
        lines = [
            f"{at:.6f} {what}"
            for at, what, lo, hi in self._journal
            if lo <= number < hi or lo == hi == -1  # what concerns the connection concerns everybody
        ]
        if number in self._tasks.unsent:
            return [*lines, "now unsent"]
        is_here = any(number in table for table in (self._tasks.sent, self._graphs, self._graph_of, self._arrays))
        return [*lines, "now with the scheduler" if is_here else "not here (any more)"]

    # --------------------------------------------------------------------------------------------------- submitting

    def _on_graph(self, event: ev.GraphOpened, now: float) -> None:
        self._graphs[event.number] = GraphState(event.number, event.functions, set(event.targets), event.owner)
        self._note(now, "graph submitted", event.number)

    def _on_nodes(self, event: ev.NodesAdded, now: float) -> None:
        graph = self._graphs.get(event.number)
        if graph is not None:
            graph.nodes += event.nodes
            graph.is_whole = event.is_last
            self._graph_of.update([(node.number, graph) for node in event.nodes])

    def _on_opened(self, event: ev.ArrayOpened, now: float) -> None:
        self._arrays[event.number] = ArrayState(event.number, event.function, event.options, event.count, event.owner)
        self._note(now, "array opened", event.number)

    def _on_block(self, event: ev.BlockAdded, now: float) -> None:
        array = self._arrays.get(event.number)
        if array is not None and not array.cancelled:
            array.add(event)
            self._sender.give_turn(array)
            self._effects.append(do.ArrayProgress(array.owner, array.unsent_bytes))

    def _on_ended(self, event: ev.ArrayEnded, now: float) -> None:
        array = self._arrays.get(event.number)
        if array is not None and not array.cancelled:
            array.end()
            self._sender.give_turn(array)
            self._finish_if_done(array)
        self._note(now, "array ended", event.number)

    def _on_cancelled(self, event: ev.TasksCancelled, now: float) -> None:
        rows: list[Row] = []
        ends: list[Message] = []
        for number in event.numbers:
            self._note(now, "cancelled", number)
            was_sent = number in self._tasks.sent
            if self._tasks.pop(number) is not None:
                rows += [(number, 0, 1)] if was_sent else []
            elif (graph := self._graphs.get(number) or self._graph_of.get(number)) is not None:
                sent_up_to = graph.nodes[graph.nodes_sent - 1].number if graph.nodes_sent else -1
                rows += [(node, 0, 1) for node in sorted(graph.give_up(number)) if node <= sent_up_to]
                if not graph.open_targets:
                    if graph.is_begun and not graph.sent:
                        ends.append(m.GraphEnd(graph.number, ()))  # nothing more comes of it, and nothing is wanted
                    self._forget(graph)
            elif (array := self._arrays.get(number)) is not None and not array.cancelled:
                array.cancel()
                if array.opened and array.sent_rows:
                    rows.append((number, 0, array.sent_rows))
                if self._online:
                    array.take_end(self._messages)
                self._finish_if_done(array)
        for at in range(0, len(rows), limits.BATCH_ROWS):
            message = m.CancelTasks(tuple(rows[at : at + limits.BATCH_ROWS]))
            (self._messages if self._online else self._control).append(message)
        self._messages += ends

    # --------------------------------------------------------------------------------------------------- connection

    def _on_connected(self, event: ev.Connected, now: float) -> None:
        self._connected = True
        self._receipts.begin_epoch(event.epoch)
        # Only what was sent, at some time: the rest is nothing that the scheduler could know.
        numbers = [*self._tasks.sent, *(node.number for g in self._graphs.values() if g.sent for node in g.nodes)]
        tasks = ranges_of(numbers, HELD_RANGES)
        arrays = [(array.number, array.sent_rows) for array in self._arrays.values() if array.opened]
        self._messages.append(m.ClientHeld(self._receipts.sequence, tasks, tuple(arrays[: limits.ARRAYS_PER_CLIENT])))
        self._note(now, f"connected to epoch {event.epoch}")

    def _on_known(self, known: m.ClientKnown, now: float) -> None:
        self._receipts.begin_epoch(known.epoch)
        self._online = True
        self._sender.begin(known.credit_bytes)
        self._functions.reset()
        tasks = RangeSet([(lo, hi) for lo, hi in known.tasks])
        self._tasks.keep_known(tasks)
        for graph in self._graphs.values():
            graph.sent = graph.sent and graph.is_known(tasks)
            graph.rewind()
            if graph.sent:
                for function in graph.functions:
                    self._functions.used(function)
                self._messages.append(graph.end())  # it may have been lost after the nodes
        rows_of: dict[int, int] = dict(known.arrays)
        for array in list(self._arrays.values()):
            array.resume(rows_of.get(array.number))
            if array.opened:
                self._functions.used(array.function)
                if array.cancelled and array.count:
                    self._messages.append(m.CancelTasks(((array.number, 0, array.count),)))
            self._sender.give_turn(array)
            self._finish_if_done(array)
            self._effects.append(do.ArrayProgress(array.owner, array.unsent_bytes))
        self._messages += self._holds.declare()
        self._messages += self._control
        self._control.clear()
        self._effects.append(do.Known(known.object_address, known.epoch))
        self._note(now, f"known: {len(self._tasks.sent)} of our tasks, {len(rows_of)} arrays")

    def _on_disconnected(self, event: ev.Disconnected, now: float) -> None:
        self._go_offline()
        self._note(now, f"disconnected: {event.reason}")

    def _go_offline(self) -> None:
        self._connected = self._online = False
        for graph in self._graphs.values():
            graph.rewind()
        self._sender.stop()
        self._receipts.forget()
        self._control.clear()  # cancels are implied by the next ClientHeld, which names only what is still wanted

    def _on_given_up(self, event: ev.GivenUp, now: float) -> None:
        wanted = set(event.numbers)
        owners = [task[OWNER] for table in (self._tasks.sent, self._tasks.unsent) for task in _those(table, wanted)]
        owners += [graph.owner for graph in _those(self._graphs, wanted)]
        owners += [array.owner for array in _those(self._arrays, wanted)]
        self._on_cancelled(ev.TasksCancelled(event.numbers), now)
        self._effects.append(do.Dropped(owners, event.reason))

    def _on_cleared(self, event: ev.Cleared, now: float) -> None:
        owners = self._owners()
        numbers = [*self._tasks.sent, *self._tasks.unsent, *self._graphs, *self._arrays]
        self._on_cancelled(ev.TasksCancelled(numbers), now)
        self._holds.release(list(self._holds.written))
        self._effects.append(do.Dropped(owners))

    def _on_shutdown_asked(self, event: ev.ShutdownAsked, now: float) -> None:
        (self._messages if self._online else self._control).append(m.Shutdown())

    def _on_abandoned(self, event: ev.Abandoned, now: float) -> None:
        owners = self._owners()
        if self._connected:
            self._messages.append(m.Goodbye())
        self._abandoned = True
        for table in (
            self._tasks,
            self._graphs,
            self._graph_of,
            self._arrays,
            self._sender.turns,
            self._holds.releases,
        ):
            table.clear()
        self._functions.reset()
        self._go_offline()
        self._effects.append(do.Dropped(owners))

    def _refuse(self, event: ev.Event) -> list[do.Effect]:
        """After the end: who submits gets nothing."""
        if isinstance(event, ev.Submitted):
            return [do.Dropped([row[OWNER] for row in event.rows])]
        if isinstance(event, ev.Asked):
            return [do.Explained(event.request, "the client is closed")]
        if isinstance(event, ev.GraphOpened | ev.ArrayOpened):
            return [do.Dropped([event.owner])]
        return []

    def _owners(self) -> list[Any]:
        owners = [graph.owner for graph in self._graphs.values()] + [array.owner for array in self._arrays.values()]
        return self._tasks.owners() + owners

    # ------------------------------------------------------------------------------------------------------ results

    def _on_message(self, message: Message, now: float) -> None:
        kind = type(message)
        if kind is m.TaskResults or kind is m.ArrayResults:
            wrong = self._receipts.take(message.sequence, now)
            if wrong is None:
                if kind is m.TaskResults:
                    self._on_task_results(message)
                else:
                    self._on_array_results(message)
            elif wrong:
                self._effects.append(do.Violated(wrong))
        elif kind is m.Credit:
            self._sender.credit_bytes = max(self._sender.credit_bytes, message.total_bytes)
        elif kind is m.ClientKnown:
            self._on_known(message, now)
        elif kind is m.Explanation:
            self._effects.append(do.Explained(message.request, message.text))
        elif kind is m.Notices:
            self._effects.append(do.Noticed(message.rows))
        elif kind is m.Shutdown:
            self._effects.append(do.ShutDown(message.reason))
        elif kind is m.ShutdownRefused:
            self._effects.append(do.ShutdownRefused(message.text))
        elif kind is m.TaskOutput:
            rows = [(self._label(row[0], row[1]), *row[2:]) for row in message.rows]
            self._effects.append(do.Printed(rows, message.left_out))

    def _label(self, number: int, row: int) -> str:
        """How what a task prints is marked."""
        task, graph, array = self._tasks.sent.get(number), self._graph_of.get(number), self._arrays.get(number)
        if task is not None:
            return f"{label(task[FUNCTION].name, task[OPTIONS])} {number}"
        if graph is not None:
            node = graph.nodes[bisect_left(graph.nodes, number, key=_number)]
            return f"{label(node.function.name, node.options)} {number}"
        if array is not None:
            return f"{label(array.function.name, array.options)}[{row}]"
        return f"task {number}"  # it has ended here, by a cancel

    def _on_task_results(self, message: m.TaskResults) -> None:
        done: list[tuple[Any, Row]] = []
        pop = self._tasks.pop
        if message.profiles:
            self._on_profiles(message.profiles)
        for row in message.rows:
            task = pop(row[0])
            if task is None:
                self._on_node_result(row)
                continue
            if row[3]:
                self._holds.count(row[3])
            done.append((task[OWNER], row))
        if done:
            self._effects.append(do.TasksDone(done))

    def _on_profiles(self, rows: Sequence[Row]) -> None:
        found: list[tuple[Any, Row]] = []
        for row in rows:
            if (task := self._tasks.sent.get(row[0])) is not None:
                found.append((task[OWNER], row))
            elif (graph := self._graph_of.get(row[0])) is not None:
                found.append((graph.owner, row))
        self._effects.append(do.Profiled(found))

    def _on_node_result(self, row: Row) -> None:
        graph = self._graph_of.get(row[0])
        if graph is None:
            self._holds.release_late(row[3])
            return
        if row[0] in graph.open_targets:
            graph.open_targets.remove(row[0])
            self._holds.count(row[3])
        elif row[1] == m.Outcome.VALUE:
            self._holds.release_late(row[3])  # a target that came before, or an inner node: nobody wants its value
            return
        self._effects.append(do.NodesDone(graph.owner, (row,)))
        if not graph.open_targets:
            self._forget(graph)

    def _forget(self, graph: GraphState) -> None:
        if graph.is_begun:
            for function in graph.functions:
                self._functions.done(function)
        del self._graphs[graph.number]
        for node in graph.nodes:
            del self._graph_of[node.number]

    def _on_array_results(self, message: m.ArrayResults) -> None:
        array = self._arrays.get(message.task)
        if array is None:
            for _, objects in message.objects:
                self._holds.release_late(objects)
            return
        if (wrong := array.fault(message)) is not None:
            self._effects.append(do.Violated(f"results of array {message.task} make no sense: {wrong}"))
            return
        pieces = array.finish(message.lo, message.hi)
        for row, objects in message.objects:
            if any(lo <= row < hi for lo, hi in pieces):
                self._holds.count(objects)
            else:
                self._holds.release_late(objects)
        if pieces:
            array.slices += 1
            self._effects.append(do.SliceDone(array.owner, message, pieces))
            self._finish_if_done(array)

    def _finish_if_done(self, array: ArrayState) -> None:
        if not array.is_done:
            return
        if self._online:
            array.take_end(self._messages)
            if array.opened:
                self._functions.done(array.function)
        del self._arrays[array.number]
        self._effects.append(do.ArrayDone(array.owner, array.slices))

    # ------------------------------------------------------------------------------------------------------ objects

    def _on_held(self, event: ev.ObjectsHeld, now: float) -> None:
        self._holds.written.update(event.rows)
        if self._online:
            self._messages.append(m.HoldObjects(tuple(event.rows)))

    def _on_released(self, event: ev.ObjectsReleased, now: float) -> None:
        self._holds.release(event.objects)

    def _release(self) -> None:
        """Tell of releases, once every row that may name such an object is with the scheduler, and holds it."""
        if self._tasks.unsent or not all(graph.sent for graph in self._graphs.values()):
            return
        if all(array.next_bytes is None for array in self._arrays.values()):
            self._messages += self._holds.take_releases()

    # --------------------------------------------------------------------------------------------------- explaining

    def _on_asked(self, event: ev.Asked, now: float) -> None:
        self._asked.append(event)

    def _ask(self) -> None:
        """The scheduler knows more, unless it has not heard of the task."""
        for request, number in [(asked.request, asked.number) for asked in self._asked]:
            if not self._online:
                text = "the connection to the scheduler is lost, and tried again"
            elif number in self._tasks.unsent:
                text = "it waits in the client, as the scheduler takes no more of this client's tasks at the moment"
            else:
                self._messages.append(m.Explain(request, number))
                continue
            self._effects.append(do.Explained(request, "\n".join([text, *self.story(number)])))
        self._asked.clear()

    # ------------------------------------------------------------------------------------------------------- inside

    def _note(self, now: float, what: str, number: int = -1) -> None:
        self._journal.append((now, what, number, number + 1 if number >= 0 else -1))

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        self._tasks.check_invariants()
        assert set(self._graph_of) == {n.number for g in self._graphs.values() for n in g.nodes}
        assert all(graph.open_targets for graph in self._graphs.values())
        assert all(number == array.number and not array.is_done for number, array in self._arrays.items())
        assert (self._receipts.due_at is None) == (self._receipts.pending == 0)
        assert not (self._online and self._control)
        assert len(set(self._sender.turns)) == len(self._sender.turns)
        for array in self._arrays.values():
            array.check_invariants()
            assert array.unsent_bytes == 0 or not self._online or array.number in self._sender.turns
        if self._online:
            self._functions.check_invariants()


def _those(table: dict[int, Any], numbers: set[int]) -> list[Any]:
    return [table[number] for number in numbers & table.keys()]


_HANDLERS: Final[dict[type, Any]] = {
    ev.Connected: ClientCore._on_connected,
    ev.Disconnected: ClientCore._on_disconnected,
    ev.GraphOpened: ClientCore._on_graph,
    ev.NodesAdded: ClientCore._on_nodes,
    ev.ArrayOpened: ClientCore._on_opened,
    ev.BlockAdded: ClientCore._on_block,
    ev.ArrayEnded: ClientCore._on_ended,
    ev.TasksCancelled: ClientCore._on_cancelled,
    ev.ObjectsHeld: ClientCore._on_held,
    ev.ObjectsReleased: ClientCore._on_released,
    ev.Asked: ClientCore._on_asked,
    ev.GivenUp: ClientCore._on_given_up,
    ev.Cleared: ClientCore._on_cleared,
    ev.Abandoned: ClientCore._on_abandoned,
    ev.ShutdownAsked: ClientCore._on_shutdown_asked,
}
