"""Between workers and the scheduler."""

from scaler_protocol import limits
from scaler_protocol.fields import (
    BYTES,
    INTEGER,
    NAME,
    OBJECTS,
    PAYLOADS,
    SECONDS,
    SESSION,
    Row,
    bounded,
    choice,
    exactly,
    message,
    nested,
    rows,
    segment,
)
from scaler_protocol.frames import Buffer
from scaler_protocol.ids import SESSION_ID_BYTES, U64_MAX
from scaler_protocol.messages.vocabulary import Outcome, ReturnReason, TaskOptions
from scaler_protocol.values import frozen

_table = rows  # for classes that have a field of that name


@message(56)
@frozen
class WorkerHeld:
    """The first message of every connection of a worker: what it is, and what it holds."""

    slots: int = bounded(minimum=1, maximum=1 << 16)
    capabilities: tuple[Row, ...] = rows(NAME, INTEGER, at_most=limits.CAPABILITIES)
    manager: str = bounded(maximum=limits.NAME_BYTES)  # id of the worker manager that started it, "" = none
    latency_s: float = bounded(minimum=0, maximum=36000)  # how long an assignment takes to start here
    #: (epoch, attempt, client session, task, lo, hi, how often a crash was charged to it): queued or running here
    unfinished: tuple[Row, ...] = rows(int, int, SESSION, int, int, int, int, at_most=limits.HELD_ROWS)
    #: the same, results not yet settled; they are sent again after this message
    finished: tuple[Row, ...] = rows(int, int, SESSION, int, int, int, int, at_most=limits.HELD_ROWS)
    unit: str = bounded(maximum=limits.NAME_BYTES, default="")  # what its manager calls it, "" = as its own name


@message(57)
@frozen
class AttemptResults:
    """Results of single tasks."""

    #: (attempt, outcome, payload, objects that the payload names, seconds it ran)
    rows: tuple[Row, ...] = rows(int, choice(Outcome), bytes, OBJECTS, SECONDS)
    #: (attempt, CPU seconds, peak memory in bytes, seconds since it began), only tasks whose options ask for it
    profiles: tuple[Row, ...] = _table(int, SECONDS, int, SECONDS, default=())


@message(58)
@frozen
class SliceResults:
    """Results of rows ``lo`` to ``hi`` of a slice, in order."""

    attempt: int = bounded(minimum=0, maximum=U64_MAX)
    lo: int = bounded(minimum=0, maximum=limits.ARRAY_ITEMS)
    hi: int = bounded(minimum=0, maximum=limits.ARRAY_ITEMS)
    #: (row, outcome), only rows that did not end with a value
    failed: tuple[Row, ...] = rows(int, choice(Outcome), at_most=limits.BLOCK_ROWS)
    #: (row, objects that its payload names)
    objects: tuple[Row, ...] = rows(int, OBJECTS, at_most=limits.BLOCK_ROWS)
    seconds: float = bounded(minimum=0)
    lengths: Buffer = segment()
    data: Buffer = segment()


@message(59)
@frozen
class Returned:
    """Unstarted items given back: (attempt, lo, hi, reason); lo == hi answers a recall that came too late."""

    rows: tuple[Row, ...] = rows(int, int, int, choice(ReturnReason))


@message(60)
@frozen
class Crashed:
    """Items whose processor died while it ran them: (attempt, row, charged to the item, what happened).

    A death on purpose (a cancel, a drain) is not charged.
    """

    rows: tuple[Row, ...] = rows(int, int, bool, str)


@message(61)
@frozen
class WorkerStatus:
    """How a worker is, every heartbeat."""

    queued: int = bounded(minimum=0, maximum=U64_MAX)
    running: int = bounded(minimum=0, maximum=U64_MAX)
    cpu_percent: float = bounded(minimum=0)
    memory_bytes: int = bounded(minimum=0, maximum=U64_MAX)


