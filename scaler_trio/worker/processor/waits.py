"""A task that waits for other tasks: its processor gives up its slot, and asks for one before it goes on.

How to think about it: any thread of a task may wait, so waits are counted. With the first one the item *waits*, which
the page tells the agent; with the last one's end it does not. The main thread then waits for permission, because
another item may have the slot; another thread goes on without, because user code on the main thread never stopped.
Everything is marked with the item's number, so that nothing has to be reset when an item ends, however it ends.
"""

import select
import socket
import threading
from collections.abc import Callable
from types import TracebackType

from scaler_trio.worker import channel
from scaler_trio.worker.control_page import (
    CANCEL,
    CURRENT,
    DONE,
    NONE,
    REQUEST,
    RESUMED,
    SESSION,
    UNFINISHED,
    WAITING,
    ControlPage,
)
from scaler_trio.worker.core.events import RUNS, WAITS, WANTS
from scaler_trio.worker.processor.results import TaskInterrupted


class Wait:
    """One wait of one thread, as a context manager."""

    __slots__ = ("_item", "_waits")

    def __init__(self, waits: "ItemWaits") -> None:
        self._waits = waits
        self._item = NONE

    def __enter__(self) -> None:
        self._item = self._waits.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._item != NONE:
            # One that is stopped has a second for its ``finally`` blocks, and does not spend it on waiting.
            self._waits.leave(self._item, may_ask=not isinstance(error, TaskInterrupted))


class ItemWaits:
    """One per processor. What it does to the loop is given to it: ``give_back`` ends the run, ``receive`` reads."""

    def __init__(
        self,
        page: ControlPage,
        sock: socket.socket,
        *,
        give_back: Callable[[int], None],
        receive: Callable[[], None],
        check: Callable[[], None],
    ) -> None:
        self._page = page
        self._socket = sock
        self._give_back = give_back
        self._receive = receive
        self._check = check
        self._lock = threading.Lock()  # held for a few stores, and never while a signal handler may raise in between
        self._item = NONE
        self._count = 0  # waits of that item
        self._requests = 0

    def waiting(self) -> Wait:
        """Around a wait."""
        return Wait(self)

    def announce(self, session: bytes) -> None:
        """Tell of the session by which this processor's items submit."""
        cells = self._page.cells
        cells[SESSION + 1] = int.from_bytes(session[8:], "big")
        cells[SESSION] = int.from_bytes(session[:8], "big")

    def tell_unfinished(self, is_any: bool) -> None:
        """Whether tasks that this processor's items have submitted are unfinished. Called often, by any thread."""
        self._page.cells[UNFINISHED] = is_any

    def current(self) -> int:
        """The item in user code."""
        return self._page.cells[CURRENT]

    def enter(self) -> int:
        """A thread begins to wait; the item that it belongs to, or NONE if no item runs."""
        cells = self._page.cells
        item = cells[CURRENT]
        if item == NONE or item != cells[DONE]:
            return NONE
        is_main = threading.current_thread() is threading.main_thread()
        if is_main:
            # Another thread may not: the main thread may be at the end of the item just now. What it leaves behind the
            # item was fed before the item began, so the item does not wait for it.
            self._give_back(item + 1)
        with self._lock:
            if item != self._item:
                self._item, self._count = item, 0
            self._count += 1
            is_first = self._count == 1
            if is_first:
                cells[WAITING] = item << 2 | WAITS
        if is_first:
            self._tell()
        return item

    def leave(self, item: int, *, may_ask: bool) -> None:
        """It waits no longer."""
        cells = self._page.cells
        may_ask = may_ask and threading.current_thread() is threading.main_thread()
        with self._lock:
            if item != self._item:
                return
            self._count -= 1
            if self._count:
                return
            if may_ask:
                self._requests = cells[REQUEST] = self._requests + 1
            cells[WAITING] = item << 2 | (WANTS if may_ask else RUNS)
        self._tell()
        if may_ask:
            try:
                self._wait_for_permission(item)
            finally:
                cells[WAITING] = item << 2 | RUNS

    def _wait_for_permission(self, item: int) -> None:
        # An interrupt may come at any time but while the socket is read, as that would lose what was read: then the
        # window is closed, and what came meanwhile is looked up.
        cells = self._page.cells
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while cells[RESUMED] != self._requests:
            poll.poll()
            cells[CURRENT] = NONE
            self._receive()
            cells[CURRENT] = item
            if cells[CANCEL] == item:
                self._check()

    def _tell(self) -> None:
        try:
            self._socket.send(channel.SIGNAL, socket.MSG_DONTWAIT)
        except OSError:
            pass  # many signals are unread; or the agent is gone, which the loop finds out
