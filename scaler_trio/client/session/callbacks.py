"""The thread that runs the callbacks of futures, so that a slow one delays neither the connection nor other threads."""

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

log = logging.getLogger(__name__)

_Call = tuple[Callable[[Any], object], Any]


class CallbackThread:
    """Runs callbacks in the order in which they came; the thread is started by the first one, and is a daemon."""

    def __init__(self, name: str, call: Callable[[Callable[[Any], object], Any], None]) -> None:
        self._name = name
        self._call = call
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def put(self, calls: Iterable[_Call]) -> None:
        """Run these soon."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        for call in calls:
            self._queue.put(call)

    def stop(self) -> None:
        """Let the thread end after what is queued; never waits."""
        with self._lock:
            if self._thread is not None:
                self._thread = None
                self._queue.put(None)

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            try:
                self._call(*call)
            except BaseException:  # as of sys.exit: this thread is not the callback's to end
                log.exception("a callback ended with what is not for a callback to raise")
            del call  # it would keep the future alive until the next one
