"""Single tasks: those that wait to be sent, in order, and those that the scheduler has."""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from scaler_protocol import Message, limits
from scaler_protocol.messages import SubmitTasks, TaskOptions
from scaler_trio.client.core.events import TaskRow
from scaler_trio.client.core.function_table import FunctionTable
from scaler_trio.client.core.graph_state import MESSAGE_BYTES
from scaler_trio.ranges import RangeSet

if TYPE_CHECKING:
    from scaler_protocol.fields import Row

FUNCTION: Final = 1  # indices into a TaskRow
PAYLOAD: Final = 2
OPTIONS: Final = 4
OWNER: Final = 5


class TaskTable:
    """Every unfinished single task is in exactly one of ``unsent`` and ``sent``."""

    def __init__(self, functions: FunctionTable) -> None:
        self.unsent: dict[int, TaskRow] = {}  # in the order in which they will be sent
        self.unsent_bytes = 0  # their payload
        self.sent: dict[int, TaskRow] = {}
        self._functions = functions

    def add(self, rows: Sequence[TaskRow]) -> None:
        """New tasks."""
        self.unsent.update([(row[0], row) for row in rows])
        self.unsent_bytes += sum([len(row[PAYLOAD]) for row in rows])

    def pop(self, number: int) -> TaskRow | None:
        """A task has ended, or is not wanted any more; None if there is no such task."""
        task = self.sent.pop(number, None)
        if task is not None:
            self._functions.done(task[FUNCTION])
        elif (task := self.unsent.pop(number, None)) is not None:
            self.unsent_bytes -= len(task[PAYLOAD])
        return task

    def owners(self) -> list[Any]:
        """Whom all of them are for."""
        return [task[OWNER] for task in (*self.sent.values(), *self.unsent.values())]

    def keep_known(self, known: RangeSet) -> None:
        """What the scheduler does not have becomes unsent again, in its old order before what was never sent."""
        again = {number: task for number, task in self.sent.items() if number not in known}
        if again:
            self.unsent_bytes += sum([len(task[PAYLOAD]) for task in again.values()])
            self.sent = {number: task for number, task in self.sent.items() if number not in again}
            self.unsent = {**again, **self.unsent}
        for task in self.sent.values():
            self._functions.used(task[FUNCTION])

    def take_message(self, credit_bytes: int, messages: list[Message]) -> tuple[int, bool]:
        """Append one message of tasks, and what must be sent before it.

        Returns the payload in it, and whether more could be sent: False if credit or the function table are used up.
        """
        rows: list[Row] = []
        taken: list[TaskRow] = []
        options: dict[TaskOptions, int] = {}
        last: TaskOptions | None = None
        index = size = 0
        use = self._functions.use
        goes_on = True
        for task in islice(self.unsent.values(), limits.BATCH_ROWS):
            number, function, payload, objects, option, _ = task
            larger = size + len(payload)
            if larger > credit_bytes:
                goes_on = False
                break
            if larger > MESSAGE_BYTES and rows:
                break
            function_number = use(function, messages)
            if function_number is None:
                goes_on = False
                break
            size = larger
            if option is not last:
                last = option
                index = options.setdefault(option, len(options))
            rows.append((number, function_number, payload, objects, index))
            taken.append(task)
        if rows:
            if len(taken) == len(self.unsent):
                self.sent.update(self.unsent)
                self.unsent.clear()
            else:
                for task in taken:
                    del self.unsent[task[0]]
                self.sent.update([(task[0], task) for task in taken])
            self.unsent_bytes -= size
            messages.append(SubmitTasks(tuple(options), tuple(rows)))
        return size, goes_on

    def clear(self) -> None:
        """Forget all of them."""
        self.unsent.clear()
        self.sent.clear()
        self.unsent_bytes = 0

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        assert not (self.sent.keys() & self.unsent.keys())
        assert self.unsent_bytes == sum(len(task[PAYLOAD]) for task in self.unsent.values())
