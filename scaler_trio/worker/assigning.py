"""What the scheduler assigns: functions, inputs, tasks, slices; checked whole before anything of it is taken in."""

from typing import TYPE_CHECKING

from scaler_protocol import messages as m
from scaler_trio.worker import tuning
from scaler_trio.worker.errors import PeerFault
from scaler_trio.worker.records import Attempt, Function, PagedRows, Piece, SingleRow
from scaler_trio.worker.states import Happening, Row, step

if TYPE_CHECKING:
    from scaler_trio.worker.core import WorkerCore


def slice_fault(message: m.AssignSlice) -> str | None:
    """What is wrong with a slice, or None."""
    if message.lo >= message.hi or message.first > message.lo:
        return f"rows {message.lo} to {message.hi} of pages that begin at {message.first}"
    offsets = message.offsets
    pages = len(offsets) // 4 - 1
    if len(offsets) % 4 or pages < 1 or message.first + pages * message.page_rows < message.hi:
        return f"{pages} pages of {message.page_rows} rows do not hold rows up to {message.hi}"
    table = memoryview(offsets).cast("B").cast("I")
    if table[0] or table[-1] != len(message.data) or any(table[i] > table[i + 1] for i in range(pages)):
        return f"an offset table from {table[0]} to {table[-1]} for {len(message.data)} bytes"
    return None


def on_put_function(core: "WorkerCore", message: m.PutFunction) -> None:
    _check_known(core, "PutFunction")
    if message.function in core.functions:
        raise PeerFault(f"function {message.function} was defined twice")
    core.last_key += 1
    core.functions[message.function] = Function(core.last_key, message.name, message.payload)


def on_forget_functions(core: "WorkerCore", message: m.ForgetFunctions) -> None:
    for number in message.functions:
        function = core.functions.pop(number, None)
        if function is not None:
            core.forget(function)


def on_assign_inputs(core: "WorkerCore", message: m.AssignInputs) -> None:
    _check_known(core, "AssignInputs")
    size = sum(map(len, message.payloads))
    if core.inputs_bytes + size > tuning.INPUTS_BYTES:
        raise PeerFault(f"inputs of tasks that never came; the limit is {tuning.INPUTS_BYTES} bytes")
    core.inputs_bytes += size
    core.inputs.setdefault(message.attempt, []).extend(message.payloads)


def on_assign_tasks(core: "WorkerCore", message: m.AssignTasks) -> None:
    _check_known(core, "AssignTasks")
    for row in message.rows:
        if row[3] not in core.functions:
            raise PeerFault(f"attempt {row[0]} names function {row[3]}, which was not defined on this connection")
        if not 0 <= row[6] < len(message.options):
            raise PeerFault(f"attempt {row[0]} names options {row[6]} of {len(message.options)}")
    _check_room(core, len(message.rows))
    attempts, epoch = core.attempts, core.epoch
    for number, client, task, function_number, payload, inputs, options in message.rows:
        if core.inputs and (before := core.inputs.pop(number, ())):
            core.inputs_bytes -= sum(map(len, before))
            inputs = (*before, *inputs)
        if (epoch, number) in attempts:
            continue  # a duplicate
        size = len(payload) + sum(map(len, inputs)) if inputs else len(payload)
        function = core.functions[function_number]
        work = SingleRow(payload, inputs)
        _add(core, Attempt(epoch, number, client, task, 0, 1, function, message.options[options], work, size, 1))


def on_assign_slice(core: "WorkerCore", message: m.AssignSlice) -> None:
    _check_known(core, "AssignSlice")
    function = core.functions.get(message.function)
    if function is None:
        raise PeerFault(
            f"attempt {message.attempt} names function {message.function}, which was not defined on this connection"
        )
    if fault := slice_fault(message):
        raise PeerFault(f"attempt {message.attempt}: {fault}")
    _check_room(core, 1)
    if (core.epoch, message.attempt) in core.attempts:
        return
    if not function.mean_ns:
        function.mean_ns = int(message.expected_s * 1e9)
    rows = message.hi - message.lo
    work = PagedRows(message.first, message.page_rows, message.offsets, message.data)
    key = (core.epoch, message.attempt, message.client, message.task, message.lo, message.hi)
    _add(core, Attempt(*key, function, message.options, work, len(message.data) // rows, rows))


def _add(core: "WorkerCore", attempt: Attempt) -> None:
    step(Row.UNKNOWN, Happening.ASSIGN, attempt)
    core.attempts[attempt.epoch, attempt.number] = attempt
    attempt.function.attempts += 1
    core.enqueue(Piece(attempt, attempt.lo, attempt.hi))
    core.tell("assigned", attempt, attempt.lo, attempt.hi)


def _check_known(core: "WorkerCore", what: str) -> None:
    if not core.is_known:
        raise PeerFault(f"{what} before WorkerKnown")


def _check_room(core: "WorkerCore", attempts: int) -> None:
    if len(core.attempts) + attempts > tuning.ATTEMPTS:
        raise PeerFault(f"more than {tuning.ATTEMPTS} attempts at one time")
