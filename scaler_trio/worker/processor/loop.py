"""The processor's loop: claim a run, run it, commit each item's result before the next one starts.

How to think about it: between the store of ``CURRENT`` and the store of ``DONE`` an item is *in the window*. Only
there may the interrupt handler raise, only there does user code run, and nothing that outlives the item changes: the
position in the ring moves on after ``DONE``. So whatever is raised wherever in the window, the item has not been
committed, and the one ``except TaskInterrupted`` at the bottom may commit it as cancelled.
"""

import fcntl
import math
import pickle
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, GeneratorType
from typing import Any, Final

from scaler_protocol.limits import INLINE_PAYLOAD_BYTES
from scaler_protocol.messages import Outcome
from scaler_trio.config import enclosing
from scaler_trio.serialization import load_row
from scaler_trio.worker import channel
from scaler_trio.worker.control_page import (
    CANCEL,
    CURRENT,
    DATA_BYTES,
    DONE,
    ENTRIES,
    GENERATION,
    IDLE_NS,
    LIMIT,
    MASK,
    NEXT,
    NONE,
    STUCK,
    TAKEN_BYTES,
    TAKEN_ITEMS,
    WAKE_AT,
    ControlPage,
)
from scaler_trio.worker.processor.batches import Batch, PageBatch, TaskBatch
from scaler_trio.worker.processor.functions import Functions
from scaler_trio.worker.processor.marker import Marker
from scaler_trio.worker.processor.paces import Pace, Paces
from scaler_trio.worker.processor.results import PLAIN, SHORT_BYTES, TaskInterrupted, dump_value
from scaler_trio.worker.processor.store import ObjectStore
from scaler_trio.worker.processor.tidying import Tidying
from scaler_trio.worker.processor.waits import ItemWaits

LATE_NS: Final = 2_000_000
"""A run that takes longer than this was predicted wrongly, and its rest is given back at the end of the item."""

_IMPORT_SYSTEM: Final = "<frozen importlib._bootstrap>"
_NO_VALUE: Final = pickle.dumps(None, 5)


class AgentGone(Exception):
    """The agent has closed the socket pair: there is nobody to work for."""


