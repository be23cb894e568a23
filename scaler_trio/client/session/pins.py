"""Stored arguments that rows name which the core does not have yet: they must not be released meanwhile.

An argument is stored while its row is pickled. Until that row is handed over, the cache may evict the argument, and
its value may be garbage; a release that went out then would delete it before the scheduler hears of the row.
"""

import threading
from collections.abc import Iterable

from attrs import define, field


@define(eq=False)
class Pins:
    """Counts, for each thread that pickles rows, what these name. Thread-safe."""

    counts: dict[bytes, int] = field(factory=dict)
    _of_threads: dict[int, set[bytes]] = field(factory=dict)
    _lock: threading.Lock = field(factory=threading.Lock)

    def pin(self, object_id: bytes) -> None:
        """A row that this thread is pickling names the object."""
        with self._lock:
            mine = self._of_threads.setdefault(threading.get_ident(), set())
            if object_id not in mine:
                mine.add(object_id)
                self.counts[object_id] = self.counts.get(object_id, 0) + 1

    def unpin(self) -> None:
        """The rows of this thread are with the core. After rows that failed it comes with the thread's next ones."""
        with self._lock:
            for object_id in self._of_threads.pop(threading.get_ident(), ()):
                left = self.counts.pop(object_id) - 1
                if left:
                    self.counts[object_id] = left

    def split(self, objects: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Those that are free, and those that are pinned."""
        counts = self.counts
        free: list[bytes] = []
        pinned: list[bytes] = []
        for object_id in objects:
            (pinned if object_id in counts else free).append(object_id)
        return free, pinned
