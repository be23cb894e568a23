"""The control page: what agent and processor must both see at any moment, whatever user code does or dies of.

One memory file per processor, mapped by both. Items are numbered consecutively per processor. The processor *claims*
runs of items (``NEXT``) up to what the agent allows (``LIMIT``); the agent takes unclaimed items back by lowering
``LIMIT`` and counting ``GENERATION`` up. Claims and recalls exclude each other by a record lock on the file, which
the kernel releases when its holder dies; it is taken once per run or recall, never per item.

Results are a ring. An item's result is complete, and the agent's to read, when ``DONE`` has passed it, which is the
last store of each item: after a SIGKILL everything up to ``DONE`` is whole, and the item that was running is
``CURRENT`` if ``CURRENT == DONE``. Lengths, ends and outcomes are arrays of their own beside the data, so that the
agent takes thousands of results in a handful of copies. Each field has one writer. The order of stores is what x86-64
guarantees; elsewhere the signal's system call orders them, and a take without a signal lags by one poll.
"""

import fcntl
import mmap
import os
import time
from typing import Final, NamedTuple

from scaler_protocol.limits import KIB, MIB
from scaler_trio.worker.core.events import RUNS, Profile, Taken
from scaler_trio.worker.processor.profile import PROFILE

# Cells that the agent writes, one cache line…
LIMIT: Final = 0  # the processor may claim items below it
GENERATION: Final = 1  # how many recalls there were; a claim needs to have heard of all of them
WAKE_AT: Final = 2  # signal when claiming up to here: it is time to feed
CANCEL: Final = 3  # the item that an interrupt is meant for
TAKEN_ITEMS: Final = 4  # results below it have been read
TAKEN_BYTES: Final = 5  # …and so many bytes of them
RESUMED: Final = 6  # the last request to go on that was granted
# …and cells that the processor writes.
NEXT: Final = 8  # items below it are claimed
DONE: Final = 9  # items below it are finished, their results complete
CURRENT: Final = 10  # the item in user code, if it equals DONE
IDLE_NS: Final = 11  # monotonic clock minus the clock of ``ends``, which stands still between runs
STUCK: Final = 12  # not 0: the processor waits for room in the ring
WAITING: Final = 13  # an item's number times four, plus what it does
REQUEST: Final = 14  # how many requests to go on there were
UNFINISHED: Final = 15  # not 0: tasks that items have submitted are unfinished
SESSION: Final = 16  # two cells: the session by which items submit tasks of their own, 0 = none

NONE: Final = (1 << 64) - 1
"""No item."""

ENTRIES: Final = 16 * KIB
"""Results that fit: five times what a run or a take usually holds, and as many rows as a message may have."""

MASK: Final = ENTRIES - 1

DATA_BYTES: Final = 1 * MIB
"""Payload bytes that fit: sixteen of the largest inline payloads."""

HAS_OBJECTS: Final = 0x80
"""Flag on an outcome: behind the payload are the ids of the objects that it names, then their number (u32)."""

HAS_PROFILE: Final = 0x40
"""Flag on an outcome: behind all that is what the item used (``PROFILE``)."""

OBJECT_ID_BYTES: Final = 24

_HEAD_BYTES: Final = 4 * KIB
_ENDS_AT: Final = _HEAD_BYTES
_LENGTHS_AT: Final = _ENDS_AT + 8 * ENTRIES
_OUTCOMES_AT: Final = _LENGTHS_AT + 4 * ENTRIES
_DATA_AT: Final = _OUTCOMES_AT + ENTRIES
_SIZE: Final = _DATA_AT + DATA_BYTES

_LOCK_TRIES: Final = 200
"""A holder needs the lock for a microsecond. If it is still taken after these tries, its holder is not running."""


class Sight(NamedTuple):
    """Where a processor is."""

    done: int
    claimed: int
    running: int | None  # the item in user code
    running_ns: int  # for how long
    waiting: int = RUNS  # or WAITS or WANTS: the item ``done``
    request: int = 0  # how often the processor has asked to go on


