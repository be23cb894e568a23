"""Between clients and the scheduler."""

from scaler_protocol import limits
from scaler_protocol.fields import (
    NAME,
    NUMBERS,
    OBJECT,
    OBJECTS,
    SECONDS,
    Row,
    bounded,
    choice,
    message,
    nested,
    rows,
    segment,
)
from scaler_protocol.frames import Buffer
from scaler_protocol.ids import U64_MAX
from scaler_protocol.messages.vocabulary import NoticeKind, Outcome, TaskOptions
from scaler_protocol.values import frozen

_table = rows  # for classes that have a field of that name


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
