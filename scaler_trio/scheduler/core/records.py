"""What the scheduler knows: one record per client, worker, function, task, array and attempt.

Plain state without behaviour, changed only by the core's parts. Every field says what it means and who changes it.
They refer to each other in circles, so what they print of themselves is only who they are.
"""

from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import Factory, define, field, frozen

from scaler_protocol import Buffer, Message
from scaler_protocol.messages import ManagerStatus, TaskOptions
from scaler_trio.ranges import RangeSet
from scaler_trio.scheduler.core.fixed_rows import FixedRows
from scaler_trio.scheduler.core.states import TaskState

if TYPE_CHECKING:
    from scaler_trio.scheduler.core.blocks import Blocks
    from scaler_trio.scheduler.core.fleet import Group
    from scaler_trio.scheduler.core.queues import Line

ClassKey: TypeAlias = tuple[str, tuple[tuple[str, int], ...]]
"""What a worker must offer: the client's Python, and capabilities."""

Story: TypeAlias = tuple[tuple[Any, ...], ...]
"""Events, oldest first: (time, what, details …)."""

STORY_LENGTH = 32
"""Events remembered per task or array: a task that is retried to its limits has about twenty."""


@define(eq=False, repr=False)
class Function:
    """A function of one client."""

    client: "Client"
    key: int  # ours, towards workers; the client's number holds for one connection only
    name: str
    payload: Buffer
    expected_s: float  # what is predicted for one item: `mean_s`, or a prior until it is known
    mean_s: float = 0.0  # running time of one item, smoothed
    samples: int = 0  # items that it is made of
    result_bytes: int = 0  # of one row, as last reported
    users: int = 0  # unfinished tasks and arrays that name it
    retired: bool = False  # the client will not name it again: forgotten when its last user ends
    workers: "dict[Worker, None]" = field(factory=dict)  # that were given it on their present connection


@define(eq=False, repr=False)
class Demand:
    """What a client asks of workers and of us for some of its tasks: one record for all with equal options."""

    client: "Client"
    options: TaskOptions
    class_key: ClassKey
    amounts: tuple[tuple[str, int], ...]  # the capabilities of which each item takes some
    line: "Line"  # where its ready work queues


@define(eq=False, repr=False)
class Node:
    """What a node of a graph has beyond a single task."""

    graph: "Graph"
    inputs: "list[Task]"  # nodes whose results it takes, in order; one that it takes twice is there twice
    missing: int = 0  # inputs that are not done
    dependents: "list[Task]" = field(factory=list)
    readers: int = 0  # dependents that are not done: its result is kept until none is left
    result: bytes | None = None  # kept for dependents
    result_objects: tuple[bytes, ...] = ()  # named by that result, and referred to as long as it is kept


@define(eq=False, repr=False)
class Graph:
    """The nodes of one graph stay until all are done and the client has every result that it gets."""

    number: int
    nodes: "dict[int, Task]" = field(factory=dict)
    complete: bool = False  # its end has come
    unfinished: int = 0  # nodes that are not done
    unacknowledged: int = 0  # results that the client does not have


@define(eq=False, repr=False)
class Task:
    """A single task, or a node of a graph."""

    client: "Client"
    number: int
    function: Function
    payload: bytes  # dropped when it is done
    objects: tuple[bytes, ...]  # that it reads: referred to until it is done
    demand: Demand
    state: TaskState
    story: Story
    wanted: bool = True  # the client gets its result
    node: Node | None = None
    attempt: "Attempt | None" = None  # the assignment that counts; when done, the one that reported the result
    crashes: int = 0  # deaths of its processor that were charged to it
    retries: int = 0  # runs that raised and were not the last
    alone: bool = False  # to be run with nothing else on its worker: one of several suspects of a worker's death
    rivals: "list[Attempt] | None" = None  # others that run it too: their worker came back too late

    def __repr__(self) -> str:
        return f"<task {self.number}, {self.state.value}>"


