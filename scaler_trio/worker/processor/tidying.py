"""Between items, now and then: garbage is collected, and memory that nobody uses goes back to the system."""

import ctypes
import gc
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

SHARE: Final = 100
"""Collecting takes at most one part in so many of a processor's time: a heap of a million objects takes 0.1 s."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def _find_trim() -> Callable[[int], int] | None:
    """``malloc_trim``, where the C library has it."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


class Tidying:
    """Of one processor. ``due_ns`` is on the monotonic clock; whoever sees that it has passed calls ``tidy``."""

    def __init__(self) -> None:
        self.due_ns: float = math.inf
        self._every_ns = 0
        self._trim_bytes = 0
        self._trim: Callable[[int], int] | None = None

    def configure(self, settings: dict[str, Any]) -> None:
        """Take over how often, and from which size on memory is given back."""
        self._every_ns = int(settings["collect_s"] * 1e9)
        self._trim_bytes = settings["trim_bytes"]
        self._trim = _find_trim() if self._trim_bytes else None
        self.due_ns = time.monotonic_ns() + self._every_ns if self._every_ns else math.inf

    def tidy(self) -> None:
        """Collect, trim, and say when to do it again."""
        began_ns = time.monotonic_ns()
        gc.collect()
        if self._trim is not None and _resident_bytes() >= self._trim_bytes:
            self._trim(0)
        now_ns = time.monotonic_ns()
        self.due_ns = now_ns + max(self._every_ns, SHARE * (now_ns - began_ns))


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0