class ProcessorLoop:
    """Runs items until the agent is gone. One per process, on its main thread."""

    def __init__(self, page: ControlPage, sock: socket.socket, store: ObjectStore) -> None:
        self._page = page
        self._socket = sock
        self._store = store
        self._inbox = channel.Inbox()
        self._marker = Marker(page.cells)
        self._functions = Functions(self._marker)
        self._paces = Paces()
        self._tidying = Tidying()
        self._has_run = False  # something, since memory was last tidied
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._batches: deque[Batch] = deque()
        self._received = 0  # items received; the number of the next one
        self._generation = 0
        self._position = 0  # in the ring's data, of the next payload
        self._written = 0  # payload bytes written in all
        self._stop = DATA_BYTES  # a payload that ends beyond it takes the slow way: wrap, signal, wait for room
        self._busy_ns = 0  # the clock of ``ends``
        self._report_ns = 0  # between signals, by what runs
        self._signal_ns = 0  # when the agent should hear of results, on the monotonic clock
        self._reported = 0  # items done at the last signal
        self._woken_at = NONE  # the last ``WAKE_AT`` that was answered
        self._interrupted = NONE  # the item that has been interrupted, once
        self._rest: Iterator[Any] = iter(())  # what is left of the run
        self.waits = ItemWaits(page, sock, give_back=self._end_run, receive=self._receive, check=self._check_interrupt)

    def run(self) -> None:
        """Work. Raises ``AgentGone``, and nothing else unless it is a fault of ours."""
        while True:
            batch = self._claimable()
            count = self._claim(batch)
            if not count:
                continue
            first = batch.first + batch.at
            started_ns = time.monotonic_ns()
            is_waited_for = first > self._reported  # by what this batch's results may wait, or by less
            self._report_ns = min(self._report_ns, batch.report_ns) if is_waited_for else batch.report_ns
            self._signal_ns = min(self._signal_ns, started_ns + batch.report_ns)
            if is_waited_for and not 0 < self._paces.expected_ns(batch) < self._report_ns:
                self._report_ns = batch.report_ns
                self._signal()  # what is done should not wait for what takes long, or nobody knows how long
            ran = self._execute(self._call(batch), batch.rows(count, self._store), first, started_ns)
            batch.at += ran
            if batch.at == batch.count:
                self._batches.popleft()
            self._paces.learn(batch, first, ran, self._page.ends)
            self._has_run = True
            if started_ns > self._tidying.due_ns:
                self._tidy()

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: raise in the window of the item that is meant, once, and nowhere else.

        Not within an import: half a module would stay behind, for all tasks that come. If the item does not end by
        itself, the agent kills this process after its grace.
        """
        if _is_importing(frame):
            return
        cells = self._page.cells
        item = cells[CANCEL]
        if item != NONE and item == cells[CURRENT] == cells[DONE] and item != self._interrupted:
            self._interrupted = item
            raise TaskInterrupted("the task was cancelled")

    def _check_interrupt(self) -> None:
        """Look for one that came while the window was closed in the middle of an item."""
        self.on_interrupt(0, None)

    # ------------------------------------------------------------------------------------------------------ claiming

    def _claimable(self) -> Batch:
        """The batch with the next item, received and not yet run; waits for one."""
        while not self._batches:
            self._receive()
        return self._batches[0]

    def _claim(self, batch: Batch) -> int:
        """How many items of ``batch`` are ours now; 0 = what was received has changed."""
        cells = self._page.cells
        first = batch.first + batch.at
        room = ENTRIES - (first - cells[TAKEN_ITEMS])
        if room <= 0:
            self._wait_for_room(lambda: cells[TAKEN_ITEMS] + ENTRIES > first)
            return 0
        count = min(self._paces.run_length(batch), room)
        claimed = first
        fcntl.lockf(self._page.fd, fcntl.LOCK_EX)
        try:
            behind = cells[GENERATION] != self._generation
            if not behind:
                claimed = min(first + count, cells[LIMIT])
                if claimed > first:
                    cells[NEXT] = claimed
        finally:
            fcntl.lockf(self._page.fd, fcntl.LOCK_UN)
        if behind:
            self._receive()  # the message that says what was taken back is on its way
            return 0
        wake_at = cells[WAKE_AT]
        if claimed >= wake_at != self._woken_at:
            self._woken_at = wake_at
            self._signal()
        return max(0, claimed - first)

    def _unclaim(self, item: int) -> None:
        """Give back the rest of the run: it takes longer than predicted."""
        fcntl.lockf(self._page.fd, fcntl.LOCK_EX)
        self._page.cells[NEXT] = item
        fcntl.lockf(self._page.fd, fcntl.LOCK_UN)

    def _end_run(self, item: int) -> None:
        """The run ends before this item, as the one before it waits: what is behind it need not."""
        if self._page.cells[NEXT] > item:
            rest = self._rest
            if isinstance(rest, GeneratorType):
                rest.close()
            else:
                rest.__setstate__(ENTRIES)  # type: ignore[attr-defined]  # of a list or tuple: its end, without a cost per item
            self._unclaim(item)

    # ----------------------------------------------------------------------------------------------------- executing

    def _call(self, batch: Batch) -> Callable[[Any], Any]:
        functions, store = self._functions, self._store
        if isinstance(batch, TaskBatch):
            return lambda task: functions[task[0]](load_row(task[1], store, task[2]))
        key = batch.key
        if batch.page_rows == 1:
            return lambda payload: functions[key](load_row(payload, store))
        if key in functions:
            return functions[key]
        return lambda row: functions[key](row)

    def _execute(self, call: Callable[[Any], Any], rows: Iterable[Any], item: int, started_ns: int) -> int:
        """Run and commit one item per row, from ``item`` on; how many were run before time was up."""
        page, plain, dumps, clock, no_value = self._page, PLAIN, pickle.dumps, time.monotonic_ns, _NO_VALUE
        cells, data, lengths, ends, outcomes = page.cells, page.data, page.lengths, page.ends, page.outcomes
        first = item
        cells[IDLE_NS] = idle_ns = started_ns - self._busy_ns
        now = self._busy_ns
        late_ns = now + LATE_NS
        due_ns = min(self._signal_ns - idle_ns, late_ns)
        position, stop = self._position, self._stop
        self._rest = rest = iter(rows)
        value: Any = None
        row: Any = None
        while True:
            try:
                for row in rest:
                    cells[CURRENT] = item
                    try:
                        value = call(row)
                        kind = type(value)
                        if value is None:
                            payload = no_value
                        elif kind in plain or ((kind is str or kind is bytes) and len(value) <= SHORT_BYTES):
                            payload = dumps(value, 5)
                            if len(payload) > INLINE_PAYLOAD_BYTES:
                                payload, outcomes[item & MASK] = dump_value(value, self._store)
                        else:
                            payload, outcomes[item & MASK] = dump_value(value, self._store)
                    except TaskInterrupted:
                        raise
                    except BaseException as error:  # SystemExit and KeyboardInterrupt too, as multiprocessing.Pool does
                        if item == self._interrupted:
                            raise TaskInterrupted("the task was cancelled") from error
                        payload, outcomes[item & MASK] = self._functions.failed(error)
                    size = len(payload)
                    end = position + size
                    if end > stop:
                        cells[CURRENT] = NONE  # close the window: this may wait
                        end = self._write_slowly(payload, position)
                        stop = self._stop
                    else:
                        data[position:end] = payload
                    slot = item & MASK
                    lengths[slot] = size
                    ends[slot] = now = clock() - idle_ns
                    cells[DONE] = item = item + 1
                    position = end  # only now: an interrupt before that writes its own payload at the same place
                    if now > due_ns:
                        if now > self._signal_ns - idle_ns:
                            self._signal()
                        if now > late_ns:
                            if item < cells[NEXT]:
                                self._unclaim(item)
                            break
                        due_ns = min(self._signal_ns - idle_ns, late_ns)
                break
            except TaskInterrupted:
                cells[CURRENT] = NONE
                enclosing.give_up_of(item)
                payload = b""  # the outcome says it; whether it is a cancel or a time-out is known to the agent
                position = self._write_slowly(payload, position)
                stop = self._stop
                slot = item & MASK
                outcomes[slot] = Outcome.CANCELLED
                lengths[slot] = len(payload)
                ends[slot] = now = clock() - idle_ns
                cells[DONE] = item = item + 1
        value = row = None  # what the last item used must not live until the next one comes
        self._position = position
        self._busy_ns = now
        return item - first

    def _write_slowly(self, payload: bytes, position: int) -> int:
        """Write across the ring's end, or when there is no room, or when it is time to signal; the new position."""
        cells, data = self._page.cells, self._page.data
        size = len(payload)
        written = self._total(position)
        if written + size - cells[TAKEN_BYTES] > DATA_BYTES:
            self._wait_for_room(lambda: written + size - cells[TAKEN_BYTES] <= DATA_BYTES)
        head = min(size, DATA_BYTES - position)
        data[position : position + head] = payload[:head]
        data[: size - head] = payload[head:]
        self._written = written + size
        self._position = position = self._written % DATA_BYTES
        used = self._written - cells[TAKEN_BYTES]
        if used >= DATA_BYTES // 2:
            self._signal()
            free = DATA_BYTES - used
        else:
            free = DATA_BYTES // 2 - used
        self._stop = min(DATA_BYTES, position + free)
        return position

    def _total(self, position: int) -> int:
        """Bytes written in all, if the next payload belongs at ``position`` and nothing wrapped since ``_written``."""
        return self._written + position - self._written % DATA_BYTES

    # --------------------------------------------------------------------------------------------------- the agent

    def _signal(self) -> None:
        self._signal_ns = time.monotonic_ns() + self._report_ns
        self._reported = self._page.cells[DONE]
        try:
            self._socket.send(channel.SIGNAL, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass  # so many signals are unread that one more says nothing
        except OSError as error:
            raise AgentGone from error

    def _wait_for_room(self, has_room: Callable[[], bool]) -> None:
        """Wait until the agent has read enough. Whenever it hears of us it takes all, and then looks at ``STUCK``."""
        cells = self._page.cells
        while not has_room():
            cells[STUCK] = 1
            self._receive()
        cells[STUCK] = 0

    def _receive(self) -> None:
        """Read messages; if there are none, tell the agent of what it has not heard of, and wait."""
        buffer = self._inbox.get_buffer()
        try:
            try:
                count = self._socket.recv_into(buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if self._page.cells[DONE] != self._reported or self._page.cells[STUCK]:
                    self._signal()
                if self._has_run:
                    self._tidy_in_time()
                count = self._socket.recv_into(buffer)
        except OSError as error:
            raise AgentGone from error
        if not count:
            raise AgentGone
        for kind, body in self._inbox.received(count):
            self._on_message(kind, body)

    def _tidy_in_time(self) -> None:
        """Wait for a message, but not beyond the time at which what ran last is tidied up."""
        due_ns = self._tidying.due_ns
        if due_ns < math.inf and not self._poll.poll(max(0.0, due_ns - time.monotonic_ns()) * 1e-6):
            self._tidy()

    def _tidy(self) -> None:
        self._has_run = False
        self._tidying.tidy()

    def _on_message(self, kind: int, body: bytes) -> None:
        if kind == channel.PAGES:
            pages = channel.read_pages(body)
            if pages.key not in self._paces:
                self._paces[pages.key] = Pace(pages.expected_ns)
            self._add(PageBatch(self._received, pages))
        elif kind == channel.TASKS:
            self._add(TaskBatch(self._received, channel.read_tasks(body)))
        elif kind == channel.FUNCTION:
            key, payload = channel.read_function(body)
            self._functions.payloads[key] = payload
        elif kind == channel.MANNER:
            key, manner = channel.read_manner(body)
            self._functions.manners[key] = manner
        elif kind == channel.FORGET:
            for key in channel.read_forget(body):
                self._functions.forget(key)
                self._paces.pop(key, None)
        elif kind == channel.TRUNCATE:
            limit, self._generation = channel.read_truncate(body)
            self._truncate(limit)
        elif kind == channel.CONFIGURE:
            settings = channel.read_configure(body)
            self._store.configure(settings)
            self._marker.secret = settings["secret"]
            self._tidying.configure(settings)
            if scheduler := settings.get("scheduler"):
                # For a client that a task makes.
                enclosing.set_enclosing(enclosing.Enclosing(scheduler, settings["token"]))

    def _add(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._received += batch.count

    def _truncate(self, limit: int) -> None:
        while self._batches and self._batches[-1].first >= limit:
            self._batches.pop()
        if self._batches:
            self._batches[-1].cut(limit)
            if self._batches[-1].at == self._batches[-1].count:
                self._batches.pop()
        self._received = limit


def _is_importing(frame: FrameType | None) -> bool:
    """Whether an ``import`` statement is among the callers."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT_SYSTEM:
            return True
        frame = frame.f_back
    return False
