"""One call of ``map``: pickles rows in blocks, takes results in slices, and puts them in their places.

All work per item is done in the thread that called ``map``, or for an async client in threads of its event loop's pool;
the link thread only passes slices on. Only so much is pickled ahead of what was sent.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from scaler_protocol import limits
from scaler_protocol.messages import ArrayResults, Outcome, TaskOptions
from scaler_trio.client.calls.blocks import Blocks
from scaler_trio.client.calls.progress import Progress
from scaler_trio.client.calls.slices import load_rows, load_whole
from scaler_trio.client.core import events as ev
from scaler_trio.client.session.session import Session
from scaler_trio.config.enclosing import waiting
from scaler_trio.errors import CannotUnpickle, ScalerError, TaskCancelled
from scaler_trio.ranges import Range
from scaler_trio.serialization import Block, BlockWriter

if TYPE_CHECKING:
    from scaler_trio.client.event_loop import LoopEvent

AHEAD_BYTES: Final = 4 * limits.MIB
"""Rows that may wait in the client while more are pickled; with the scheduler's credit it keeps every worker busy."""

FIRST_ROWS: Final = 64
"""Rows in the first block of a container: one page."""

SOON_SLICES: Final = 8
SOON_BYTES: Final = 64 * 1024
"""Slices that wake the thread of the call; fewer and smaller ones wait for more, or for the end."""

_CANCELLED: Final = int(Outcome.CANCELLED)


Steps = Iterator[float | None]
"""Each has done what could be done, and gives the seconds after which it wants another one although nothing happened;
None = only when something has."""


