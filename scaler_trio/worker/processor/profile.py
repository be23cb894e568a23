"""What one item used: CPU time and memory, measured around its call and only if its client asked for it."""

import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

PROFILE: Final = struct.Struct("<QQQ")
"""CPU time (ns), peak memory (bytes), start (ns, monotonic): behind a payload that has the flag ``HAS_PROFILE``."""

_RESET_PEAK: Final = b"5"
"""Written to ``clear_refs``: the peak of the resident memory begins anew."""


class Profiled(NamedTuple):
    """A value and what making it used."""

    value: Any
    profile: bytes


class Meter:
    """Measures one item at a time."""

    def __init__(self) -> None:
        self.failed: tuple[BaseException | None, bytes] = (None, b"")  # what was raised last, and what that used

    def measured(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """``function``, whose values are ``Profiled``."""

        def call(row: Any) -> Any:
            _reset_peak()
            started_ns, cpu_ns = time.monotonic_ns(), _cpu_ns()
            try:
                value = function(row)
            except BaseException as error:
                self.failed = (error, PROFILE.pack(_cpu_ns() - cpu_ns, _peak_bytes(), started_ns))
                raise
            return Profiled(value, PROFILE.pack(_cpu_ns() - cpu_ns, _peak_bytes(), started_ns))

        return call

    def take_failed(self, error: BaseException) -> bytes:
        """What the item used that failed so; empty if it was not measured."""
        (failed, profile), self.failed = self.failed, (None, b"")
        return profile if failed is error else b""


def _cpu_ns() -> int:
    """CPU time of all threads, and of the subprocesses that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time_ns() + int((children.ru_utime + children.ru_stime) * 1e9)


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_bytes(_RESET_PEAK)
    except OSError:
        pass  # then the peak is that of the process since its start


def _peak_bytes() -> int:
    """The most memory that was resident since the peak was reset."""
    try:
        status = Path("/proc/self/status").read_bytes()
        return int(status.partition(b"VmHWM:")[2].split(None, 1)[0]) * 1024
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
