"""What clients send: functions, single tasks, cancels, acknowledgements, objects.

Everything is idempotent by its numbers: a client that reconnects sends again what may have been lost.
A message is checked completely before anything of it is taken in.
"""

from collections.abc import Callable
from typing import Any

from attrs import define, field

from scaler_protocol import Message, limits
from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from scaler_trio.scheduler.core.arrays import Arrays
from scaler_trio.scheduler.core.completion import Completion
from scaler_trio.scheduler.core.delivery import Delivery
from scaler_trio.scheduler.core.demands import demand_of, function_of
from scaler_trio.scheduler.core.errors import PeerFault
from scaler_trio.scheduler.core.explaining import Explaining
from scaler_trio.scheduler.core.graphs import Graphs
from scaler_trio.scheduler.core.records import Client, Demand, Function, Task
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.requeue import CANCELLED_TEXT
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskEvent, TaskState


@define(eq=False, repr=False)
class Submissions:
    """Turns clients' messages into records and ready work."""

    state: SchedulerState
    completion: Completion
    delivery: Delivery
    recovery: Recovery
    arrays: Arrays
    graphs: Graphs
    explaining: Explaining
    handlers: dict[type, Callable[[Client, Any], None]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.handlers = {
            m.SubmitTasks: self._submit,
            m.AckResults: lambda client, message: self.delivery.acknowledge(client, message.sequence),
            m.ArrayBlock: self.arrays.block,
            m.DefineFunction: self._define,
            m.DropFunctions: self._drop_functions,
            m.OpenArray: self.arrays.open,
            m.EndArray: self.arrays.end,
            m.GraphNodes: self.graphs.nodes,
            m.GraphEnd: self.graphs.end,
            m.CancelTasks: self._cancel,
            m.HoldObjects: self._hold,
            m.ReleaseObjects: self._release,
            m.Backlog: lambda client, message: None,
            m.Explain: self.explaining.answer,
            m.Shutdown: self._shut_down,
        }

    def handle(self, client: Client, message: Message) -> None:
        """Take in one message.

        Raises:
            PeerFault: before anything of the message is taken in.
        """
        handler = self.handlers.get(type(message))
        if handler is None:
            raise PeerFault(f"a client does not send {type(message).__name__}")
        handler(client, message)

    def _shut_down(self, client: Client, message: m.Shutdown) -> None:
        state = self.state
        if state.protected:
            text = "is in protected mode, in which clients may not shut it down"
            state.effects.send(client.session, m.ShutdownRefused(text))
            return
        state.effects.shutdown = f"{client.name} asked for it"

    # -------------------------------------------------------------------------------------------------- functions

    def _define(self, client: Client, message: m.DefineFunction) -> None:
        if message.function in client.functions:
            raise PeerFault(f"function {message.function} is defined twice")
        if len(client.functions) >= limits.FUNCTIONS_PER_CLIENT:
            raise PeerFault(f"more than {limits.FUNCTIONS_PER_CLIENT} functions are defined")
        state = self.state
        key = state.next_function
        state.next_function = key + 1
        function = Function(client, key, message.name, message.payload, expected_s=state.tuning.prior_s)
        client.functions[message.function] = function

    def _drop_functions(self, client: Client, message: m.DropFunctions) -> None:
        for number in message.functions:
            function = client.functions.pop(number, None)
            if function is not None:
                self.state.retire(function)

    # ----------------------------------------------------------------------------------------------- single tasks

    def _submit(self, client: Client, message: m.SubmitTasks) -> None:
        state = self.state
        demands = [demand_of(state, client, options) for options in message.options]
        count, tasks, arrays = len(demands), client.tasks, client.arrays
        fresh: dict[int, Task] = {}
        story = ((state.now, "submitted"),)
        ready = TaskState.READY
        total = size = 0
        function_number, function = -1, None
        for number, its_function, payload, objects, option in message.rows:
            total += len(payload)
            if number in tasks:
                continue
            if its_function != function_number or function is None:
                function_number, function = its_function, function_of(client, its_function)
            if option >= count:
                raise PeerFault(f"row of task {number} names options {option} of {count}")
            size += len(payload)
            fresh[number] = Task(client, number, function, payload, objects, demands[option], ready, story)
        if len(fresh) < len(message.rows):
            self._check_repeated(client, message)
        if arrays and not arrays.keys().isdisjoint(fresh):
            raise PeerFault("a task has the number of an array")
        tasks.update(fresh)
        client.received_bytes += total
        client.unassigned_bytes += size
        state.touched[client] = None
        self._queue(client, fresh)

    def _check_repeated(self, client: Client, message: m.SubmitTasks) -> None:
        """A number that is known already is a repetition; the same number twice in one message is a fault."""
        numbers = [row[0] for row in message.rows]
        if len(set(numbers)) < len(numbers):
            raise PeerFault("a message names the same task twice")

    def _queue(self, client: Client, fresh: dict[int, Task]) -> None:
        state = self.state
        concerned = self.recovery.concerns(client)
        demand: Demand | None = None
        add: Callable[[Task], None] = state.ready.add
        for task in fresh.values():
            task.function.users += 1
            if task.objects:
                state.references.add(task.objects)
            if concerned and self.recovery.take_task(task):
                demand = None
                continue
            if task.demand is not demand:
                demand = task.demand
                add = demand.line.queue(client, demand.options.priority).append
                state.ready.enlist(demand.line)
            add(task)

    # ------------------------------------------------------------------------------------------------------ cancel

    def _cancel(self, client: Client, message: m.CancelTasks) -> None:
        for number, lo, hi in message.rows:
            task = client.tasks.get(number)
            if task is not None:
                self._cancel_task(task)
            array = client.arrays.get(number)
            if array is not None and lo < hi:
                self.arrays.cancel(array, lo, hi)

    def _cancel_task(self, task: Task) -> None:
        """Cancel one task: at once if it has not started, by its worker otherwise."""
        state = self.state
        if task.state is TaskState.ASSIGNED:
            state.move(task, TaskEvent.CANCEL)
            attempt = task.attempt
            assert attempt is not None
            state.cancel_rows(attempt.worker, attempt.number, 0, 1)
        elif task.state is TaskState.WAITING or task.state is TaskState.READY:
            self.completion.finish(task, TaskEvent.CANCEL, Outcome.CANCELLED, CANCELLED_TEXT)

    # ----------------------------------------------------------------------------------------------------- objects

    def _hold(self, client: Client, message: m.HoldObjects) -> None:
        fresh = {object_ for object_, _ in message.rows} - client.held
        if client.result_objects:  # after a reconnect a client names these too, which it releases only once
            fresh.difference_update(client.result_objects)
        client.held |= fresh
        self.state.references.add(fresh)

    def _release(self, client: Client, message: m.ReleaseObjects) -> None:
        for object_ in message.objects:
            count = client.result_objects.get(object_, 0)
            if count > 1:
                client.result_objects[object_] = count - 1
            elif count == 1:
                del client.result_objects[object_]
            elif object_ in client.held:
                client.held.discard(object_)
            else:
                continue  # not (any more) the client's
            self.state.references.remove((object_,))
