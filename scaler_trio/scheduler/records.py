"""What the scheduler knows: one record per client, worker, function, task, array and attempt.

Plain state without behaviour, changed only by the core's parts. Every field says what it means and who changes it.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

from attrs import define, field

from scaler_protocol import Buffer, Message
from scaler_protocol.messages import TaskOptions
from scaler_trio.scheduler.ranges import RangeSet
from scaler_trio.scheduler.states import TaskState

ClassKey: TypeAlias = tuple[str, tuple[tuple[str, int], ...]]
"""What a worker must offer: the client's Python, and capabilities."""

STORY_LENGTH = 32
"""Events remembered per task or array: a task that is retried to its limits has about twenty."""


@define(eq=False)
class Function:
    """A function of one client."""

    client: "Client"
    number: int  # the client's
    key: int  # ours, towards workers
    name: str
    payload: Buffer
    mean_s: float = 0.0  # running time of one item, smoothed
    samples: int = 0  # items that it is made of
    dropped: bool = False  # the client will not name it again


@define(eq=False)
class Task:
    """A single task, or a node of a graph."""

    client: "Client"
    number: int
    function: Function
    payload: bytes
    objects: tuple[bytes, ...]  # that it reads: referred to until it is done
    options: TaskOptions
    class_key: ClassKey
    state: TaskState
    attempt: "Attempt | None" = None  # the assignment that counts
    crashes: int = 0  # deaths of its processor that were charged to it
    alone: bool = False  # to be run with nothing else on its worker: one of several suspects of a worker's death
    wanted: bool = True  # the client gets its result
    inputs: Sequence["Task"] = ()  # nodes whose results it takes, in order
    missing: int = 0  # inputs that are not done
    dependents: "list[Task]" = field(factory=list)
    readers: int = 0  # dependents that are not done: its result is kept until none is left
    result: bytes | None = None  # kept for dependents
    result_objects: tuple[bytes, ...] = ()  # named by that result
    story: deque[tuple[Any, ...]] = field(factory=lambda: deque(maxlen=STORY_LENGTH))


@define(eq=False)
class RowBlock:
    """Some rows of an array, as the client sent them."""

    start: int
    end: int
    page_rows: int
    offsets: memoryview  # u32 per page and one more
    data: memoryview
    void: tuple[int, ...]  # rows, in the array's numbering, that are not to be run
    objects: dict[int, tuple[bytes, ...]]
    open: int  # rows not yet done; at 0 the block is dropped
    shipped: int = 0  # pages up to here have been given to workers at least once


@define(eq=False)
class Array:
    """A task array."""

    client: "Client"
    number: int
    function: Function
    options: TaskOptions
    class_key: ClassKey
    count: int  # -1 = not known yet
    blocks: dict[int, RowBlock] = field(factory=dict)  # by start, ascending
    received: int = 0  # rows up to here have come
    next: int = 0  # rows from here on were never assigned
    redo: RangeSet = field(factory=RangeSet)  # rows below `next` that must be assigned again
    redo_most: dict[int, int] = field(factory=dict)  # row -> rows at most in a slice from there: suspects are isolated
    outstanding: "dict[int, Attempt]" = field(factory=dict)  # by attempt number
    done: RangeSet = field(factory=RangeSet)
    crashes: dict[int, int] = field(factory=dict)  # row -> deaths charged to it
    cancelled: RangeSet = field(factory=RangeSet)  # rows whose cancel was asked for
    queued: bool = False  # whether it stands in a ready queue
    unacknowledged: int = 0  # result messages that the client has not acknowledged
    story: deque[tuple[Any, ...]] = field(factory=lambda: deque(maxlen=STORY_LENGTH))


@define(eq=False)
class Attempt:
    """One assignment to one worker."""

    number: int
    worker: "Worker"
    source: Task | Array
    lo: int
    hi: int
    expected_s: float  # predicted running time of one row
    assigned_at: float
    open: RangeSet  # rows that the worker has neither reported nor returned
    block: RowBlock | None = None  # of a slice
    unacknowledged: int = 0  # result messages that name it and that the client has not acknowledged
    recalled: bool = False  # a recall is on its way
    lost: bool = False  # its worker is gone and its open rows were given to others; its results still count


@define(eq=False)
class Unacknowledged:
    """A result message until the client acknowledges it."""

    sequence: int
    size_bytes: int
    message: Message
    attempts: list[Attempt]
    tasks: list[Task]


@define(eq=False)
class Client:
    """A client, connected or in its grace."""

    session: bytes
    name: str
    python: str
    connected: bool = True
    functions: dict[int, Function] = field(factory=dict)
    tasks: dict[int, Task] = field(factory=dict)  # single ones and nodes, until acknowledged
    arrays: dict[int, Array] = field(factory=dict)
    graphs: dict[int, list[Task]] = field(factory=dict)  # whose end has not come yet
    held: set[bytes] = field(factory=set)  # objects that it keeps
    result_objects: dict[bytes, int] = field(factory=dict)  # named by results it has not released: how often
    sequence: int = 0  # of the last result message
    unacknowledged: deque[Unacknowledged] = field(factory=deque)
    unacknowledged_bytes: int = 0
    rows: list[tuple[Any, ...]] = field(factory=list)  # results of this step, not yet in a message
    rows_bytes: int = 0
    rows_tasks: list[Task] = field(factory=list)
    rows_attempts: list[Attempt] = field(factory=list)
    received_bytes: int = 0  # payload on this connection
    unassigned_bytes: int = 0  # payload here that no worker has been given yet
    credit_bytes: int = 0  # last announced
    usage_s: float = 0.0  # decayed running time of its items: the measure of fairness
    usage_at: float = 0.0  # when usage_s was last decayed
    gone_at: float = 0.0  # when its grace ends, if not connected


@define(eq=False)
class Worker:
    """A worker, connected or in its grace."""

    session: bytes
    name: str
    python: str
    manager: str = ""
    slots: int = 1
    capabilities: dict[str, int] = field(factory=dict)
    free: dict[str, int] = field(factory=dict)  # amounts not taken by what it holds
    connected: bool = True
    ready: bool = False  # it has said what it holds
    draining: bool = False
    attempts: dict[int, Attempt] = field(factory=dict)  # with open rows, oldest first
    unsettled: dict[int, Attempt] = field(factory=dict)  # without open rows, results not yet acknowledged
    items: int = 0  # open rows
    load_s: float = 0.0  # their predicted running time
    exclusive: bool = False  # it has one suspect and gets nothing beside it
    functions: set[int] = field(factory=set)  # keys of those that it has
    last_report_at: float = 0.0
    recalls: int = 0  # recall rows not yet answered
    assignments: list[tuple[Any, ...]] = field(factory=list)  # rows of this step, not yet in a message
    assignment_options: dict[TaskOptions, int] = field(factory=dict)
    assignment_bytes: int = 0
    settled: list[int] = field(factory=list)  # attempts of this step that it may forget
    fits: dict[ClassKey, bool] = field(factory=dict)  # remembered answers
    gone_at: float = 0.0
