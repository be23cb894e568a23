"""The worker core's alphabet: what the shell tells it, and what it asks the shell to do. Values, no behaviour.

The messages of the scheduler are events too, just as they come off the wire.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from scaler_protocol import Buffer, Message
from scaler_protocol.values import frozen
from scaler_trio.worker.channel import Manner, Pages
from scaler_trio.worker.streams import Place

Task = tuple[int, Buffer, Sequence[Buffer]]
"""(function key, payload, payloads of inputs)."""


Profile = tuple[float, int, float]
"""CPU seconds, peak memory in bytes, seconds since it began."""


class Taken(NamedTuple):
    """Results of consecutive items, read from a processor's ring."""

    first: int  # number of the first item
    lengths: bytes  # u32 each
    data: bytes  # the payloads, one after the other
    outcomes: bytes  # one byte each, or b"" = all are values
    objects: dict[int, tuple[bytes, ...]]  # by item, only items that name any
    ends_ns: Sequence[int]  # one more than items: item i ran from ends_ns[i] to ends_ns[i + 1]
    profiles: dict[int, Profile] | None = None  # by item, only items that were measured

    @property
    def items(self) -> int:
        """How many."""
        return len(self.ends_ns) - 1


RUNS: Final = 0
WAITS: Final = 1
WANTS: Final = 2
"""What an item does: it runs; it waits for tasks of its own, without a slot; it wants to go on and waits for one."""

# ------------------------------------------------------------------------------------------------------------- events


@frozen
class Connected:
    """A connection to the scheduler is open; nothing has been said on it."""


@frozen
class Disconnected:
    """It is gone."""


@frozen
class SlotReady:
    """The processor of a slot waits for work."""

    slot: int


class Progress(NamedTuple):
    """A look at a slot's control page."""

    slot: int
    taken: Taken | None
    claimed: int
    running: int | None  # the item in user code
    running_s: float
    waiting: int = RUNS  # the first item that is not done
    request: int = 0  # how often its processor has asked to go on
    session: bytes = b""  # by which it submits tasks of its own; told only when it waits, or has died


@frozen
class SpareKept:
    """A spare was not ended: the scheduler would cancel what it has submitted."""

    slot: int


@frozen
class Truncated:
    """A slot's unclaimed items from ``limit`` on are taken back. The shell looks at the page (``Progress``) before."""

    slot: int
    limit: int


@frozen
class SlotDied:
    """A slot's processor ended. One event with the last look at its page: it must not be fed in between."""

    progress: Progress
    text: str


@frozen
class OverMemory:
    """The worker's processors use more private memory together than they may, this one the most of it."""

    slot: int
    text: str
    """How much, and how much is allowed."""


@frozen
class Tick:
    """``next_deadline`` has passed."""


Event = Connected | Disconnected | SlotReady | Progress | Truncated | SpareKept | SlotDied | OverMemory | Tick | Message

# ------------------------------------------------------------------------------------------------------------ effects


class Send(NamedTuple):
    """To the scheduler."""

    message: Message


class Resend(NamedTuple):
    """The same, as fast as the scheduler reads: results of earlier connections."""

    messages: tuple[Message, ...]


class Feed(NamedTuple):
    """To a slot's processor, in this order: forget, manners, functions, items. Then ``limit`` holds."""

    slot: int
    forget: tuple[int, ...]
    functions: tuple[tuple[int, Buffer], ...]
    parts: tuple[Pages | tuple[Task, ...], ...]
    limit: int
    wake_at: int | None
    manners: tuple[tuple[int, Manner], ...] = ()  # of those of the functions that are not called plainly
    streams: tuple[Place, ...] = ()  # items whose output is marked


class Truncate(NamedTuple):
    """Take back what a slot has not claimed, from ``item`` on; answered by ``Truncated``."""

    slot: int
    item: int


class Resume(NamedTuple):
    """Let the item go on that made this request."""

    slot: int
    request: int


class Interrupt(NamedTuple):
    """Raise in user code, if it still runs ``item``."""

    slot: int
    item: int


class Kill(NamedTuple):
    """Kill a slot's processor; answered by ``SlotDied``."""

    slot: int


class EndSpare(NamedTuple):
    """Kill a slot's idle processor, unless tasks that were submitted by it are unfinished: then ``SpareKept``."""

    slot: int


class Start(NamedTuple):
    """Start a processor for a slot; answered by ``SlotReady`` or ``SlotDied``."""

    slot: int


class Configure(NamedTuple):
    """Where the object storage server is, for all processors, now and later."""

    object_address: str


class Leave(NamedTuple):
    """Nothing is left to do: say goodbye and end."""

    reason: str


class Fail(NamedTuple):
    """The worker cannot go on; end with this error."""

    text: str


Effect = Send | Resend | Feed | Truncate | Resume | Interrupt | Kill | EndSpare | Start | Configure | Leave | Fail
Effects = list[Any]
