"""A client's session, as a pure core: what is unfinished, what the scheduler has of it, and what to send next.

How to think about this: everything submitted is kept until its results came, in one of two places, ``unsent`` or with
the scheduler. A lost connection moves nothing; the next ``ClientKnown`` says what the scheduler has, and the rest
becomes unsent again. Every result is delivered once, however often it arrives.

Invariants (``check_invariants``): a task is in exactly one place; the payload of tasks and rows stays within the
credit (graphs are sent whole, outside of it); no task is sent before ``ClientKnown``; an acknowledgement is due
whenever one is owed.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from attrs import define

from scaler_protocol import Message, limits
from scaler_protocol import messages as m
from scaler_protocol.fields import Row
from scaler_trio.client import effects as do
from scaler_trio.client import events as ev
from scaler_trio.client.array_state import ArrayState
from scaler_trio.client.function_table import FunctionTable
from scaler_trio.client.ranges import RangeSet, ranges_of

ACK_MESSAGES: Final = 64
"""Results acknowledged at the latest after so many messages."""

ACK_S: Final = 0.020
"""… and after this long: the scheduler and the workers keep them until then."""

SEND_AHEAD_BYTES: Final = 2 * 1024 * 1024
"""What may wait for the socket, well below the 8 MiB at which a link gives up on its peer."""

OUTBOX_S: Final = 0.002
"""How soon to look again when that much waits; a link tells nobody that it has drained."""

MESSAGE_BYTES: Final = 1024 * 1024
"""Payload in one message, so that others interleave."""

HELD_RANGES: Final = 1 << 17
"""Ranges in ``ClientHeld``; half of its limit."""

JOURNAL: Final = 1_000
"""Entries for ``story``: one per batch, not per task."""

_U32: Final = 4
_FUNCTION: Final = 1  # indices into a TaskRow
_PAYLOAD: Final = 2
_OWNER: Final = 5


@define(eq=False)
class _Graph:
    number: int
    nodes: tuple[ev.NodeRow, ...]
    open_targets: set[int]  # whose results have not come
    functions: frozenset[ev.Function]
    owner: Any
    sent: bool = False  # on this connection, or the scheduler has it from an earlier one

    def end(self) -> m.GraphEnd:
        """What makes it start."""
        return m.GraphEnd(self.number, tuple(sorted(self.open_targets)))


class ClientCore:
    """The only state of a client that matters. One caller at a time; see ``handle``."""

    def __init__(self) -> None:
        self._online = False  # ClientKnown has come on this connection
        self._connected = False
        self._abandoned = False
        self._epoch = -1  # of the scheduler we were last connected to
        self._sequence = 0  # last result message received in this epoch
        self._unacknowledged = 0  # result messages since the last acknowledgement
        self._ack_at: float | None = None
        self._outbox_at: float | None = None  # when to look at the outbox again
        self._credit_bytes = 0  # payload that may be sent on this connection in all
        self._sent_bytes = 0  # payload that was
        self._backlog = (0, 0)  # rows and bytes as last announced
        self._unsent: dict[int, ev.TaskRow] = {}  # in the order in which they will be sent
        self._sent: dict[int, ev.TaskRow] = {}
        self._unsent_bytes = 0
        self._graphs: dict[int, _Graph] = {}
        self._graph_of: dict[int, _Graph] = {}  # by node
        self._arrays: dict[int, ArrayState] = {}
        self._turns: deque[int] = deque()  # arrays with something to send, whose turn is next first
        self._functions = FunctionTable()
        self._held: dict[bytes, int] = {}  # objects that the client wrote and keeps: size
        self._result_objects: dict[bytes, int] = {}  # named by results that were delivered and not released: how often
        self._releases: list[bytes] = []  # wait until no row that may name them is unsent
        self._control: list[Message] = []  # cancels that wait for ClientKnown
        self._messages: list[Message] = []  # of this step
        self._effects: list[do.Effect] = []  # of this step
        self._journal: deque[tuple[Any, ...]] = deque(maxlen=JOURNAL)

    # ---------------------------------------------------------------------------------------------------- the entry

    def handle(self, event: ev.Event, now: float) -> list[do.Effect]:
        """Take one event, at ``now`` on any monotonic clock; what is to be done, in order.

        Never raises for what a peer sent.
        """
        if self._abandoned:
            return self._refuse(event)
        kind = type(event)
        outbox_bytes = getattr(event, "outbox_bytes", None)
        if kind is ev.Received:
            for message in event.messages:  # type: ignore[union-attr]
                self._on_message(message, now)
        elif kind is ev.Submitted:
            self._on_submitted(event)  # type: ignore[arg-type]
        elif kind is ev.BlockAdded:
            self._on_block(event)  # type: ignore[arg-type]
        elif kind is not ev.Tick:
            _HANDLERS[kind](self, event, now)
        if self._ack_at is not None and (self._unacknowledged >= ACK_MESSAGES or now >= self._ack_at):
            self._acknowledge()
        if outbox_bytes is not None and self._online:
            self._pump(outbox_bytes, now)
        return self._take_effects()

    def next_deadline(self) -> float | None:
        """When a ``Tick`` is due."""
        if self._ack_at is None or self._outbox_at is None:
            return self._outbox_at if self._ack_at is None else self._ack_at
        return min(self._ack_at, self._outbox_at)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is unfinished."""
        return not (self._sent or self._unsent or self._arrays or self._graphs)

    def story(self, number: int) -> list[str]:
        """What happened to one task, array or graph, oldest first, as far as the journal reaches."""
        lines = [
            f"{at:.6f} {what}"
            for at, what, lo, hi in self._journal
            if lo <= number < hi or (lo == hi == -1)  # everything of the connection concerns everybody
        ]
        place = (
            ("unsent" if number in self._unsent else "with the scheduler")
            if number in self._unsent or number in self._sent or number in self._graph_of or number in self._arrays
            else "not here (any more)"
        )
        return [*lines, f"now {place}"]

    # --------------------------------------------------------------------------------------------------- submitting

    def _on_submitted(self, event: ev.Submitted) -> None:
        rows = event.rows
        if not rows:
            return
        self._unsent.update([(row[0], row) for row in rows])
        self._unsent_bytes += sum([len(row[2]) for row in rows])

    def _on_graph(self, event: ev.GraphSubmitted, now: float) -> None:
        functions = frozenset([node.function for node in event.nodes])
        graph = _Graph(event.number, event.nodes, set(event.targets), functions, event.owner)
        self._graphs[event.number] = graph
        self._graph_of.update([(node.number, graph) for node in event.nodes])
        self._note(now, "graph submitted", event.number)

    def _on_opened(self, event: ev.ArrayOpened, now: float) -> None:
        self._arrays[event.number] = ArrayState(event.number, event.function, event.options, event.count, event.owner)
        self._note(now, "array opened", event.number)

    def _on_block(self, event: ev.BlockAdded) -> None:
        array = self._arrays.get(event.number)
        if array is None or array.cancelled:
            return
        array.add(event)
        self._turn(array)
        self._effects.append(do.ArrayProgress(array.owner, array.unsent_bytes))

    def _on_ended(self, event: ev.ArrayEnded, now: float) -> None:
        array = self._arrays.get(event.number)
        if array is not None and not array.cancelled:
            array.end()
            self._turn(array)
            self._finish_if_done(array)
        self._note(now, "array ended", event.number)

    def _on_cancelled(self, event: ev.TasksCancelled, now: float) -> None:
        rows: list[Row] = []
        for number in event.numbers:
            self._note(now, "cancelled", number)
            if (task := self._unsent.pop(number, None)) is not None:
                self._unsent_bytes -= len(task[_PAYLOAD])
            elif (task := self._sent.pop(number, None)) is not None:
                self._functions.done(task[_FUNCTION])
                rows.append((number, 0, 1))
            elif (graph := self._graphs.get(number)) is not None:
                if graph.sent:
                    rows += [(node.number, 0, 1) for node in graph.nodes]
                self._forget(graph)
            elif (graph := self._graph_of.get(number)) is not None:  # one target of it
                graph.open_targets.discard(number)
                if not graph.open_targets:
                    rows += [(node.number, 0, 1) for node in graph.nodes] if graph.sent else []
                    self._forget(graph)
            elif (array := self._arrays.get(number)) is not None and not array.cancelled:
                array.cancel()
                if array.opened and array.sent_rows:
                    rows.append((number, 0, array.sent_rows))
                if self._online:
                    array.take_end(self._messages)
                self._finish_if_done(array)
        for at in range(0, len(rows), limits.BATCH_ROWS):
            self._tell(m.CancelTasks(tuple(rows[at : at + limits.BATCH_ROWS])))

    # ---------------------------------------------------------------------------------------------------- connection

    def _on_connected(self, event: ev.Connected, now: float) -> None:
        self._connected = True
        if event.epoch != self._epoch:
            self._epoch = event.epoch
            self._sequence = 0
        # Only what was sent, at some time: the rest is nothing that the scheduler could know.
        numbers = [*self._sent, *(node.number for g in self._graphs.values() if g.sent for node in g.nodes)]
        arrays = [(a.number, a.sent_rows) for a in self._arrays.values() if a.opened]
        held = m.ClientHeld(self._sequence, ranges_of(numbers, HELD_RANGES), tuple(arrays[: limits.ARRAYS_PER_CLIENT]))
        self._messages.append(held)
        self._note(now, f"connected to epoch {event.epoch}")

    def _on_known(self, known: m.ClientKnown, now: float) -> None:
        if known.epoch != self._epoch:
            self._epoch = known.epoch
            self._sequence = 0
        self._online = True
        self._credit_bytes = known.credit_bytes
        self._sent_bytes = 0
        self._functions.reset()
        self._keep_known_tasks(RangeSet([(lo, hi) for lo, hi in known.tasks]))
        rows_of: dict[int, int] = dict(known.arrays)
        for array in list(self._arrays.values()):
            array.resume(rows_of.get(array.number))
            if array.opened:
                self._functions.used(array.function)
                if array.cancelled and array.count:
                    self._messages.append(m.CancelTasks(((array.number, 0, array.count),)))
            self._turn(array)
            self._finish_if_done(array)
            self._effects.append(do.ArrayProgress(array.owner, array.unsent_bytes))
        objects = [
            *self._held.items(),
            *((object_, 0) for object_ in self._result_objects if object_ not in self._held),
        ]
        for at in range(0, len(objects), limits.BATCH_ROWS):
            self._messages.append(m.HoldObjects(tuple(objects[at : at + limits.BATCH_ROWS])))
        self._messages += self._control
        self._control.clear()
        self._effects.append(do.Known(known.object_address, known.epoch))
        self._note(now, f"known: {len(self._sent)} of our tasks, {len(rows_of)} arrays")

    def _keep_known_tasks(self, known: RangeSet) -> None:
        """What the scheduler does not have becomes unsent again, in its old order before what was never sent."""
        again = {number: task for number, task in self._sent.items() if number not in known}
        if again:
            self._unsent_bytes += sum([len(task[_PAYLOAD]) for task in again.values()])
            self._sent = {number: task for number, task in self._sent.items() if number not in again}
            self._unsent = {**again, **self._unsent}
        for task in self._sent.values():
            self._functions.used(task[_FUNCTION])
        for graph in self._graphs.values():
            # Nodes arrive in order, and none starts before all have arrived: the last one tells.
            last = graph.nodes[-1].number
            arrived = last in known or last not in graph.open_targets
            graph.sent = graph.sent and arrived and all(target in known for target in graph.open_targets)
            if graph.sent:
                for function in graph.functions:
                    self._functions.used(function)
                self._messages.append(graph.end())  # it may have been lost after the nodes

    def _on_disconnected(self, event: ev.Disconnected, now: float) -> None:
        self._connected = self._online = False
        self._ack_at = self._outbox_at = None
        self._unacknowledged = 0
        self._backlog = (0, 0)
        self._control.clear()  # cancels are implied by the next ClientHeld, which names only what is still wanted
        self._note(now, f"disconnected: {event.reason}")

    def _on_cleared(self, event: ev.Cleared, now: float) -> None:
        owners = self._owners()
        self._on_cancelled(ev.TasksCancelled([*self._sent, *self._unsent, *self._graphs, *self._arrays]), now)
        self._on_released(ev.ObjectsReleased(list(self._held)), now)
        self._effects.append(do.Dropped(owners))

    def _owners(self) -> list[Any]:
        owners = [task[_OWNER] for task in (*self._sent.values(), *self._unsent.values())]
        owners += [graph.owner for graph in self._graphs.values()]
        owners += [array.owner for array in self._arrays.values()]
        return owners

    def _on_abandoned(self, event: ev.Abandoned, now: float) -> None:
        owners = self._owners()
        self._abandoned = True
        if self._connected:
            self._messages.append(m.Goodbye())
        for table in (self._sent, self._unsent, self._graphs, self._graph_of, self._arrays):
            table.clear()
        self._turns.clear()
        self._unsent_bytes = 0
        self._online = self._connected = False
        self._ack_at = self._outbox_at = None
        self._functions.reset()
        self._effects.append(do.Dropped(owners))

    def _refuse(self, event: ev.Event) -> list[do.Effect]:
        """After the end: who submits gets nothing."""
        if isinstance(event, ev.Submitted):
            return [do.Dropped([row[_OWNER] for row in event.rows])]
        if isinstance(event, ev.GraphSubmitted | ev.ArrayOpened):
            return [do.Dropped([event.owner])]
        return []

    # ------------------------------------------------------------------------------------------------------ results

    def _on_message(self, message: Message, now: float) -> None:
        kind = type(message)
        if kind is m.TaskResults:
            if self._is_new(message.sequence, now):
                self._on_task_results(message)
        elif kind is m.ArrayResults:
            if self._is_new(message.sequence, now):
                self._on_array_results(message)
        elif kind is m.Credit:
            self._credit_bytes = max(self._credit_bytes, message.total_bytes)
        elif kind is m.ClientKnown:
            self._on_known(message, now)
        elif kind is m.Notices:
            self._effects.append(do.Noticed(message.rows))

    def _is_new(self, sequence: int, now: float) -> bool:
        """Count a result message, unless it came before."""
        if sequence <= self._sequence:
            return False
        if sequence != self._sequence + 1:
            self._effects.append(
                do.Violated(f"result message {sequence} came after {self._sequence}: some are missing")
            )
            return False
        self._sequence = sequence
        self._unacknowledged += 1
        if self._ack_at is None:
            self._ack_at = now + ACK_S
        return True

    def _on_task_results(self, message: m.TaskResults) -> None:
        done: list[tuple[Any, Row]] = []
        sent, functions = self._sent, self._functions
        for row in message.rows:
            task = sent.pop(row[0], None)
            if task is not None:
                functions.done(task[_FUNCTION])
            elif (task := self._unsent.pop(row[0], None)) is not None:  # finished while it was on its way again
                self._unsent_bytes -= len(task[_PAYLOAD])
            else:
                self._on_node_result(row)
                continue
            if row[3]:
                self._count_objects(row[3])
            done.append((task[_OWNER], row))
        if done:
            self._effects.append(do.TasksDone(done))

    def _on_node_result(self, row: Row) -> None:
        graph = self._graph_of.get(row[0])
        if graph is None:
            self._release_late(row[3])
            return
        if row[0] in graph.open_targets:
            graph.open_targets.remove(row[0])
            self._count_objects(row[3])
        elif row[1] == m.Outcome.VALUE:
            self._release_late(row[3])  # a target that came before, or an inner node: nobody asked for its value
            return
        self._effects.append(do.NodesDone(graph.owner, (row,)))
        if not graph.open_targets:
            self._forget(graph)

    def _forget(self, graph: _Graph) -> None:
        if graph.sent:
            for function in graph.functions:
                self._functions.done(function)
        del self._graphs[graph.number]
        for node in graph.nodes:
            del self._graph_of[node.number]

    def _on_array_results(self, message: m.ArrayResults) -> None:
        array = self._arrays.get(message.task)
        if array is None:
            for _, objects in message.objects:
                self._release_late(objects)
            return
        if (wrong := _fault(message, array)) is not None:
            self._effects.append(do.Violated(f"results of array {message.task} make no sense: {wrong}"))
            return
        pieces = array.finish(message.lo, message.hi)
        for row, objects in message.objects:
            if any(lo <= row < hi for lo, hi in pieces):
                self._count_objects(objects)
            else:
                self._release_late(objects)
        if pieces:
            self._effects.append(do.SliceDone(array.owner, message, pieces))
            self._finish_if_done(array)

    def _finish_if_done(self, array: ArrayState) -> None:
        if not array.is_done:
            return
        if self._online:
            array.take_end(self._messages)
        if array.opened and self._online:
            self._functions.done(array.function)
        del self._arrays[array.number]
        self._effects.append(do.ArrayDone(array.owner))

    def _acknowledge(self) -> None:
        self._messages.append(m.AckResults(self._sequence))
        self._unacknowledged = 0
        self._ack_at = None

    # ------------------------------------------------------------------------------------------------------ objects

    def _on_held(self, event: ev.ObjectsHeld, now: float) -> None:
        self._held.update(event.rows)
        if self._online:
            self._messages.append(m.HoldObjects(tuple(event.rows)))

    def _on_released(self, event: ev.ObjectsReleased, now: float) -> None:
        for object_ in event.objects:
            if self._held.pop(object_, None) is None and (count := self._result_objects.pop(object_, 0)) > 1:
                self._result_objects[object_] = count - 1
        self._releases += event.objects
        self._release()

    def _release(self) -> None:
        """Tell of releases, once every row that may name such an object is with the scheduler, and holds it."""
        if not self._online or self._unsent or any(not graph.sent for graph in self._graphs.values()):
            return
        if any(array.next_bytes is not None for array in self._arrays.values()):
            return
        objects, self._releases = self._releases, []
        for at in range(0, len(objects), limits.BATCH_ROWS):
            self._messages.append(m.ReleaseObjects(tuple(objects[at : at + limits.BATCH_ROWS])))

    def _count_objects(self, objects: Sequence[bytes]) -> None:
        for object_ in objects:
            self._result_objects[object_] = self._result_objects.get(object_, 0) + 1

    def _release_late(self, objects: Sequence[bytes]) -> None:
        """A result that nobody wants any more named these; not what a delivered result names too."""
        unwanted = tuple([object_ for object_ in objects if object_ not in self._result_objects])
        if unwanted:
            self._releases += unwanted
            self._release()

    def _tell(self, message: Message) -> None:
        """Send what does not wait for credit: now, or after the next ClientKnown."""
        (self._messages if self._online else self._control).append(message)

    # ------------------------------------------------------------------------------------------------------ sending

    def _pump(self, outbox_bytes: int, now: float) -> None:
        """Send what credit and outbox allow: single tasks, graphs and a block of each array take turns."""
        room = SEND_AHEAD_BYTES - outbox_bytes
        self._outbox_at = None
        is_starved = False
        while self._unsent or self._graphs or self._turns:
            before = self._sent_bytes
            count = len(self._messages)
            if room <= 0:
                self._outbox_at = now + OUTBOX_S
                break
            if not (self._send_tasks(now) and self._send_graph(now) and self._send_turn()):
                is_starved = True
                break
            room -= self._sent_bytes - before
            if len(self._messages) == count and not self._turns:
                break
        self._functions.trim(self._messages)
        if self._releases:
            self._release()
        if is_starved or self._backlog[0]:
            self._announce_backlog()

    def _send_tasks(self, now: float) -> bool:
        """One message of single tasks; False if credit or the function table are used up."""
        unsent = self._unsent
        if not unsent:
            return True
        rows: list[Row] = []
        options: dict[m.TaskOptions, int] = {}
        last: m.TaskOptions | None = None
        index = 0
        sent_bytes, credit = self._sent_bytes, self._credit_bytes
        stop = min(credit, sent_bytes + MESSAGE_BYTES)
        use, messages = self._functions.use, self._messages
        taken: list[ev.TaskRow] = []
        for task in islice(unsent.values(), limits.BATCH_ROWS):
            _, function, payload, objects, option, _ = task
            size = len(payload)
            if sent_bytes + size > stop and (sent_bytes + size > credit or rows):
                break
            number = use(function, messages)
            if number is None:
                stop = -1
                break
            sent_bytes += size
            if option is not last:
                last = option
                index = options.setdefault(option, len(options))
            rows.append((task[0], number, payload, objects, index))
            taken.append(task)
        if rows:
            if len(taken) == len(unsent):
                self._sent.update(unsent)
                unsent.clear()
            else:
                for task in taken:
                    del unsent[task[0]]
                self._sent.update([(task[0], task) for task in taken])
            self._unsent_bytes -= sent_bytes - self._sent_bytes
            self._sent_bytes = sent_bytes
            messages.append(m.SubmitTasks(tuple(options), tuple(rows)))
            self._journal.append((now, f"sent with {len(rows)} others", rows[0][0], rows[-1][0] + 1))
        return bool(rows) and stop != -1

    def _send_graph(self, now: float) -> bool:
        """The next graph, whole, outside of the credit: half a graph is never started, so it earns no more."""
        graph = next((g for g in self._graphs.values() if not g.sent), None)
        if graph is None:
            return True
        if not self._functions.has_room(graph.functions):
            return False
        numbers = {function: self._functions.use(function, self._messages) for function in graph.functions}
        for part in _parts(graph.nodes):
            options: dict[m.TaskOptions, int] = {}
            rows = tuple(
                [
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
            )
            self._messages.append(m.GraphNodes(graph.number, tuple(options), rows))
        self._messages.append(graph.end())
        graph.sent = True
        self._note(now, "graph sent", graph.number)
        return True

    def _send_turn(self) -> bool:
        """A block of the array whose turn it is; False if credit or the function table are used up."""
        if not self._turns:
            return True
        array = self._arrays.get(self._turns[0])
        if array is None:
            self._turns.popleft()
            return True
        size = array.next_bytes
        if size is not None and self._sent_bytes + size > self._credit_bytes:
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
        self._turns.popleft()
        if array.next_bytes is not None:
            self._turns.append(array.number)
        else:
            array.take_end(self._messages)
        return True

    def _turn(self, array: ArrayState) -> None:
        if array.number not in self._turns:
            self._turns.append(array.number)

    def _announce_backlog(self) -> None:
        """Tell how much waits, when it begins, ends, or has doubled or halved."""
        arrays = [self._arrays[number] for number in self._turns if number in self._arrays]
        size = self._unsent_bytes + sum([array.unsent_bytes for array in arrays])
        count = len(self._unsent) + sum([array.unsent_rows for array in arrays])
        told = self._backlog[0]
        if (count == 0) != (told == 0) or count > 2 * told or 2 * count < told:
            self._backlog = (count, size)
            self._messages.append(m.Backlog(count, size))

    # ------------------------------------------------------------------------------------------------------- inside

    def _take_effects(self) -> list[do.Effect]:
        effects, self._effects = self._effects, []
        if self._messages:
            effects.append(do.Send(self._messages))
            self._messages = []
        return effects

    def _note(self, now: float, what: str, number: int = -1) -> None:
        self._journal.append((now, what, number, number + 1 if number >= 0 else -1))

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        assert not (self._sent.keys() & self._unsent.keys())
        assert self._unsent_bytes == sum(len(task[_PAYLOAD]) for task in self._unsent.values())
        assert set(self._graph_of) == {n.number for g in self._graphs.values() for n in g.nodes}
        assert all(graph.open_targets for graph in self._graphs.values())
        assert all(number == array.number and not array.is_done for number, array in self._arrays.items())
        assert (self._ack_at is None) == (self._unacknowledged == 0)
        assert not (self._online and self._control)
        assert len(set(self._turns)) == len(self._turns)
        for array in self._arrays.values():
            array.check_invariants()
            assert array.unsent_bytes == 0 or not self._online or array.number in self._turns
        if self._online:
            self._functions.check_invariants()


_HANDLERS: Final[dict[type, Any]] = {
    ev.Connected: ClientCore._on_connected,
    ev.Disconnected: ClientCore._on_disconnected,
    ev.GraphSubmitted: ClientCore._on_graph,
    ev.ArrayOpened: ClientCore._on_opened,
    ev.ArrayEnded: ClientCore._on_ended,
    ev.TasksCancelled: ClientCore._on_cancelled,
    ev.ObjectsHeld: ClientCore._on_held,
    ev.ObjectsReleased: ClientCore._on_released,
    ev.Cleared: ClientCore._on_cleared,
    ev.Abandoned: ClientCore._on_abandoned,
}


def _fault(message: m.ArrayResults, array: ArrayState) -> str | None:
    """What is wrong with a slice's results, before anything is changed by them."""
    lo, hi = message.lo, message.hi
    if not 0 <= lo < hi <= array.rows:
        return f"rows {lo} to {hi} of {array.rows}"
    if len(message.lengths) != _U32 * (hi - lo):
        return f"{len(message.lengths)} bytes of lengths for {hi - lo} rows"
    if sum(memoryview(message.lengths).cast("I")) != len(message.data):
        return f"lengths that do not add up to {len(message.data)} bytes"
    if not all(lo <= row < hi for rows in (message.failed, message.objects) for row, _ in rows):
        return f"a row outside of {lo} to {hi}"
    return None


def _parts(nodes: Sequence[ev.NodeRow]) -> Iterator[Sequence[ev.NodeRow]]:
    """The nodes in pieces that fit into messages."""
    start = size = 0
    for i, node in enumerate(nodes):
        if i > start and (i - start == limits.BATCH_ROWS or size + len(node.payload) > MESSAGE_BYTES):
            yield nodes[start:i]
            start, size = i, 0
        size += len(node.payload)
    if start < len(nodes):
        yield nodes[start:]
