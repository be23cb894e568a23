"""The rows of ``imap`` on their way out, with a bound on what is in flight, and what has come of them."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field

from scaler_protocol import limits
from scaler_protocol.messages import ArrayResults, Outcome, TaskOptions
from scaler_trio.client.calls.blocks import Blocks
from scaler_trio.client.calls.read_ahead import ReadAhead
from scaler_trio.client.calls.slices import Ended
from scaler_trio.client.core import events as ev
from scaler_trio.client.session.session import Session
from scaler_trio.errors import ScalerError
from scaler_trio.ranges import Range
from scaler_trio.serialization import Block, BlockWriter

if TYPE_CHECKING:
    from scaler_trio.client.event_loop import LoopEvent


@define(eq=False)
class Stream:
    """The owner of the array within the session: what the link thread has brought and nobody has read."""

    session: Session
    number: int
    slices: deque[tuple[ArrayResults, Sequence[Range]]] = field(factory=deque)
    event: "threading.Event | LoopEvent" = field(factory=threading.Event)
    is_open: bool = False  # the scheduler is told of it, and not yet of its end
    error: ScalerError | None = None
    slices_come: int = 0
    slices_due: int = -1  # not known yet
    is_abandoned: bool = False

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
        self.is_abandoned = True
        if self.is_open:
            self.is_open = False
            self.session.cancel_soon(self.number)
        while self.slices:
            message, _ = self.slices.popleft()
            self.session.release([object_ for _, objects in message.objects for object_ in objects])


class RowFeed:
    """Sends rows when it is told to."""

    def __init__(
        self,
        stream: Stream,
        rows: Iterator[Any],
        writer: BlockWriter,
        function: ev.Function,
        options: TaskOptions,
        buffer_items: int,
        *,
        in_thread: bool,
    ) -> None:
        self.stream = stream
        self.sent = 0  # rows
        self.given = 0  # results
        self.is_done = False  # no more rows will come
        self.failure: BaseException | None = None  # what the iterable raised instead of its next row
        self.unsent: deque[Ended] = deque()  # rows that could not be pickled
        self._ahead = ReadAhead(rows, buffer_items, lambda: stream.event.set()) if in_thread else None
        self._blocks = Blocks(rows if self._ahead is None else self._ahead, writer, 1)
        self._function = function
        self._options = options
        self._buffer_items = buffer_items

    @property
    def in_flight(self) -> int:
        """Rows that were sent and whose results were not given."""
        return self.sent - self.given

    @property
    def is_hungry(self) -> bool:
        """Whether more should be sent, lest the workers run dry; a few rows may wait for more to come."""
        half = self._buffer_items // 2
        if self.in_flight > half or not self.can_send:
            return False
        return self._ahead is None or self.in_flight <= half // 4 or self._ahead.count >= half // 4

    @property
    def can_send(self) -> bool:
        """Whether more may be in flight, and something is there, or may be had by reading in this thread."""
        if self.is_done or self.in_flight >= self._buffer_items:
            return False
        return self._ahead is None or self._ahead.has_news

    def feed(self) -> None:
        """Send some rows. What the iterable raises is kept, but for an interrupt of this thread."""
        stream, ahead = self.stream, self._ahead
        # Asked before: the last items may come between the look at them and this.
        is_whole = ahead is None or ahead.is_done
        try:
            block = self._blocks.next(min(self._buffer_items - self.in_flight, limits.BLOCK_ROWS))
        except Exception as error:
            self.failure, block = error, None
        handle = stream.session.handle
        if block is None:
            if not is_whole and self.failure is None:
                return
            if ahead is not None and self.failure is None:
                self.failure = ahead.failure
            self.is_done = True
            if stream.is_open:
                handle(ev.ArrayEnded(stream.number))
            return
        if not stream.is_abandoned:
            self._send(block)

    def _send(self, block: Block) -> None:
        stream, handle = self.stream, self.stream.session.handle
        if not self.sent:
            stream.is_open = True
            handle(ev.ArrayOpened(stream.number, self._function, self._options, -1, stream))
        first, self.sent = self.sent, self.sent + block.count
        handle(
            ev.BlockAdded(
                stream.number, block.count, block.page_rows, block.void, block.objects, block.offsets, block.data
            )
        )
        if self._ahead is not None:
            self._ahead.in_flight = self.in_flight
        for row, refusal in block.errors.items():
            self.unsent.append(Ended(first + row, int(Outcome.ERROR), None, refusal))
        if stream.is_abandoned:  # meanwhile, by another thread, which may have found nothing open yet
            stream.abandon()

    def gave(self) -> None:
        """A result was given: there may be room."""
        self.given += 1
        if self._ahead is not None:
            self._ahead.make_room(self.in_flight)

    def stop(self) -> None:
        """Send no more, and cancel what is in flight."""
        self.abandon()
        if self._ahead is not None:
            self._ahead.stop()

    def abandon(self) -> None:
        """The same without a lock, for the garbage collector: a thread that reads ahead notices within a second."""
        self.stream.abandon()
        if self._ahead is not None:
            self._ahead.is_stopped = True