class ArrayCall:
    """The owner of one array within a session, and the loop that feeds it.

    ``run`` it in a thread; or take its ``steps`` one by one, in any thread but never two at a time, wait for ``event``
    between them, and end with ``results`` or ``abandon``.
    """

    def __init__(self, session: Session, name: str, *, return_exceptions: bool, timeout_s: float | None) -> None:
        self._session = session
        self._name = name
        self._number = next(session.numbers)
        self._return_exceptions = return_exceptions
        self._timeout_s = timeout_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._slices: deque[tuple[ArrayResults, Sequence[Range]]] = deque()
        self.event: threading.Event | LoopEvent = threading.Event()
        self._unsent_bytes = 0
        self._is_done = False
        self._slices_come = 0
        self._slices_due = -1  # not known yet
        self._error: ScalerError | None = None
        self._results: list[Any] = []
        self._finished = 0  # items that ended with a value, or an exception in its place
        self._failed: dict[int, BaseException] = {}  # the lowest only
        self._failed_count = 0
        self._cancelled_count = 0
        self._stopping = False
        self._abandoned = False
        self.unpack: Callable[[Any], Any] | None = None  # what each result passes through
        self._progress: Progress | None = None

    # ---------------------------------------------------------------------------------------- called by the session

    def slice_done(self, message: ArrayResults, pieces: Sequence[Range]) -> None:
        """Rows have ended."""
        if self._abandoned:
            self._session.release([object_ for _, objects in message.objects for object_ in objects])
            return
        self._slices.append((message, pieces))
        self._slices_come += 1
        if self._slices_come == self._slices_due:
            self.done(self._slices_due)
        is_urgent = message.failed or message.objects  # stored results wait for us, and others for their room
        if is_urgent or len(message.data) >= SOON_BYTES or len(self._slices) >= SOON_SLICES:
            self.event.set()

    def progress(self, unsent_bytes: int) -> None:
        """So much waits in the client."""
        was, self._unsent_bytes = self._unsent_bytes, unsent_bytes
        if was > AHEAD_BYTES >= unsent_bytes:
            self.event.set()

    def done(self, slices: int) -> None:
        """All rows have ended, and so many slices told of that; the last ones may still be on their way to us."""
        self._slices_due = slices
        if self._slices_come >= slices or self._abandoned:
            self._is_done = True
            self.event.set()

    def dropped(self, error: ScalerError) -> None:
        """The client gives up on it."""
        self._error = error
        self.event.set()

    # ----------------------------------------------------------------------------------------- the thread of the call

    def run(self, steps: Steps) -> list[Any]:
        """Do it all in this thread, for which ``event`` is one of ``threading``.

        Raises:
            TimeoutError, ScalerError, or what the lowest failed item raised.
        """
        assert isinstance(self.event, threading.Event)
        try:
            for wait_s in steps:
                with waiting():
                    self.event.wait(None if wait_s is None else min(wait_s, threading.TIMEOUT_MAX))
        except BaseException:
            self.abandon()
            raise
        return self.results()

    def steps(
        self,
        function: ev.Function,
        rows: Iterator[Any],
        writer: BlockWriter,
        *,
        count: int,
        options: TaskOptions,
        progress: Progress | None,
    ) -> Steps:
        """Feed all rows, and take all results. ``count`` -1 = not known.

        Raises:
            TimeoutError, ScalerError, or what the iterator of the rows raised.
        """
        # Nothing is caught or closed here: the garbage collector may end a generator within any other call.
        self._progress = progress
        yield from self._feed(function, rows, writer, count, options)
        while not self._is_done:
            yield from self._wait()
        self._collect()

    def results(self) -> list[Any]:
        """After the last step.

        Raises:
            Exception: what the lowest failed item raised.
        """
        self._close_progress()
        if self._failed:
            self._raise_lowest()
        if self.unpack is not None:
            self._unpack_all(self.unpack)
        return self._results

    def _unpack_all(self, unpack: Callable[[Any], Any]) -> None:
        results = self._results
        for row, value in enumerate(results):
            try:
                results[row] = unpack(value)
            except CannotUnpickle as error:
                if not self._return_exceptions:
                    error.add_note(f"item {row} of a map of {self._name}")
                    raise
                results[row] = error

    def abandon(self) -> None:
        """Nobody wants the results any more: cancel what is unfinished. A step under way fails soon."""
        self._abandoned = True
        self._error = self._error or TaskCancelled(f"the map of {self._name} was given up")
        if not self._is_done and self._session.error is None:
            self._session.cancel((self._number,))
        self._close_progress()

    def abandon_soon(self) -> None:
        """The same, without a lock."""
        self._abandoned = True
        if not self._is_done:
            self._session.cancel_soon(self._number)

    def _close_progress(self) -> None:
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.close(self._finished, len(self._results))

    def _feed(
        self, function: ev.Function, rows: Iterator[Any], writer: BlockWriter, count: int, options: TaskOptions
    ) -> Steps:
        handle = self._session.handle
        blocks = Blocks(rows, writer, FIRST_ROWS if count >= 0 else 1)
        block = blocks.next()
        if block is None:
            self._is_done = True
            return
        handle(ev.ArrayOpened(self._number, function, options, count, self))
        while block is not None:
            self._results.extend(repeat(None, block.count))
            self._add(block)
            while True:
                self._collect()
                if self._stopping or self._unsent_bytes <= AHEAD_BYTES:
                    break
                yield from self._wait()
            if self._stopping:
                return
            self._left_s()
            block = blocks.next()
        found = len(self._results)
        if count not in (-1, found):
            raise RuntimeError(f"the items changed while map read them: there were {count}, and then {found}")
        handle(ev.ArrayEnded(self._number))

    def _add(self, block: Block) -> None:
        first = len(self._results) - block.count
        self._session.handle(
            ev.BlockAdded(
                self._number, block.count, block.page_rows, block.void, block.objects, block.offsets, block.data
            )
        )
        for row, error in block.errors.items():
            self._fail(first + row, error)

    def _wait(self) -> Steps:
        """Until something has happened."""
        if not (self._slices or self._is_done or self._error):
            left_s = self._left_s()
            progress = self._progress
            if progress is not None:
                left_s = progress.interval_s if left_s is None else min(left_s, progress.interval_s)
                progress.show(self._finished, len(self._results))
            yield left_s
        self.event.clear()  # only now: what was set after the caller had looked must not be lost
        self._collect()

    def _left_s(self) -> float | None:
        """How long the call may still take; None = for ever.

        Raises:
            TimeoutError: it has taken too long.
        """
        if self._deadline is None:
            return None
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            done = f"{self._finished} of {len(self._results)}"
            why = self._session.explain_shortly(self._number)
            raise TimeoutError(f"map of {self._name}: {done} items were done after {self._timeout_s:g} s{why}")
        return left_s

    def _collect(self) -> None:
        """Load the results that have come."""
        slices = self._slices
        while slices:
            message, pieces = slices.popleft()
            self._load(message, pieces)
        if (progress := self._progress) is not None:
            progress.show(self._finished, len(self._results))
        if self._error is not None and (self._abandoned or not self._is_done):
            raise self._error

    def _load(self, message: ArrayResults, pieces: Sequence[Range]) -> None:
        values = load_whole(message, pieces)
        if values is not None:
            self._results[message.lo : message.hi] = values
            self._finished += len(values)
            return
        for row, outcome, value, error in load_rows(self._session, message, pieces):
            if outcome == _CANCELLED and self._stopping:
                self._cancelled_count += 1
            elif error is not None:
                self._fail(row, error)
            else:
                self._results[row] = value
                self._finished += 1

    def _fail(self, row: int, error: BaseException) -> None:
        self._failed_count += 1
        if self._return_exceptions:
            self._results[row] = error
            self._finished += 1
            return
        if not self._failed or row < next(iter(self._failed)):
            self._failed = {row: error}
        if not self._stopping:
            self._stopping = True
            self._session.cancel((self._number,))  # what runs is waited for: it may fail at a lower index

    def _raise_lowest(self) -> None:
        row, error = next(iter(self._failed.items()))
        rest = len(self._results) - self._finished - self._failed_count
        error.add_note(
            f"item {row} of a map of {self._name}: {self._finished} items finished, {self._failed_count} failed, "
            f"{rest} were cancelled or not started"
        )
        self._failed = {}
        try:
            raise error
        finally:
            del error
