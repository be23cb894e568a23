"""``imap``: an array that is read as its results are asked for, with a bound on what is in flight.

Rows of a container are read by the thread that asks for results. Any other iterable may wait for something, perhaps for
these very results, and so has a thread of its own, which begins with the first call of ``next``.
"""

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from scaler_protocol.messages import Outcome, TaskOptions
from scaler_trio.client.calls.row_feed import RowFeed, Stream
from scaler_trio.client.calls.slices import Ended, load_rows, load_whole
from scaler_trio.client.core import events as ev
from scaler_trio.client.session.session import Session
from scaler_trio.config.enclosing import waiting
from scaler_trio.errors import CannotUnpickle
from scaler_trio.serialization import BlockWriter

if TYPE_CHECKING:
    from scaler_trio.client.event_loop import LoopEvent

BUFFER_ITEMS: Final = 2_048
"""Items in flight unless the caller says otherwise: some milliseconds of the shortest tasks."""

T = TypeVar("T")

_VALUE: Final = int(Outcome.VALUE)


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
        in_thread: bool,
        buffer_items: int,
        return_exceptions: bool,
        unpack: Callable[[Any], Any] | None,
        keeps: object = None,
    ) -> None:
        self._session = session
        self._name = name
        self._keeps = keeps  # the client: as garbage it would close the session
        self._is_ordered = is_ordered
        self._return_exceptions = return_exceptions
        self._unpack = unpack
        stream = Stream(session, next(session.numbers))
        self._feed = RowFeed(stream, rows, writer, function, options, buffer_items, in_thread=in_thread)
        self._stream = stream
        self._ready: deque[Ended] = deque()  # in the order in which they are given
        self._early: dict[int, Ended] = {}  # results that came before those of earlier rows
        self._is_closed = False
        self._finalizer = weakref.finalize(self, self._feed.abandon)
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
            Exception: what the item raised, or ``CannotPickle`` for one that cannot be sent; after the results of all
                items that were read, what the iterable raised.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._advance():
            self._wait(deadline, timeout)
        return self.take()

    def close(self) -> None:
        """Read no further, and cancel what was not read; idempotent. Later calls raise ``StopIteration``."""
        self._is_closed = True
        self._feed.stop()
        self._ready.clear()
        self._early.clear()
        self._keeps = None
        self._stream.event.set()  # another thread may wait for the next result

    def __enter__(self) -> "ResultIterator[T]":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<results of {self._name}: {self._feed.given} given, {self._feed.in_flight} in flight>"

    # ------------------------------------------------------------------------------------------- for who may not wait

    def wake_with(self, event: "LoopEvent") -> "LoopEvent":
        """Set this one whenever there may be news."""
        self._stream.event = event
        return event

    @property
    def is_ready(self) -> bool:
        """Whether ``take`` alone will do."""
        return bool(self._ready) and not self._feed.is_hungry

    def advance(self) -> bool:
        """Read, send and load what can be; False if only the link thread can bring a result. ``take`` it otherwise.

        Raises:
            ScalerError: the client is closed, or the scheduler lost for good.
            Exception: what the iterable raised.
        """
        if self._advance():
            return True
        self._check_session()
        return False

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
        """Feed and collect until a result is ready, or none is left; False if only another thread can bring one."""
        feed, stream = self._feed, self._stream
        try:
            while not self._ready and not self._is_closed:
                if feed.unsent:
                    self._put(feed.unsent.popleft())
                elif stream.slices:
                    self._collect()
                elif feed.can_send:
                    feed.feed()
                elif feed.is_done and not feed.in_flight:
                    self._end()
                    return True
                else:
                    return self._is_closed
            if feed.is_hungry:
                feed.feed()  # before the workers run dry
        except BaseException:
            self.close()
            raise
        return True

    def _end(self) -> None:
        """All results were given."""
        failure, self._feed.failure = self._feed.failure, None
        self._keeps = None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure

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
        while (found := self._early.pop(self._feed.given + len(self._ready), None)) is not None:
            self._ready.append(found)

    def _give(self, ended: Ended) -> Any:
        self._feed.gave()
        error = ended.error
        if error is None:
            if self._unpack is None:
                return ended.value
            try:
                return self._unpack(ended.value)
            except CannotUnpickle as refusal:
                error = refusal
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