@define(eq=False, repr=False)
class Array:
    """A task array. Each of its received rows is in exactly one of done, redo, suspects, resting, held, an
    attempt, or new."""

    client: "Client"
    number: int
    function: Function
    demand: Demand
    count: int  # -1 = not known yet
    blocks: "Blocks"  # the rows that are here and not all done
    received: int = 0  # rows up to here have come
    next: int = 0  # rows from here on were never assigned
    redo: RangeSet = field(factory=RangeSet)  # rows below `next` that must be assigned again
    suspects: RangeSet = field(factory=RangeSet)  # rows that were with a worker that died; they queue as `Suspect`s
    resting: RangeSet = field(factory=RangeSet)  # rows that raised and are tried again when they have rested
    held: RangeSet = field(factory=RangeSet)  # declared again to a new scheduler: some worker may be running them
    outstanding: "dict[int, Attempt]" = field(factory=dict)  # attempts with open rows that count, by number
    raced: bool = False  # some row may be open in two attempts
    done: RangeSet = field(factory=RangeSet)
    crashes: dict[int, int] = field(factory=dict)  # row -> deaths charged to it
    retries: dict[int, int] = field(factory=dict)  # row -> its runs that raised and were not the last
    cancelled: RangeSet = field(factory=RangeSet)  # rows whose cancel was asked for
    queued: bool = False  # whether it stands in a ready queue
    unacknowledged: int = 0  # result messages that the client has not acknowledged
    story: deque[tuple[Any, ...]] = field(factory=lambda: deque(maxlen=STORY_LENGTH))

    def __repr__(self) -> str:
        return f"<array {self.number}, {self.received} of {self.count} rows>"


Source: TypeAlias = Task | Array


@define(eq=False, repr=False)
class Suspect:
    """Work that was with a worker that died: it is run again with nothing beside it."""

    source: Source
    lo: int
    hi: int


@define(eq=False, repr=False)
class Attempt:
    """One assignment to one worker."""

    number: int
    worker: "Worker"
    source: Source
    lo: int
    hi: int
    expected_s: float  # predicted running time of one row
    open: RangeSet | FixedRows  # rows that the worker has neither reported nor returned
    unacknowledged: int = 0  # result messages that name it and that the client has not acknowledged
    recalled: bool = False  # a recall is on its way
    lost: bool = False  # its worker was gone too long and its open rows were given to others; its results still count

    def __repr__(self) -> str:
        return f"<attempt {self.number} of {self.source!r} at {self.worker!r}, open {self.open!r}>"


@define(eq=False, repr=False)
class Unacknowledged:
    """A result message until the client acknowledges it."""

    sequence: int
    size_bytes: int
    message: Message
    tasks: list[Task]  # of single results
    attempt: Attempt | None = None  # of a slice's
    array: Array | None = None


@define(eq=False, repr=False)
class Client:
    """A client, connected or in its grace."""

    session: bytes
    name: str
    python: str
    connected: bool = False
    ready: bool = False  # it has said what it holds, so it may be sent results
    greeted: bool = False  # it has done so before, on some connection
    functions: dict[int, Function] = field(factory=dict)  # by its own numbers, of the present connection
    demands: dict[TaskOptions, Demand] = field(factory=dict)
    lines: "dict[ClassKey, Line]" = field(factory=dict)
    tasks: dict[int, Task] = field(factory=dict)  # single ones and nodes, until acknowledged
    arrays: dict[int, Array] = field(factory=dict)
    graphs: dict[int, Graph] = field(factory=dict)
    held: set[bytes] = field(factory=set)  # objects that it keeps
    result_objects: dict[bytes, int] = field(factory=dict)  # named by results it has not released: how often
    sequence: int = 0  # of the last result message
    unacknowledged: deque[Unacknowledged] = field(factory=deque)
    unacknowledged_bytes: int = 0
    blocked: bool = False  # it does not acknowledge its results: nothing more of it is started
    rows: list[tuple[Any, ...]] = field(factory=list)  # results of this step, not yet in a message
    rows_bytes: int = 0
    rows_tasks: list[Task] = field(factory=list)
    profiles: dict[int, tuple[Any, ...]] = field(factory=dict)  # by task, of results of this step
    received_bytes: int = 0  # payload on this connection, duplicates included
    unassigned_bytes: int = 0  # payload here that no worker has been given yet
    credit_bytes: int = 0  # last announced
    usage_s: float = 0.0  # of a root: decayed running time of its ended items and of those of clients below it …
    load_s: float = 0.0  # … and predicted running time of those with workers: together the measure of fairness
    root: "Client" = field(default=Factory(lambda self: self, takes_self=True))  # whose account its work is on
    depth: int = 0  # how many tasks enclose its own; 0 = it is its own root
    rank: int = 0  # among the clients of that root, by age
    nested: "dict[Client, None]" = field(factory=dict)  # those whose root it is
    host: "Worker | None" = None  # the worker that has it in a processor, as far as it said so
    redeclared_tasks: RangeSet = field(factory=RangeSet)  # it had sent these to an earlier scheduler
    redeclared_rows: dict[int, int] = field(factory=dict)  # the same, array -> rows
    departure: int = 0  # the number of its departure, while it is gone

    def __repr__(self) -> str:
        return f"<client {self.name} {self.session[:4].hex()}>"


