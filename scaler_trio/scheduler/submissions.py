"""What clients send: functions, tasks, arrays, graphs, cancels, acknowledgements, objects.

Everything is idempotent by its numbers: a client that reconnects sends again what may have been lost.
A message is checked completely before anything of it is taken in.
"""

import sys
from collections.abc import Callable
from typing import Any, Final

from attrs import define, field

from scaler_protocol import Message, limits
from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome, TaskOptions
from scaler_trio.scheduler.completion import Completion
from scaler_trio.scheduler.errors import PeerFault
from scaler_trio.scheduler.records import Array, ClassKey, Client, Function, RowBlock, Task
from scaler_trio.scheduler.recovery import Recovery
from scaler_trio.scheduler.state import SchedulerState
from scaler_trio.scheduler.states import TaskEvent, TaskState

CANCELLED_TEXT: Final = b"cancelled before it started"


@define
class Submissions:
    """Turns clients' messages into records and ready work."""

    state: SchedulerState
    completion: Completion
    recovery: Recovery
    handlers: dict[type, Callable[[Client, Any], None]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.handlers = {
            m.SubmitTasks: self._submit,
            m.AckResults: lambda client, message: self.completion.acknowledge(client, message.sequence),
            m.ArrayBlock: self._block,
            m.DefineFunction: self._define,
            m.DropFunctions: self._drop_functions,
            m.OpenArray: self._open_array,
            m.EndArray: self._end_array,
            m.GraphNodes: self._nodes,
            m.GraphEnd: self._graph_end,
            m.CancelTasks: self._cancel,
            m.HoldObjects: self._hold,
            m.ReleaseObjects: self._release,
            m.ClientHeld: self._held,
            m.Backlog: lambda client, message: None,
        }

    def handle(self, client: Client, message: Message) -> None:
        """Take in one message. Raises ``PeerFault`` before anything is changed."""
        handler = self.handlers.get(type(message))
        if handler is None:
            raise PeerFault(f"a client does not send {type(message).__name__}")
        handler(client, message)

    # -------------------------------------------------------------------------------------------------- functions

    def _define(self, client: Client, message: m.DefineFunction) -> None:
        if message.function in client.functions:
            return
        if len(client.functions) >= limits.FUNCTIONS_PER_CLIENT:
            raise PeerFault(f"more than {limits.FUNCTIONS_PER_CLIENT} functions are defined")
        key = self.state.next_function
        self.state.next_function = key + 1
        client.functions[message.function] = Function(client, message.function, key, message.name, message.payload)

    def _drop_functions(self, client: Client, message: m.DropFunctions) -> None:
        for number in message.functions:
            function = client.functions.pop(number, None)
            if function is not None:
                function.dropped = True
                for worker in self.state.workers.values():
                    if function.key in worker.functions:
                        worker.functions.discard(function.key)
                        if worker.connected:
                            self.state.effects.send(worker.session, m.ForgetFunctions((function.key,)))

    def _function(self, client: Client, number: int) -> Function:
        function = client.functions.get(number)
        if function is None:
            raise PeerFault(f"function {number} was not defined")
        return function

    # ----------------------------------------------------------------------------------------------- single tasks

    def _submit(self, client: Client, message: m.SubmitTasks) -> None:
        state = self.state
        options = message.options
        keys = [class_key(client, option) for option in options]
        count = len(options)
        tasks = client.tasks
        functions = client.functions
        fresh = []
        for number, function_number, payload, objects, option, *_ in message.rows:
            if number in tasks:
                continue
            function = functions.get(function_number)
            if function is None:
                raise PeerFault(f"function {function_number} was not defined")
            if not 0 <= option < count:
                raise PeerFault(f"row of task {number} names options {option} of {count}")
            fresh.append(
                Task(client, number, function, payload, objects, options[option], keys[option], TaskState.READY)
            )
        size = 0
        add, references = state.ready.add, state.references
        now = state.now
        for task in fresh:
            tasks[task.number] = task
            task.story.append((now, "submitted"))
            size += len(task.payload)
            if task.objects:
                references.add(task.objects)
            if not (self.recovery.open and self.recovery.adopt_task(task)):
                add(task)
        client.received_bytes += size
        client.unassigned_bytes += size
        state.touched[client] = None

    # ------------------------------------------------------------------------------------------------------ graphs

    def _nodes(self, client: Client, message: m.GraphNodes) -> None:
        options = message.options
        fresh: dict[int, Task] = {}
        inputs: list[tuple[Task, tuple[int, ...]]] = []
        for number, function_number, payload, objects, option, wanted_inputs, *_ in message.rows:
            if number in client.tasks:
                continue
            if not 0 <= option < len(options):
                raise PeerFault(f"row of node {number} names options {option} of {len(options)}")
            function = self._function(client, function_number)
            task = Task(
                client,
                number,
                function,
                payload,
                objects,
                options[option],
                class_key(client, options[option]),
                TaskState.WAITING,
                wanted=False,
            )
            fresh[number] = task
            inputs.append((task, wanted_inputs))
        linked = []
        for task, numbers in inputs:
            sources = []
            for number in numbers:
                source = fresh.get(number) or client.tasks.get(number)
                if source is None or source is task or (source.state is TaskState.DONE and source.result is None):
                    raise PeerFault(f"node {task.number} takes the result of {number}, which is not a node before it")
                sources.append(source)
            linked.append((task, sources))
        client.tasks.update(fresh)
        client.graphs.setdefault(message.graph, []).extend(fresh.values())
        for task, sources in linked:
            task.inputs = sources
            for source in sources:
                source.dependents.append(task)
                source.readers += 1
                if source.state is not TaskState.DONE:
                    task.missing += 1
            if task.objects:
                self.state.references.add(task.objects)
        self.state.touched[client] = None

    def _graph_end(self, client: Client, message: m.GraphEnd) -> None:
        nodes = client.graphs.get(message.graph)
        if nodes is None:
            return
        for number in message.targets:
            if number not in client.tasks:
                raise PeerFault(f"target {number} is not a node of the graph")
        del client.graphs[message.graph]
        for number in message.targets:
            client.tasks[number].wanted = True
        for task in nodes:
            if task.missing == 0 and task.state is TaskState.WAITING:
                self.state.move(task, TaskEvent.INPUTS_READY)
                client.unassigned_bytes += len(task.payload)
                self.state.ready.add(task)

    # ------------------------------------------------------------------------------------------------------ arrays

    def _open_array(self, client: Client, message: m.OpenArray) -> None:
        if message.task in client.arrays:
            return
        if len(client.arrays) >= limits.ARRAYS_PER_CLIENT:
            raise PeerFault(f"more than {limits.ARRAYS_PER_CLIENT} arrays are open")
        function = self._function(client, message.function)
        options = message.options
        array = Array(client, message.task, function, options, class_key(client, options), message.count)
        for lo, hi in message.done:
            if not 0 <= lo < hi:
                raise PeerFault(f"array {message.task}: done range {lo} to {hi}")
            array.done.add(lo, hi)
        client.arrays[message.task] = array
        array.story.append((self.state.now, "opened"))

    def _block(self, client: Client, message: m.ArrayBlock) -> None:
        array = client.arrays.get(message.task)
        if array is None:
            raise PeerFault(f"a block of array {message.task}, which is not open")
        start, end = message.start, message.start + message.count
        if end <= array.received:
            return
        if start != array.received or (0 <= array.count < end):
            raise PeerFault(f"array {message.task}: rows {start} to {end} do not follow row {array.received}")
        offsets = memoryview(message.offsets)
        pages = -(-message.count // message.page_rows)
        if len(offsets) != 4 * (pages + 1):
            raise PeerFault(f"array {message.task}: {len(offsets)} bytes of offsets for {pages} pages")
        offsets = offsets.cast("B").cast("I") if sys.byteorder == "little" else _swapped(offsets)
        last = 0
        for offset in offsets:
            if offset < last:
                raise PeerFault(f"array {message.task}: offsets descend")
            last = offset
        if last != len(message.data) or offsets[0] != 0:
            raise PeerFault(f"array {message.task}: offsets end at {last}, the data at {len(message.data)}")
        void = tuple([start + row for row in sorted(message.void)])
        objects = {start + row: ids for row, ids in message.objects}
        block = RowBlock(start, end, message.page_rows, offsets, memoryview(message.data), void, objects, end - start)
        array.received = end
        array.blocks[start] = block
        size = len(message.data)
        client.received_bytes += size
        client.unassigned_bytes += size
        for ids in objects.values():
            self.state.references.add(ids)
        for lo, hi in array.done.within(start, end):
            block.open -= hi - lo
        if block.open == 0:
            del array.blocks[start]
        for row in void:
            if row not in array.done:
                self.completion.finish_rows(array, row, row + 1)
        for lo, hi in array.cancelled.within(start, end):
            self.completion.report_rows(array, lo, hi, Outcome.CANCELLED, CANCELLED_TEXT)
        if self.recovery.open:
            self.recovery.adopt_rows(array, start, end)
        self.state.ready.add(array)
        self.state.touched[client] = None

    def _end_array(self, client: Client, message: m.EndArray) -> None:
        array = client.arrays.get(message.task)
        if array is None:
            return
        if message.count < array.received:
            raise PeerFault(f"array {message.task} ends at row {message.count}, {array.received} rows have come")
        array.count = message.count
        self.completion.check_array(array)

    # ------------------------------------------------------------------------------------------------------ cancel

    def _cancel(self, client: Client, message: m.CancelTasks) -> None:
        for number, lo, hi in message.rows:
            task = client.tasks.get(number)
            if task is not None:
                self.cancel_task(task)
            array = client.arrays.get(number)
            if array is not None and 0 <= lo < hi:
                self.cancel_rows(array, lo, hi)

    def cancel_task(self, task: Task) -> None:
        """Cancel one task: at once if it has not started, by its worker otherwise."""
        state = self.state
        if task.state is TaskState.ASSIGNED:
            attempt = task.attempt
            if state.move(task, TaskEvent.CANCEL) and attempt is not None and attempt.worker.connected:
                state.effects.send(attempt.worker.session, m.CancelAttempts(((attempt.number, 0, 1),)))
        elif task.state is not TaskState.DONE:
            self.completion.finish(task, TaskEvent.CANCEL, Outcome.CANCELLED, CANCELLED_TEXT)

    def cancel_rows(self, array: Array, lo: int, hi: int) -> None:
        """Cancel rows of an array, come or not yet come."""
        array.cancelled.add(lo, hi)
        array.story.append((self.state.now, "cancel", lo, hi))
        assigned = []
        for attempt in list(array.outstanding.values()):
            for a, b in attempt.open.within(lo, hi):
                assigned.append((a, b))
                if attempt.worker.connected and not attempt.lost:
                    self.state.effects.send(attempt.worker.session, m.CancelAttempts(((attempt.number, a, b),)))
        kept = type(array.done)(assigned)
        for a, b in kept.missing(lo, min(hi, array.received)):
            array.redo.remove(a, b)
            self.completion.report_rows(array, a, b, Outcome.CANCELLED, CANCELLED_TEXT)

    # ----------------------------------------------------------------------------------------------------- objects

    def _hold(self, client: Client, message: m.HoldObjects) -> None:
        fresh = {object_ for object_, *_ in message.rows} - client.held
        if any(len(object_) != 24 for object_ in fresh):
            raise PeerFault("an object id that is not 24 bytes long")
        client.held |= fresh
        self.state.references.add(fresh)

    def _release(self, client: Client, message: m.ReleaseObjects) -> None:
        for object_ in message.objects:
            count = client.result_objects.get(object_, 0)
            if count:
                if count == 1:
                    del client.result_objects[object_]
                else:
                    client.result_objects[object_] = count - 1
                self.state.references.remove((object_,))
            elif object_ in client.held:
                client.held.discard(object_)
                self.state.references.remove((object_,))

    # ---------------------------------------------------------------------------------------------------- held-set

    def _held(self, client: Client, message: m.ClientHeld) -> None:
        self.completion.acknowledge(client, message.sequence)
        known: list[tuple[int, int]] = []
        for number in sorted(client.tasks):
            if known and known[-1][1] == number:
                known[-1] = (known[-1][0], number + 1)
            else:
                known.append((number, number + 1))
        client.received_bytes = 0
        credit = self.state.tuning.credit_bytes - client.unassigned_bytes
        client.credit_bytes = max(0, credit)
        self.state.effects.send(
            client.session,
            m.ClientKnown(
                epoch=self.state.epoch,
                object_address=self.state.object_address,
                credit_bytes=client.credit_bytes,
                tasks=tuple(known),
                arrays=tuple([(array.number, array.received) for array in client.arrays.values()]),
            ),
        )
        for entry in client.unacknowledged:
            self.state.effects.send(client.session, entry.message)


def class_key(client: Client, options: TaskOptions) -> ClassKey:
    """What a worker must offer for these options."""
    if not options.capabilities:
        return (client.python, ())
    return (client.python, tuple(sorted(options.capabilities)))


def _swapped(offsets: memoryview) -> memoryview:
    from array import array

    table = array("I", bytes(offsets))
    table.byteswap()
    return memoryview(table)
