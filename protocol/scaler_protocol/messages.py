"""Every message, grouped by who sends it. Frozen values; fields are append-only, kinds are never reused.

Rows are described where they are declared; ``README.md`` of this folder is the normative text and a test holds it to
this file. "Payload" is a pickle that only clients and processors ever open.
"""

from enum import IntEnum
from typing import Final

import attrs

from scaler_protocol import limits
from scaler_protocol.fields import (
    BYTES,
    INTEGER,
    NAME,
    NUMBERS,
    OBJECT,
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
from scaler_protocol.ids import OBJECT_ID_BYTES, SESSION_ID_BYTES, U64_MAX
from scaler_protocol.values import frozen

PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1


class Role(IntEnum):
    """What a peer is; it decides which messages it may send."""

    CLIENT = 1
    WORKER = 2
    MANAGER = 3
    SCHEDULER = 4
    OBJECTS = 5
    MONITOR = 6
    PROCESSOR = 7  # towards the object storage server only


class Outcome(IntEnum):
    """How an item ended. For ``VALUE``, ``ERROR`` and ``RETRY`` the payload is a pickle, else UTF-8 text for people."""

    VALUE = 0
    ERROR = 1  # the task raised: the payload is the pickled exception with its remote traceback
    CRASHED = 2  # its processor died, more often than the task's crash limit allows
    CANCELLED = 3
    UNRUNNABLE = 4  # no connected or obtainable worker fits
    UPSTREAM = 5  # a node that it needs failed; the payload is that node's number in ASCII
    TIMED_OUT = 6
    LOST = 7  # an object that it needs is gone and cannot be made again
    RETRY = 8  # from workers only: as ERROR, and the options allow that it is run again
    TOO_DEEP = 9  # a task of a task of a task …, deeper than the limit of nesting


class ReturnReason(IntEnum):
    """Why a worker gives an unstarted item back."""

    RECALLED = 0
    CANCELLED = 1
    NEIGHBOUR_CRASHED = 2  # it waited behind an item whose processor died
    DRAINING = 3
    NEIGHBOUR_WAITS = 4  # it waited behind an item that waits for tasks of its own, which go before


class NoticeKind(IntEnum):
    """What a notice tells the client."""

    RETRY = 1  # an item is run again, and why
    WARNING = 2


@attrs.frozen  # compared and hashed for each batch of tasks
class TaskOptions:
    """What a client may ask of a task, an array or a graph; the defaults ask for nothing."""

    priority: int = bounded(minimum=-(1 << 31), maximum=(1 << 31) - 1, default=0)
    #: (name, amount), amount -1 = just the name
    capabilities: tuple[Row, ...] = rows(NAME, INTEGER, at_most=limits.CAPABILITIES, default=())
    timeout_s: float = bounded(minimum=0, default=0.0)  # of running time; 0 = none
    max_retries: int = bounded(minimum=0, maximum=1 << 16, default=0)  # runs after the first that raised
    crash_limit: int = bounded(minimum=1, maximum=1 << 16, default=3)  # deaths of its processor until it fails
    profiling: bool = False  # of single tasks and nodes
    stream_output: bool = False
    name: str = bounded(maximum=limits.NAME_BYTES, default="")
    #: pickled tuple of the exception classes after which it is retried, b"" = any ``Exception``
    retry_on: bytes = bounded(maximum=limits.RETRY_ON_BYTES, default=b"")


DEFAULT_OPTIONS: Final = TaskOptions()

_table = rows  # for classes that have a field of that name

# ---------------------------------------------------------------------------------------------- both ways, any peer


@message(1)
@frozen
class Hello:
    """The first message of the side that connected."""

    protocol_min: int = bounded(minimum=1, maximum=U64_MAX)
    protocol_max: int = bounded(minimum=1, maximum=U64_MAX)
    role: int = bounded(minimum=0, maximum=255)
    session: bytes = exactly(SESSION_ID_BYTES)
    name: str = bounded(maximum=limits.NAME_BYTES)
    nonce: bytes = exactly(limits.NONCE_BYTES)
    epoch: int = bounded(minimum=0, maximum=U64_MAX, default=0)  # highest scheduler epoch seen
    python: str = bounded(maximum=limits.NAME_BYTES, default="")  # "3.11/cloudpickle 3.1", "" = does not pickle


@message(2)
@frozen
class HelloReply:
    """The listener's answer to ``Hello``: its own half of the proof's input."""

    protocol: int = bounded(minimum=1, maximum=U64_MAX)
    role: int = bounded(minimum=0, maximum=255)
    session: bytes = exactly(SESSION_ID_BYTES)
    name: str = bounded(maximum=limits.NAME_BYTES)
    nonce: bytes = exactly(limits.NONCE_BYTES)
    epoch: int = bounded(minimum=0, maximum=U64_MAX, default=0)
    token_required: bool = True


@message(3)
@frozen
class Proof:
    """The connecting side's proof that it knows the token (empty where none is required)."""

    mac: bytes = bounded(maximum=limits.PROOF_BYTES)


@message(4)
@frozen
class Welcome:
    """The listener accepts, and proves that it knows the token too."""

    mac: bytes = bounded(maximum=limits.PROOF_BYTES)
    heartbeat_s: float = bounded(minimum=0.01, maximum=3600, default=2.0)  # send something at least this often
    deadline_s: float = bounded(minimum=0.01, maximum=36000, default=10.0)  # silence after which the peer is given up


@message(5)
@frozen
class Error:
    """A refusal, or the last word before a connection closes."""

    code: int = bounded(minimum=0, maximum=65535)
    text: str = bounded(maximum=limits.TEXT_BYTES)


@message(6)
@frozen
class Ping:
    """A heartbeat; the peer answers with ``Pong`` of the same number."""

    number: int = bounded(minimum=0, maximum=U64_MAX)


@message(7)
@frozen
class Pong:
    """The answer to ``Ping``."""

    number: int = bounded(minimum=0, maximum=U64_MAX)


@message(8)
@frozen
class Goodbye:
    """The sender closes on purpose: it will not come back under this session."""

    reason: str = bounded(maximum=limits.TEXT_BYTES, default="")


@message(9)
@frozen
class Shutdown:
    """A client asks for the end of the whole cluster; the scheduler tells everybody of it. Nobody connects again."""

    reason: str = bounded(maximum=limits.TEXT_BYTES, default="")


# ---------------------------------------------------------------------------------------------- client to scheduler


@message(16)
@frozen
class DefineFunction:
    """A function, once per connection, before the first task that names it."""

    function: int = bounded(minimum=0, maximum=U64_MAX)
    name: str = bounded(maximum=limits.NAME_BYTES)
    payload: Buffer = segment()


@message(17)
@frozen
class DropFunctions:
    """Functions that no unfinished task of this client uses and that it will not name again."""

    functions: tuple[int, ...] = bounded(maximum=limits.BATCH_ROWS)


@message(18)
@frozen
class SubmitTasks:
    """A burst of single tasks. A task number that the scheduler knows already is ignored."""

    options: tuple[TaskOptions, ...] = bounded(maximum=limits.BATCH_ROWS)
    #: (task, function, payload, objects it reads, index into options)
    rows: tuple[Row, ...] = rows(int, int, bytes, OBJECTS, int)


@message(19)
@frozen
class OpenArray:
    """A task array: one function over many rows of arguments, which follow in blocks."""

    task: int = bounded(minimum=0, maximum=U64_MAX)
    function: int = bounded(minimum=0, maximum=U64_MAX)
    options: TaskOptions = nested()
    count: int = bounded(minimum=-1, maximum=limits.ARRAY_ITEMS)  # -1 = not known yet
    #: (lo, hi) ranges that are done already: the array is declared again to a new scheduler
    done: tuple[Row, ...] = rows(int, int)


@message(20)
@frozen
class ArrayBlock:
    """Rows ``start`` to ``start + count`` of an array, as pages of ``page_rows`` rows, each page one pickle."""

    task: int = bounded(minimum=0, maximum=U64_MAX)
    start: int = bounded(minimum=0, maximum=limits.ARRAY_ITEMS)
    count: int = bounded(minimum=1, maximum=limits.BLOCK_ROWS)
    page_rows: int = bounded(minimum=1, maximum=limits.BLOCK_ROWS)
    void: tuple[int, ...] = bounded(maximum=limits.BLOCK_ROWS)  # rows that could not be pickled: never to be run
    #: (row, objects it reads), only rows that read any
    objects: tuple[Row, ...] = rows(int, OBJECTS, at_most=limits.BLOCK_ROWS)
    offsets: Buffer = segment()  # u32 little-endian, one more than there are pages
    data: Buffer = segment()


@message(21)
@frozen
class EndArray:
    """The array has exactly ``count`` rows."""

    task: int = bounded(minimum=0, maximum=U64_MAX)
    count: int = bounded(minimum=0, maximum=limits.ARRAY_ITEMS)


@message(22)
@frozen
class GraphNodes:
    """Nodes of a graph; nothing of it starts before ``GraphEnd``."""

    graph: int = bounded(minimum=0, maximum=U64_MAX)
    options: tuple[TaskOptions, ...] = bounded(maximum=limits.BATCH_ROWS)
    #: (task, function, payload, objects it reads, index into options, tasks whose results it takes)
    rows: tuple[Row, ...] = rows(int, int, bytes, OBJECTS, int, NUMBERS)


@message(23)
@frozen
class GraphEnd:
    """The graph is complete; the results of ``targets`` are wanted."""

    graph: int = bounded(minimum=0, maximum=U64_MAX)
    targets: tuple[int, ...] = bounded(maximum=limits.GRAPH_TARGETS)


@message(24)
@frozen
class CancelTasks:
    """Cancel tasks or ranges of arrays: (task, lo, hi); a single task or graph node is (task, 0, 1)."""

    rows: tuple[Row, ...] = rows(int, int, int)


@message(25)
@frozen
class AckResults:
    """Every result message up to and including ``sequence`` is in the client's hands."""

    sequence: int = bounded(minimum=0, maximum=U64_MAX)


@message(26)
@frozen
class HoldObjects:
    """The client wrote these objects and keeps them: (object, size in bytes)."""

    rows: tuple[Row, ...] = rows(OBJECT, int)


@message(27)
@frozen
class ReleaseObjects:
    """The client keeps these objects no longer, own ones or results."""

    objects: tuple[bytes, ...] = bounded(item=OBJECT, maximum=limits.BATCH_ROWS)


@message(28)
@frozen
class ClientHeld:
    """What a client still waits for: the first message of every connection; both empty on the first."""

    sequence: int = bounded(minimum=0, maximum=U64_MAX)  # last result message received in this epoch
    #: (lo, hi) ranges of unfinished single tasks and graph nodes
    tasks: tuple[Row, ...] = rows(int, int, at_most=limits.HELD_ROWS)
    #: (array, rows sent)
    arrays: tuple[Row, ...] = rows(int, int, at_most=limits.ARRAYS_PER_CLIENT)


@message(29)
@frozen
class Backlog:
    """Rows that wait in the client for credit; for fairness and scaling."""

    rows: int = bounded(minimum=0, maximum=U64_MAX)
    bytes: int = bounded(minimum=0, maximum=U64_MAX)


@message(30)
@frozen
class Explain:
    """Why is this task, node or array not done yet? ``Explanation`` answers."""

    request: int = bounded(minimum=0, maximum=U64_MAX)  # the client's own, for the answer
    task: int = bounded(minimum=0, maximum=U64_MAX)


# ---------------------------------------------------------------------------------------------- scheduler to client


@message(40)
@frozen
class ClientKnown:
    """The answer to ``ClientHeld``: what of it this scheduler has. The client sends the rest again."""

    epoch: int = bounded(minimum=0, maximum=U64_MAX)
    object_address: str = bounded(maximum=limits.TEXT_BYTES)  # where the object storage server listens, "" = none
    credit_bytes: int = bounded(minimum=0, maximum=U64_MAX)  # see Credit
    tasks: tuple[Row, ...] = rows(int, int, at_most=limits.HELD_ROWS)
    arrays: tuple[Row, ...] = rows(int, int, at_most=limits.ARRAYS_PER_CLIENT)


@message(41)
@frozen
class TaskResults:
    """Results of single tasks and graph nodes."""

    sequence: int = bounded(minimum=0, maximum=U64_MAX)
    #: (task, outcome, payload, objects that the payload names, seconds it ran)
    rows: tuple[Row, ...] = rows(int, choice(Outcome), bytes, OBJECTS, SECONDS)
    #: (task, CPU seconds, peak memory in bytes, seconds it waited, worker), only tasks whose options ask for it
    profiles: tuple[Row, ...] = _table(int, SECONDS, int, SECONDS, NAME, default=())


@message(42)
@frozen
class ArrayResults:
    """Results of rows ``lo`` to ``hi`` of an array, in order."""

    sequence: int = bounded(minimum=0, maximum=U64_MAX)
    task: int = bounded(minimum=0, maximum=U64_MAX)
    lo: int = bounded(minimum=0, maximum=limits.ARRAY_ITEMS)
    hi: int = bounded(minimum=0, maximum=limits.ARRAY_ITEMS)
    #: (row, outcome), only rows that did not end with a value
    failed: tuple[Row, ...] = rows(int, choice(Outcome), at_most=limits.BLOCK_ROWS)
    #: (row, objects that its payload names)
    objects: tuple[Row, ...] = rows(int, OBJECTS, at_most=limits.BLOCK_ROWS)
    seconds: float = bounded(minimum=0)  # running time of all these rows together
    lengths: Buffer = segment()  # u32 little-endian, one a row
    data: Buffer = segment()


@message(43)
@frozen
class Credit:
    """The client may have sent this many payload bytes in all on this connection."""

    total_bytes: int = bounded(minimum=0, maximum=U64_MAX)


@message(44)
@frozen
class Notices:
    """What happened to tasks on the way: (task, row, notice kind, text)."""

    rows: tuple[Row, ...] = rows(int, int, choice(NoticeKind), str)


@message(45)
@frozen
class Explanation:
    """The answer to ``Explain``: a sentence about now, then a line for each thing that happened, for people."""

    request: int = bounded(minimum=0, maximum=U64_MAX)
    text: str = bounded(maximum=limits.TEXT_BYTES)


@message(46)
@frozen
class ShutdownRefused:
    """The answer to ``Shutdown`` of a scheduler that clients may not shut down."""

    text: str = bounded(maximum=limits.TEXT_BYTES, default="")


@message(47)
@frozen
class TaskOutput:
    """What tasks printed whose options ask for it, in whole lines, before their results."""

    #: (task, row, 1 = stdout or 2 = stderr, bytes before these that were left out, lines)
    rows: tuple[Row, ...] = rows(int, int, int, int, bytes)
    left_out: int = bounded(minimum=0, maximum=U64_MAX, default=0)  # bytes before all these, as the client did not read


# ---------------------------------------------------------------------------------------------- worker to scheduler


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


# --------------------------------------------------------------------------------- worker manager to and from scheduler


@message(84)
@frozen
class ManagerStatus:
    """What a worker manager could provide and has: its first message, then whenever that changes."""

    manager: str = bounded(minimum=1, maximum=limits.NAME_BYTES)  # its id; of two at one time the second is refused
    kind: str = bounded(minimum=1, maximum=limits.NAME_BYTES)
    limit: int = bounded(minimum=-1, maximum=1 << 20)  # units that it may run, -1 = any number
    slots: int = bounded(minimum=1, maximum=1 << 16)  # of each unit
    start_s: float = bounded(minimum=0, maximum=36000)  # from the wish for a unit until it has connected, as measured
    capabilities: tuple[Row, ...] = rows(NAME, INTEGER, at_most=limits.CAPABILITIES)
    launching: int = bounded(minimum=0, maximum=1 << 20)  # units that were started and have not connected
    problem: str = bounded(maximum=limits.TEXT_BYTES)  # why it cannot start units at present, "" = it can
    wanted: int = bounded(minimum=0, maximum=1 << 20)  # units that it tries to have: as asked, or a number of its own


@message(85)
@frozen
class DesiredUnits:
    """What a worker manager should run, launching units included, those that drain not. After ``ManagerStatus``."""

    units: int = bounded(minimum=0, maximum=1 << 20)
    drained: tuple[str, ...] = bounded(item=NAME, maximum=limits.BATCH_ROWS)  # they were told to leave
    grace_s: float = bounded(minimum=0, maximum=36000)  # which those have; who stays longer is ended
    reason: str = bounded(maximum=limits.TEXT_BYTES)


@message(86)
@frozen
class Units:
    """Units of a worker manager that have connected, or have gone: all connected ones at first, then changes."""

    connected: tuple[str, ...] = bounded(item=NAME, maximum=limits.BATCH_ROWS)
    gone: tuple[str, ...] = bounded(item=NAME, maximum=limits.BATCH_ROWS)


# ------------------------------------------------------------------------------- anyone to and from object storage


@message(96)
@frozen
class ObjectServer:
    """The server's first message after the handshake."""

    local_socket: str = bounded(maximum=limits.TEXT_BYTES)  # who can connect there is on the same host, "" = none
    limit_bytes: int = bounded(minimum=0, maximum=U64_MAX)


@message(97)
@frozen
class Reserve:
    """Room for a new object."""

    object: bytes = exactly(OBJECT_ID_BYTES)
    size: int = bounded(minimum=0, maximum=U64_MAX)


@message(98)
@frozen
class Granted:
    """The room is there. On the local socket a writable file of at least that size comes with it."""

    object: bytes = exactly(OBJECT_ID_BYTES)


@message(99)
@frozen
class Refused:
    """No room: the sentence names limit and usage. (While the server waits for room it sends nothing.)"""

    object: bytes = exactly(OBJECT_ID_BYTES)
    text: str = bounded(maximum=limits.TEXT_BYTES)


@message(100)
@frozen
class ObjectChunk:
    """A piece of an object: to the server after ``Granted``, from it after ``Found``; offsets ascend without gaps."""

    object: bytes = exactly(OBJECT_ID_BYTES)
    offset: int = bounded(minimum=0, maximum=U64_MAX)
    data: Buffer = segment()


@message(101)
@frozen
class Seal:
    """The object is written completely; it is immutable from now on."""

    object: bytes = exactly(OBJECT_ID_BYTES)


@message(102)
@frozen
class Sealed:
    """The server has it."""

    object: bytes = exactly(OBJECT_ID_BYTES)


@message(103)
@frozen
class Fetch:
    """Ask for an object. On the local socket the answer ``Found`` carries a read-only file and begins a lease."""

    object: bytes = exactly(OBJECT_ID_BYTES)


@message(104)
@frozen
class Found:
    """The object is there; on TCP its chunks follow."""

    object: bytes = exactly(OBJECT_ID_BYTES)
    size: int = bounded(minimum=0, maximum=U64_MAX)


@message(105)
@frozen
class Missing:
    """There is no such object, or no longer."""

    object: bytes = exactly(OBJECT_ID_BYTES)


@message(106)
@frozen
class EndLease:
    """The peer maps these objects no longer."""

    objects: tuple[bytes, ...] = bounded(item=OBJECT, maximum=limits.BATCH_ROWS)


@message(107)
@frozen
class AdoptObjects:
    """Scheduler only: these objects are referred to; their lives no longer depend on who wrote them."""

    objects: tuple[bytes, ...] = bounded(item=OBJECT, maximum=limits.BATCH_ROWS)


@message(108)
@frozen
class DeleteObjects:
    """Scheduler only: nobody refers to these objects any more."""

    objects: tuple[bytes, ...] = bounded(item=OBJECT, maximum=limits.BATCH_ROWS)


@message(109)
@frozen
class ObjectUsage:
    """The server tells the scheduler how full it is, when that changed, at most once a second."""

    objects: int = bounded(minimum=0, maximum=U64_MAX)
    memory_bytes: int = bounded(minimum=0, maximum=U64_MAX)
    disk_bytes: int = bounded(minimum=0, maximum=U64_MAX)