@define(eq=False, repr=False)
class Worker:
    """A worker, connected or remembered."""

    session: bytes
    name: str
    python: str
    group: "Group | None" = None  # the workers that offer the same, while connected
    slots: int = 1
    manager: str = ""
    unit: str = ""  # what its manager calls it
    capabilities: dict[str, int] = field(factory=dict)
    free: dict[str, int] = field(factory=dict)  # amounts not taken by what it holds
    depth_s: float = 0.0  # predicted work that it should hold, of single tasks
    rows_depth_s: float = 0.0  # predicted work that it should hold, with rows of arrays
    slice_s: float = 0.0  # work in one slice for it
    connected: bool = False
    ready: bool = False  # it has said what it holds
    draining: bool = False
    functions: dict[Function, None] = field(factory=dict)  # that it was given on its present connection
    attempts: dict[int, Attempt] = field(factory=dict)  # with open rows, oldest first
    items: int = 0  # open rows of those that are not lost, without those that wait for tasks of their own
    waits: dict[int, int] = field(factory=dict)  # rows that do, by attempt
    waiting: int = 0  # all of them together
    nested: dict[Client, None] = field(factory=dict)  # sessions of its processors, as far as it said so
    load_s: float = 0.0  # their predicted running time
    rows_load_s: float = 0.0  # … of those that are rows of arrays
    tier: int = -1  # in which of its group's places it waits for work; -1 = in none
    exclusive: bool = False  # it has one suspect and gets nothing beside it
    reserved: ClassKey | None = None  # it is run empty for a suspect of this class
    last_report_at: float = 0.0
    recalls: int = 0  # recall rows not yet answered
    recalled: int = 0  # items that came back by those that were
    recall_again_at: float = 0.0  # it had nothing to give back: not to be asked before
    recall_pause_s: float = 0.0
    assignments: list[tuple[Any, ...]] = field(factory=list)  # rows of this step, not yet in a message
    assignment_bytes: int = 0
    assignment_demands: dict[Demand, int] = field(factory=dict)  # their options, in order
    cancels: list[tuple[int, int, int]] = field(factory=list)  # rows of this step
    settled: list[int] = field(factory=list)  # attempts that it may forget
    forgets: list[int] = field(factory=list)  # functions of this step that it may forget
    departure: int = 0  # the number of its departure, while it is gone
    requeued: bool = False  # its grace is over and its open rows were given to others

    def __repr__(self) -> str:
        return f"<worker {self.name} {self.session[:4].hex()}>"


@frozen
class Storage:
    """The object storage server, as far as the scheduler has heard of it."""

    is_connected: bool = False
    objects: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0


@define(eq=False, repr=False)
class Manager:
    """A connected worker manager."""

    session: bytes
    name: str
    python: str
    connected: bool = True
    status: ManagerStatus | None = None  # as last sent
    desired: int | None = None  # units, as last asked for; None = nothing was
    reason: str = ""

    def __repr__(self) -> str:
        return f"<worker manager {self.name} {self.session[:4].hex()}>"
