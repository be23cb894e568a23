"""The processor's end of streamed output: marks on both pipes around each item that its client wants to hear."""

import ctypes
import os
from collections.abc import Callable
from typing import Any

from scaler_trio.worker import streams
from scaler_trio.worker.control_page import CURRENT
from scaler_trio.worker.processor.results import TaskInterrupted, flush_output


class Marker:
    """Marks what items print. Until it has a secret it does nothing."""

    def __init__(self, cells: "memoryview[int]") -> None:
        self._cells = cells
        self._libc: ctypes.CDLL | None = None
        self.secret = b""

    def marked(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """``function``, with marks around what it prints."""

        def call(row: Any) -> Any:
            item = self._cells[CURRENT]
            self._mark(streams.BEGIN, item)
            try:
                return function(row)
            finally:
                try:
                    self._mark(streams.END, item)
                except TaskInterrupted:  # once at most; what the next item prints must not be taken for this one's
                    self._mark(streams.END, item)
                    raise

        return call

    def _mark(self, letter: bytes, item: int) -> None:
        flush_output()
        if self._libc is None:
            self._libc = ctypes.CDLL(None)
        self._libc.fflush(None)
        mark = streams.mark(self.secret, letter, item)
        for fd in (1, 2):
            try:
                os.write(fd, mark)  # less than PIPE_BUF: whole or not at all
            except OSError:
                pass  # user code has closed it