@message(62)
@frozen
class Waiting:
    """Items that wait for tasks of their own, and so need no slot; absolute numbers, so that it may be said again.

    A processor has one client session for all that its items submit. One that is named in ``ended`` has died.
    """

    #: (attempt, how many of its items wait now, session of the processor that runs it)
    rows: tuple[Row, ...] = rows(int, int, SESSION)
    ended: tuple[bytes, ...] = bounded(item=SESSION, maximum=limits.BATCH_ROWS, default=())


@message(63)
@frozen
class AttemptOutput:
    """What items print whose options ask for it, in whole lines, before their results."""

    #: (attempt, row, 1 = stdout or 2 = stderr, bytes before these that were left out, lines)
    rows: tuple[Row, ...] = rows(int, int, int, int, bytes)


# ---------------------------------------------------------------------------------------------- scheduler to worker


@message(72)
@frozen
class WorkerKnown:
    """The answer to ``WorkerHeld``."""

    epoch: int = bounded(minimum=0, maximum=U64_MAX)
    object_address: str = bounded(maximum=limits.TEXT_BYTES)
    #: (epoch, attempt) of what the worker holds and shall drop: superseded, or of a client that is gone
    drop: tuple[Row, ...] = rows(int, int, at_most=limits.HELD_ROWS)


@message(73)
@frozen
class PutFunction:
    """A function, once per connection, before the first assignment that names it."""

    function: int = bounded(minimum=0, maximum=U64_MAX)
    name: str = bounded(maximum=limits.NAME_BYTES)
    payload: Buffer = segment()


@message(74)
@frozen
class ForgetFunctions:
    """Functions that no assignment will name again."""

    functions: tuple[int, ...] = bounded(maximum=limits.BATCH_ROWS)


@message(75)
@frozen
class AssignTasks:
    """Single tasks to run, in this order."""

    options: tuple[TaskOptions, ...] = bounded(maximum=limits.BATCH_ROWS)
    #: (attempt, client session, task, function, payload, payloads of its inputs, index into options)
    rows: tuple[Row, ...] = rows(int, SESSION, int, int, bytes, PAYLOADS, int)


@message(76)
@frozen
class AssignSlice:
    """Rows ``lo`` to ``hi`` of an array; the first page begins at row ``first``."""

    attempt: int = bounded(minimum=0, maximum=U64_MAX)
    client: bytes = exactly(SESSION_ID_BYTES)
    task: int = bounded(minimum=0, maximum=U64_MAX)
    lo: int = bounded(minimum=0, maximum=limits.ARRAY_ITEMS)
    hi: int = bounded(minimum=0, maximum=limits.ARRAY_ITEMS)
    function: int = bounded(minimum=0, maximum=U64_MAX)
    options: TaskOptions = nested()
    first: int = bounded(minimum=0, maximum=limits.ARRAY_ITEMS)
    page_rows: int = bounded(minimum=1, maximum=limits.BLOCK_ROWS)
    expected_s: float = bounded(minimum=0)  # predicted running time of one row, 0 = unknown
    offsets: Buffer = segment()  # u32 little-endian within data, one more than there are pages
    data: Buffer = segment()


@message(77)
@frozen
class AssignInputs:
    """Inputs of a task too large for its ``AssignTasks`` row, which follows: they come before the row's own."""

    attempt: int = bounded(minimum=0, maximum=U64_MAX)
    payloads: tuple[bytes, ...] = bounded(item=BYTES, maximum=limits.DEPENDENCIES)


@message(78)
@frozen
class Recall:
    """Give back what has not started: (attempt, lo) means rows lo and up. Each row is answered by ``Returned``."""

    rows: tuple[Row, ...] = rows(int, int)


@message(79)
@frozen
class CancelAttempts:
    """Cancel rows of attempts: (attempt, lo, hi). Answered by ``Returned`` or by results."""

    rows: tuple[Row, ...] = rows(int, int, int)


@message(80)
@frozen
class Settled:
    """The results of these attempts are with their client: the worker may forget them."""

    attempts: tuple[int, ...] = bounded(maximum=limits.BATCH_ROWS)


@message(81)
@frozen
class Drain:
    """Take no more, finish what runs within ``grace_s``, then leave."""

    grace_s: float = bounded(minimum=0, maximum=36000)
