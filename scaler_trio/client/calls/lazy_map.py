"""``imap``: an array that is read as its results are asked for, with a bound on what is in flight.

The thread that asks for results feeds the array too, so nothing is read, pickled or kept ahead of a reader that has
stopped: an endless iterable works.
"""

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import define, field

from scaler_protocol import limits
from scaler_protocol.messages import ArrayResults, Outcome, TaskOptions
from scaler_trio.client.calls.blocks import Blocks
from scaler_trio.client.calls.slices import Ended, load_rows, load_whole
from scaler_trio.client.core import events as ev
from scaler_trio.client.session.session import Session
from scaler_trio.config.enclosing import waiting
from scaler_trio.errors import ScalerError
from scaler_trio.ranges import Range
from scaler_trio.serialization import BlockWriter

if TYPE_CHECKING:
    from scaler_trio.client.event_loop import LoopEvent

BUFFER_ITEMS: Final = 2_048
"""Items in flight unless the caller says otherwise: some milliseconds of the shortest tasks."""

T = TypeVar("T")

_VALUE: Final = int(Outcome.VALUE)


@define(eq=False)
class _Stream:
    """The owner of the array within the session: what the link thread has brought and nobody has read."""

    session: Session
    number: int
    slices: deque[tuple[ArrayResults, Sequence[Range]]] = field(factory=deque)
    event: "threading.Event | LoopEvent" = field(factory=threading.Event)
    is_open: bool = False  # the scheduler is told of it, and not yet of its end
    error: ScalerError | None = None
    slices_come: int = 0
    slices_due: int = -1  # not known yet

    def slice_done(self, message: ArrayResults, pieces: Sequence[Range]) -> None:
        """Rows have ended."""
        if not self.is_open:
            self.session.release([object_ for _, objects in message.objects for object_ in objects])
            return
        self.slices.append((message, pieces))
        self.slices_come += 1
        if self.slices_come == self.slices_due:
            self.is_open = False
        self.event.set()

    def progress(self, unsent_bytes: int) -> None:
        """What waits in the client is bounded by the items in flight."""

    def done(self, slices: int) -> None:
        """All rows have ended, and so many slices told of that; the last ones may still be on their way to us."""
        self.slices_due = slices
        if self.slices_come >= slices:
            self.is_open = False

    def dropped(self, error: ScalerError) -> None:
        """The client gives up on it."""
        self.error = error
        self.is_open = False
        self.event.set()

    def abandon(self) -> None:
        """Nobody reads any more. Takes no lock, for the garbage collector."""
        if self.is_open:
            self.is_open = False
            self.session.cancel_soon(self.number)
        while self.slices:
            message, _ = self.slices.popleft()
            self.session.release([object_ for _, objects in message.objects for object_ in objects])


