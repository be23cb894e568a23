"""How much memory and disk the objects take: segments in use, segments kept for the next object, files.

Counted is the capacity of segments, as that is what the machine misses. A free segment is kept because its memory is
there already: writing to it is three times as fast as to a new one.
"""

from typing import Final

from attrs import field, frozen

from scaler_protocol import limits
from scaler_trio.objects.core.events import SegmentNumber

PAGE_BYTES: Final = 4096
KEPT_SEGMENTS: Final = 64
"""Free segments that are kept at most: looking one up is a walk over all of them."""
KEPT_S: Final = 60.0
"""A free segment that nobody wanted for this long goes back to the machine."""


@frozen
class RoomLimits:
    """What the objects may take at most."""

    memory_bytes: int
    disk_bytes: int
    #: Each segment is a file descriptor of the server.
    segments: int = 100_000
    #: Free segments are kept up to this share of the memory.
    kept_share: float = 0.25
    #: Whether the oldest objects are dropped for new ones (a cache) and not spilled to disk.
    drops: bool = False
    #: For refusals: where the disk is, and what to turn.
    disk_name: str = "disk"
    advice: str = field(
        default="release futures and references that are no longer needed, "
        "or raise memory_bytes or spill_bytes of the object storage server"
    )


class Room:
    """The accounts. Every byte of memory is in exactly one segment, in use or kept."""

    def __init__(self, room_limits: RoomLimits) -> None:
        self.limits = room_limits
        self.segments: dict[SegmentNumber, int] = {}  # capacity of all, in use and kept
        self.kept: dict[SegmentNumber, float] = {}  # free ones, oldest first: since when
        self.memory_bytes = 0
        self.kept_bytes = 0
        self.disk_bytes = 0
        self.disk_error = ""  # why the last write to disk failed, until something was deleted from it
        self._last = 0

    @property
    def used_bytes(self) -> int:
        """Memory that holds objects."""
        return self.memory_bytes - self.kept_bytes

    def recycle(self, size_bytes: int) -> SegmentNumber | None:
        """Take the smallest kept segment that fits and is not more than twice too large."""
        best, best_capacity = None, 2 * max(size_bytes, PAGE_BYTES) + 1
        for segment in self.kept:
            if size_bytes <= self.segments[segment] < best_capacity:
                best, best_capacity = segment, self.segments[segment]
        if best is not None:
            self._unkeep(best)
        return best

    def missing_for(self, size_bytes: int) -> int:
        """Bytes that must be freed before a new segment for this size may be made; 0 = there is room."""
        short = self.memory_bytes + capacity_for(size_bytes) - self.limits.memory_bytes
        if len(self.segments) >= self.limits.segments:
            return max(short, PAGE_BYTES)
        return max(short, 0)

    def add(self, size_bytes: int) -> SegmentNumber:
        """Account for a new segment."""
        self._last += 1
        self.segments[self._last] = capacity_for(size_bytes)
        self.memory_bytes += capacity_for(size_bytes)
        return self._last

    def remove(self, segment: SegmentNumber) -> None:
        """The segment is given back to the machine."""
        if segment in self.kept:
            self._unkeep(segment)
        self.memory_bytes -= self.segments.pop(segment)

    def keep(self, segment: SegmentNumber, now: float) -> bool:
        """Keep a segment that became free for the next object; False: there are enough, remove it."""
        capacity = self.segments[segment]
        if self.kept_bytes + capacity > self.limits.kept_share * self.limits.memory_bytes:
            return False
        if len(self.kept) >= KEPT_SEGMENTS:
            return False
        self.kept[segment] = now
        self.kept_bytes += capacity
        return True

    def oldest_kept(self) -> SegmentNumber | None:
        """The free segment that waits longest, or None."""
        return next(iter(self.kept), None)

    def fits_on_disk(self, size_bytes: int) -> bool:
        """Whether one more object of this size may be spilled."""
        return not self.disk_error and self.disk_bytes + size_bytes <= self.limits.disk_bytes

    def describe(self, in_use_bytes: int) -> str:
        """Usage and limits for people; ``in_use_bytes`` are being read or written and cannot move."""
        bound = self.limits
        memory = f"memory holds {megabytes(self.used_bytes)} of {megabytes(bound.memory_bytes)}"
        if len(self.segments) >= bound.segments:
            memory += f" in {len(self.segments)} of {bound.segments} segments"
        if in_use_bytes:
            memory += f" ({megabytes(in_use_bytes)} being read or written)"
        if bound.drops:
            return memory
        disk = f"{bound.disk_name} {megabytes(self.disk_bytes)} of {megabytes(bound.disk_bytes)}"
        if self.disk_error:
            disk += f" (writing to it failed: {self.disk_error})"
        return f"{memory}, {disk}"

    def _unkeep(self, segment: SegmentNumber) -> None:
        del self.kept[segment]
        self.kept_bytes -= self.segments[segment]


def capacity_for(size_bytes: int) -> int:
    """The capacity of a new segment: whole pages, and never none."""
    return max(1, -(-size_bytes // PAGE_BYTES)) * PAGE_BYTES


def megabytes(size_bytes: int) -> str:
    """A size for people."""
    if size_bytes < limits.MIB:
        return f"{size_bytes / limits.KIB:.0f} KiB"
    return f"{size_bytes / limits.MIB:.1f} MiB"
