"""What the scheduler assigns: functions, inputs, tasks, slices; checked whole before anything of it is taken in."""

from scaler_protocol import messages as m
from scaler_trio.worker.channel import PLAIN, Manner
from scaler_trio.worker.core import feeding, tuning
from scaler_trio.worker.core.records import Attempt, PagedRows, Piece, SingleRow
from scaler_trio.worker.core.state import WorkerState
from scaler_trio.worker.core.states import Happening, Row, step
from scaler_trio.worker.errors import PeerFault


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


def manner_of(options: m.TaskOptions, *, of_slice: bool = False) -> Manner | None:
    """How a processor calls the function for these options; None = plainly. Rows of slices are not profiled."""
    if options is m.DEFAULT_OPTIONS:
        return None
    retry_on = options.retry_on if options.max_retries else None
    manner = Manner(retry_on, profiled=options.profiling and not of_slice, streamed=options.stream_output)
    return None if manner == PLAIN else manner


def on_put_function(state: WorkerState, message: m.PutFunction) -> None:
    _check_known(state, "PutFunction")
    if message.function in state.functions:
        raise PeerFault(f"function {message.function} was defined twice")
    state.functions[message.function] = state.new_function(message.name, message.payload)


def on_forget_functions(state: WorkerState, message: m.ForgetFunctions) -> None:
    for number in message.functions:
        function = state.functions.pop(number, None)
        if function is not None:
            state.forget(function)


def on_assign_inputs(state: WorkerState, message: m.AssignInputs) -> None:
    _check_known(state, "AssignInputs")
    size = sum(map(len, message.payloads))
    if state.inputs_bytes + size > tuning.INPUTS_BYTES:
        raise PeerFault(f"inputs of tasks that never came; the limit is {tuning.INPUTS_BYTES} bytes")
    state.inputs_bytes += size
    state.inputs.setdefault(message.attempt, []).extend(message.payloads)


def on_assign_tasks(state: WorkerState, message: m.AssignTasks) -> None:
    """Every single task takes this path, so it is written for speed."""
    _check_known(state, "AssignTasks")
    rows, options_of, functions = message.rows, message.options, state.functions
    if not {row[3] for row in rows} <= functions.keys():
        row = next(row for row in rows if row[3] not in functions)
        raise PeerFault(f"attempt {row[0]} names function {row[3]}, which was not defined on this connection")
    if wrong := {row[6] for row in rows}.difference(range(len(options_of))):
        row = next(row for row in rows if row[6] in wrong)
        raise PeerFault(f"attempt {row[0]} names options {row[6]} of {len(options_of)}")
    _check_room(state, len(rows))
    step(Row.UNKNOWN, Happening.ASSIGN, message)
    attempts, epoch = state.attempts, state.epoch
    manners = [manner_of(options) for options in options_of]
    is_plain = not any(manners)
    fresh: list[Attempt] = []
    for number, client, task, function_number, payload, inputs, options in rows:
        if state.inputs and (before := state.inputs.pop(number, ())):
            state.inputs_bytes -= sum(map(len, before))
            inputs = (*before, *inputs)
        key = (epoch, number)
        if key in attempts:
            continue  # a duplicate
        size = len(payload) + sum(map(len, inputs)) if inputs else len(payload)
        function = functions[function_number]
        if not is_plain:
            function = state.variant(function, manners[options])
        function.attempts += 1
        work = SingleRow(payload, inputs)
        attempt = Attempt(epoch, number, client, task, 0, 1, function, options_of[options], work, size, 1)
        attempts[key] = attempt
        fresh.append(attempt)
    state.tasks += [Piece(attempt, 0, 1) for attempt in fresh]
    state.queued_rows += len(fresh)
    state.tell_all("assigned", fresh)
    feeding.make_way(state)


def on_assign_slice(state: WorkerState, message: m.AssignSlice) -> None:
    _check_known(state, "AssignSlice")
    function = state.functions.get(message.function)
    if function is None:
        raise PeerFault(
            f"attempt {message.attempt} names function {message.function}, which was not defined on this connection"
        )
    if fault := slice_fault(message):
        raise PeerFault(f"attempt {message.attempt}: {fault}")
    _check_room(state, 1)
    if (state.epoch, message.attempt) in state.attempts:
        return
    function = state.variant(function, manner_of(message.options, of_slice=True))
    if not function.mean_ns:
        function.mean_ns = int(message.expected_s * 1e9)
    rows = message.hi - message.lo
    work = PagedRows(message.first, message.page_rows, message.offsets, message.data)
    key = (state.epoch, message.attempt, message.client, message.task, message.lo, message.hi)
    attempt = Attempt(*key, function, message.options, work, len(message.data) // rows, rows)
    step(Row.UNKNOWN, Happening.ASSIGN, attempt)
    state.attempts[attempt.epoch, attempt.number] = attempt
    function.attempts += 1
    state.enqueue(Piece(attempt, attempt.lo, attempt.hi))
    state.tell("assigned", attempt, attempt.lo, attempt.hi)


def _check_known(state: WorkerState, what: str) -> None:
    if not state.is_known:
        raise PeerFault(f"{what} before WorkerKnown")


def _check_room(state: WorkerState, attempts: int) -> None:
    if len(state.attempts) + attempts > tuning.ATTEMPTS:
        raise PeerFault(f"more than {tuning.ATTEMPTS} attempts at one time")
