"""What the worker core remembers: functions, attempts, pieces of them, slots. State without behaviour of its own."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from attrs import define, field

from scaler_protocol import Buffer
from scaler_protocol.messages import Outcome, TaskOptions
from scaler_trio.ranges import RangeSet
from scaler_trio.worker.channel import Manner
from scaler_trio.worker.core.stances import Stance


@define(eq=False)
class Function:
    """A function of one connection. Its key is ours, as the scheduler's numbers mean nothing after a reconnect."""

    key: int
    name: str
    payload: Buffer
    attempts: int = 0  # unfinished attempts that name it
    is_forgotten: bool = False  # no new assignment can name it
    mean_ns: int = 0  # running time of one item, smoothed; 0 = unknown
    manner: Manner | None = None  # how it is called, if not plainly
    variants: "dict[Manner, Function]" = field(factory=dict)  # the same function, called in other manners

    def ran(self, items: int, elapsed_ns: int) -> None:
        """Learn from ``items`` that ran ``elapsed_ns`` together."""
        mean = max(1, elapsed_ns // items)
        self.mean_ns = (self.mean_ns + mean) // 2 if self.mean_ns else mean


class PagedRows(NamedTuple):
    """The rows of a slice, as they came."""

    first: int  # row with which the first page begins
    page_rows: int
    offsets: Buffer
    data: Buffer


class SingleRow(NamedTuple):
    """The row of a single task."""

    payload: Buffer
    inputs: Sequence[Buffer]


class Kept(NamedTuple):
    """A result that is not settled: rows ``lo`` to ``hi``, as a message (slice) or as a row of one (single task)."""

    lo: int
    hi: int
    size_bytes: int
    report: Any


class Crash(NamedTuple):
    """A crash that the scheduler could not be told of yet."""

    row: int
    charged: bool
    text: str


@define(eq=False)
class Attempt:
    """One assignment. Its open rows are exactly those in the queue, in slots, and in ``crashes``."""

    epoch: int
    number: int
    client: bytes
    task: int
    lo: int
    hi: int
    function: Function
    options: TaskOptions
    work: PagedRows | SingleRow | None  # None once no row is open
    row_bytes: int  # payload of one row, about
    open: int  # rows that have not ended
    kept: list[Kept] = field(factory=list)
    crashes: list[Crash] = field(factory=list)  # only while not connected
    cancelled: RangeSet | None = None  # rows that the scheduler wants stopped
    is_dropped: bool = False  # whatever still comes of it is thrown away
    withheld: int = 0  # withdrawals in progress: its queued rows are not fed

    def __str__(self) -> str:
        return f"attempt {self.number} (task {self.task}, rows {self.lo} to {self.hi}, {self.function.name})"


@define(eq=False)
class Piece:
    """Rows of one attempt that wait in the queue."""

    attempt: Attempt
    lo: int
    hi: int


@define(eq=False)
class Fed:
    """Rows of one attempt in a slot; row ``lo`` is item ``first``."""

    attempt: Attempt
    lo: int
    hi: int
    first: int
    row_ns: int  # what each of its rows was predicted to take


class Interruption(NamedTuple):
    """An item that was told to stop."""

    item: int
    outcome: Outcome  # how it ends if it does stop
    kill_at: float
    is_killed: bool


@define(eq=False)
class Slot:
    """One place for a processor. Items below ``done`` are reported, below ``claimed`` out of reach, else only fed."""

    number: int
    is_ready: bool = False
    was_ready: bool = False  # this processor, ever
    start_at: float | None = 0.0  # when to start a processor; None = one is there, or on its way
    failed_starts: int = 0  # processors in a row that ended without having run anything
    fed: deque[Fed] = field(factory=deque)
    done: int = 0
    claimed: int = 0
    limit: int = 0
    ahead_ns: int = 0  # predicted, of everything fed and not done
    ahead_bytes: int = 0
    running: int | None = None  # item in user code when we last looked
    running_since: float = 0.0
    truncating: int | None = None  # a ``Truncate`` to this item is on its way
    truncate_next: int | None = None  # and another one is wanted after it
    interruption: Interruption | None = None
    killed_because: str = ""  # on purpose: what dies with it is charged to nobody …
    is_charged: bool = False  # … but what it was killed for
    functions: set[int] = field(factory=set)  # keys that the processor has
    is_streaming: bool = False  # it has had one whose output is marked
    forget: list[int] = field(factory=list)  # keys that it should forget with the next feed
    stance: Stance = Stance.ACTIVE
    waits: int | None = None  # the item that has waited for tasks of its own, until it ends
    blocked: Attempt | None = None  # what that item is of; only while the slot is blocked
    request: int = 0  # to go on, made by the processor; 0 = it goes on without
    granted: int = 0  # the last one that was
    session: bytes = b""  # by which its processor submits tasks, b"" = it does not
    parked_at: float = 0.0

    def reset(self) -> None:
        """The processor is gone; what was fed is the caller's to put somewhere."""
        self.is_ready = self.was_ready = False
        self.killed_because = ""
        self.is_charged = False
        self.fed.clear()
        self.done = self.claimed = self.limit = self.ahead_ns = self.ahead_bytes = 0
        self.running = self.truncating = self.truncate_next = self.interruption = None
        self.is_streaming = False
        self.functions.clear()
        self.forget.clear()


@define(eq=False)
class Withdrawal:
    """Rows that are to leave the queue as soon as the slots that have some of them are truncated."""

    wanted: dict[Attempt, RangeSet]
    reason: int
    waiting: set[int]  # slots