class ControlPage:
    """One side's mapping of the page. Whoever made it closes it; ``fd`` stays open as long, for the locks."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, _SIZE)
        view = memoryview(self._map)
        self.cells = view[:_HEAD_BYTES].cast("Q")
        self.ends = view[_ENDS_AT:_LENGTHS_AT].cast("Q")
        self.lengths = view[_LENGTHS_AT:_OUTCOMES_AT].cast("I")
        self.outcomes = view[_OUTCOMES_AT:_DATA_AT]
        self.data = view[_DATA_AT:]
        self._view = view
        self._taken = self.cells[TAKEN_ITEMS]
        self._taken_bytes = self.cells[TAKEN_BYTES]
        self._taken_end_ns = 0

    @classmethod
    def create(cls) -> "ControlPage":
        """A fresh page; ``fd`` is for the processor."""
        fd = os.memfd_create("scaler-control", os.MFD_CLOEXEC)
        os.ftruncate(fd, _SIZE)
        page = cls(fd)
        page.cells[CANCEL] = page.cells[CURRENT] = page.cells[WAKE_AT] = page.cells[WAITING] = NONE
        return page

    def close(self) -> None:
        """Unmap and close; idempotent."""
        self.release()
        if self.fd >= 0:
            self._map.close()
            os.close(self.fd)
            self.fd = -1

    def release(self) -> None:
        """Make every further access an error: for a copy of the processor that user code forked."""
        for view in (self.cells, self.ends, self.lengths, self.outcomes, self.data, self._view):
            view.release()

    # ------------------------------------------------------------------------------------------------- the agent

    def feed(self, limit: int, wake_at: int | None) -> None:
        """Allow items below ``limit``; ask for a signal when the processor has claimed up to ``wake_at``."""
        self.cells[WAKE_AT] = NONE if wake_at is None else wake_at
        self.cells[LIMIT] = limit

    def recall(self, limit: int) -> int | None:
        """Take back unclaimed items from ``limit`` on; the limit that holds now, at least what is claimed.

        None: the processor was stopped, or killed a moment ago, in the middle of a claim; try again.
        """
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                os.sched_yield()
        else:
            return None
        try:
            held = max(limit, self.cells[NEXT])
            self.cells[LIMIT] = held
            self.cells[WAKE_AT] = held
            self.cells[GENERATION] += 1
            return held
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def sight(self) -> Sight:
        """Where the processor is. Call ``take`` first: what is done is read before what is claimed."""
        cells = self.cells
        done, current = cells[DONE], cells[CURRENT]
        waiting = cells[WAITING]
        waiting = waiting & 3 if waiting >> 2 == done else RUNS
        if current != done:
            return Sight(done, cells[NEXT], None, 0, waiting, cells[REQUEST])
        started_ns = cells[IDLE_NS] + (self.ends[(done - 1) & MASK] if done else 0)
        running_ns = max(0, time.monotonic_ns() - started_ns)
        return Sight(done, cells[NEXT], done, running_ns, waiting, cells[REQUEST])

    def session(self) -> bytes:
        """By which the processor's items submit tasks of their own; b"" = they have not."""
        first, second = self.cells[SESSION], self.cells[SESSION + 1]
        return first.to_bytes(8, "big") + second.to_bytes(8, "big") if first else b""

    @property
    def has_unfinished(self) -> bool:
        """Whether tasks that the processor's items have submitted are unfinished."""
        return bool(self.cells[UNFINISHED])

    def take(self) -> Taken | None:
        """The results finished since the last call, or None; their room is the processor's again."""
        cells = self.cells
        first, done = self._taken, cells[DONE]
        if first == done:
            return None
        low, high = first & MASK, done & MASK
        if low < high:
            lengths = bytes(self.lengths[low:high])
            outcomes = bytes(self.outcomes[low:high])
            ends = [self._taken_end_ns, *self.ends[low:high]]
        else:
            lengths = bytes(self.lengths[low:]) + bytes(self.lengths[:high])
            outcomes = bytes(self.outcomes[low:]) + bytes(self.outcomes[:high])
            ends = [self._taken_end_ns, *self.ends[low:], *self.ends[:high]]
        size = sum(memoryview(lengths).cast("I"))
        start = self._taken_bytes % DATA_BYTES
        data = bytes(self.data[start : start + size])
        if len(data) < size:
            data += bytes(self.data[: size - len(data)])
        objects: dict[int, tuple[bytes, ...]] = {}
        profiles: dict[int, Profile] | None = None
        if outcomes.count(0) == len(outcomes):
            outcomes = b""
        else:
            for index in range(low, low + len(outcomes)):
                self.outcomes[index & MASK] = 0
            if max(outcomes) >= HAS_PROFILE:
                profiles = {}
                lengths, data, outcomes = _split(first, lengths, data, outcomes, objects, profiles)
        self._taken, self._taken_end_ns = done, ends[-1]
        self._taken_bytes += size
        cells[TAKEN_BYTES] = self._taken_bytes
        cells[TAKEN_ITEMS] = done
        return Taken(first, lengths, data, outcomes, objects, ends, profiles)


def _split(
    first: int,
    lengths: bytes,
    data: bytes,
    outcomes: bytes,
    objects: dict[int, tuple[bytes, ...]],
    profiles: dict[int, Profile],
) -> tuple[bytes, bytes, bytes]:
    """Separate payloads from object ids and profiles behind them; rare, so it may look at every item."""
    now_ns = time.monotonic_ns()
    sizes = memoryview(bytearray(lengths)).cast("I")
    pieces, plain = [], bytearray(outcomes)
    at = 0
    for index, outcome in enumerate(outcomes):
        upto = end = at + sizes[index]
        if outcome & HAS_PROFILE:
            end -= PROFILE.size
            cpu_ns, peak_bytes, started_ns = PROFILE.unpack_from(data, end)
            profiles[first + index] = cpu_ns * 1e-9, peak_bytes, max(0, now_ns - started_ns) * 1e-9
            sizes[index] = end - at
            outcome ^= HAS_PROFILE
            plain[index] = outcome
        if outcome & HAS_OBJECTS:
            count = int.from_bytes(data[end - 4 : end], "little")
            ids_at = end - 4 - count * OBJECT_ID_BYTES
            ids = [data[i : i + OBJECT_ID_BYTES] for i in range(ids_at, end - 4, OBJECT_ID_BYTES)]
            objects[first + index] = tuple(ids)
            sizes[index] = ids_at - at
            plain[index] = outcome ^ HAS_OBJECTS
            pieces.append(data[at:ids_at])
        else:
            pieces.append(data[at:end])
        at = upto
    return bytes(sizes), b"".join(pieces), b"" if not any(plain) else bytes(plain)
