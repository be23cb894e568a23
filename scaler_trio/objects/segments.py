"""Segments: unnamed memory files that hold one object each, and how much memory they may take on this machine.

A segment's size is fixed when it is made and sealed against change by anybody, so that who maps it can never be hit by
a truncation. It is written by ``pwrite`` only; nobody ever has a writable shared mapping of it.
"""

import fcntl
import os
import resource
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

import psutil
from attrs import frozen

from scaler_trio.process.memory import available_bytes

MEMORY_SHARE: Final = 0.3
"""Of the machine's, or the cgroup's, memory: the rest is for those who compute."""
SPARE_DESCRIPTORS: Final = 1024
"""Left of the process's file descriptors for connections, spill files and libraries."""
_MOST_DESCRIPTORS: Final = 1 << 18
"""Beyond this the kernel's table of them costs more than it brings."""
_SHARED_MEMORY: Final = Path("/dev/shm")


@frozen
class Segment:
    """A memory file of fixed size; ``descriptor`` is writable and belongs to the store."""

    descriptor: int
    capacity_bytes: int


class SegmentStore(ABC):
    """Where segments come from: the seam at which tests put a machine that has no memory left."""

    @abstractmethod
    def create(self, capacity_bytes: int) -> Segment:
        """Make a segment. Raises ``OSError``: no memory, or no file descriptor."""

    @abstractmethod
    def destroy(self, segment: Segment) -> None:
        """Give it back; the memory is free once the last process that has it open closes it."""


class MemoryFiles(SegmentStore):
    """Segments as ``memfd`` files, which vanish with the last process that has them open: nothing to sweep."""

    def create(self, capacity_bytes: int) -> Segment:
        descriptor = os.memfd_create("scaler-object", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, capacity_bytes)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        except OSError:
            os.close(descriptor)
            raise
        return Segment(descriptor, capacity_bytes)

    def destroy(self, segment: Segment) -> None:
        os.close(segment.descriptor)


def open_for_reading(segment: Segment) -> int:
    """A descriptor of its own through which the segment cannot be written; the caller closes it."""
    return os.open(f"/proc/self/fd/{segment.descriptor}", os.O_RDONLY | os.O_CLOEXEC)


def open_for_writing(segment: Segment) -> int:
    """A second, writable, descriptor; the caller closes it. Raises ``OSError``."""
    return os.dup(segment.descriptor)


def write_at(descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of ``data``. Raises ``OSError``."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def memory_limit(setting_bytes: int | None) -> int:
    """What objects may take: the least of the setting, a share of RAM or cgroup, and what shared memory has free."""
    limits = [int(MEMORY_SHARE * available_bytes())]
    if setting_bytes is not None:
        limits.append(setting_bytes)
    try:
        limits.append(psutil.disk_usage(str(_SHARED_MEMORY)).free)
    except OSError:
        pass  # not mounted; memfd does not need it
    return max(0, min(limits))


def raise_descriptor_limit() -> int:
    """Let this process have as many files as the system allows it; the number of segments that it may then have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted - SPARE_DESCRIPTORS, wanted // 2)