class ResultIterator(Iterator[T]):
    """The results of ``imap`` or ``imap_unordered``, as they are asked for. For one thread at a time.

    A failed item raises at its place, and the iteration can go on after it.

    Ownership: what is not read is cancelled by ``close``, by the end of a ``with`` block, or when this is garbage.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        function: ev.Function,
        rows: Iterator[Any],
        writer: BlockWriter,
        options: TaskOptions,
        *,
        is_ordered: bool,
        buffer_items: int,
        return_exceptions: bool,
        unpack: Callable[[Any], Any] | None,
    ) -> None:
        self._session = session
        self._name = name
        self._function = function
        self._options = options
        self._is_ordered = is_ordered
        self._buffer_items = buffer_items
        self._return_exceptions = return_exceptions
        self._unpack = unpack
        self._blocks: Blocks | None = Blocks(rows, writer, 1)  # None = all rows were read
        self._stream = _Stream(session, next(session.numbers))
        self._read = 0  # rows
        self._given = 0  # results
        self._ready: deque[Ended] = deque()  # in the order in which they are given
        self._early: dict[int, Ended] = {}  # results that came before those of earlier rows
        self._is_closed = False
        self._finalizer = weakref.finalize(self, self._stream.abandon)
        self._finalizer.atexit = False

    def __iter__(self) -> "ResultIterator[T]":
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout: float | None = None) -> T:
        """The next result; waits for it.

        Raises:
            StopIteration: there are no more.
            TimeoutError: it has not come within ``timeout`` seconds; it may be asked for again.
            ScalerError: the client is closed, or the scheduler lost for good.
            Exception: what the item raised, or ``CannotPickle`` for one that cannot be sent.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._advance():
            self._wait(deadline, timeout)
        return self.take()

    def close(self) -> None:
        """Read no further, and cancel what was not read; idempotent. Later calls raise ``StopIteration``."""
        self._is_closed = True
        self._stream.abandon()
        self._blocks = None
        self._ready.clear()
        self._early.clear()
        self._given = self._read
        self._stream.event.set()  # another thread may wait for the next result

    def __enter__(self) -> "ResultIterator[T]":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<results of {self._name}: {self._given} given, {self._in_flight} in flight>"

    # ------------------------------------------------------------------------------------------- for who may not wait

    def wake_with(self, event: "LoopEvent") -> "LoopEvent":
        """Set this one whenever there may be news."""
        self._stream.event = event
        return event

    @property
    def is_ready(self) -> bool:
        """Whether ``take`` alone will do."""
        return bool(self._ready) and not self._is_hungry

    def advance(self) -> bool:
        """Read, send and load what can be; False if only the link thread can bring a result. ``take`` it otherwise.

        Raises:
            ScalerError: the client is closed, or the scheduler lost for good.
            Exception: what the iterable raised.
        """
        try:
            if self._advance():
                return True
            self._check_session()
            return False
        finally:
            if self._is_closed:  # meanwhile, by another thread
                self.close()

    def take(self) -> T:
        """The next result, which is here.

        Raises:
            StopIteration: there are no more.
            Exception: what the item raised.
        """
        if not self._ready:
            raise StopIteration
        value: T = self._give(self._ready.popleft())
        return value

    # ------------------------------------------------------------------------------------------------------- inside

    def _advance(self) -> bool:
        """Feed and collect until a result is ready, or none is left; False if only the link thread can bring one."""
        while not self._ready:
            if self._stream.slices:
                self._collect()
            elif self._in_flight < self._buffer_items and self._blocks is not None:
                self._feed()
            else:
                return not self._in_flight
        if self._is_hungry:
            self._feed()  # before the workers run dry
        return True

    @property
    def _in_flight(self) -> int:
        """Rows that were read and whose results were not given."""
        return self._read - self._given

    @property
    def _is_hungry(self) -> bool:
        return self._blocks is not None and self._in_flight <= self._buffer_items // 2

    def _feed(self) -> None:
        """Read and send some rows."""
        if self._blocks is None:
            return
        try:
            block = self._blocks.next(min(self._buffer_items - self._in_flight, limits.BLOCK_ROWS))
        except BaseException:
            self.close()
            raise
        handle, stream = self._session.handle, self._stream
        if block is None:
            self._blocks = None
            if stream.is_open:
                handle(ev.ArrayEnded(stream.number))
            return
        if not self._read:
            stream.is_open = True
            handle(ev.ArrayOpened(stream.number, self._function, self._options, -1, stream))
        first, self._read = self._read, self._read + block.count
        handle(
            ev.BlockAdded(
                stream.number, block.count, block.page_rows, block.void, block.objects, block.offsets, block.data
            )
        )
        for row, error in block.errors.items():
            self._put(Ended(first + row, int(Outcome.ERROR), None, error))

    def _collect(self) -> None:
        """Load the results of a slice."""
        message, pieces = self._stream.slices.popleft()
        values = load_whole(message, pieces)
        if values is None:
            for ended in load_rows(self._session, message, pieces):
                self._put(ended)
        else:
            for row, value in enumerate(values, message.lo):
                self._put(Ended(row, _VALUE, value, None))

    def _put(self, ended: Ended) -> None:
        if not self._is_ordered:
            self._ready.append(ended)
            return
        self._early[ended.row] = ended
        while (found := self._early.pop(self._given + len(self._ready), None)) is not None:
            self._ready.append(found)

    def _give(self, ended: Ended) -> Any:
        self._given += 1
        error = ended.error
        if error is None:
            return ended.value if self._unpack is None else self._unpack(ended.value)
        if self._return_exceptions:
            return error
        error.add_note(f"item {ended.row} of an imap of {self._name}")
        try:
            raise error
        finally:
            del error, ended

    def _wait(self, deadline: float | None, timeout: float | None) -> None:
        stream = self._stream
        self._check_session()
        left_s = None if deadline is None else deadline - time.monotonic()
        if left_s is not None and left_s <= 0:
            raise TimeoutError(f"imap of {self._name}: the next result was not there after {timeout:g} s")
        assert isinstance(stream.event, threading.Event)
        with waiting():
            stream.event.wait(None if left_s is None else min(left_s, threading.TIMEOUT_MAX))
        stream.event.clear()

    def _check_session(self) -> None:
        if (error := self._stream.error) is not None:
            self.close()
            raise error
