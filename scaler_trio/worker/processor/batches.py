"""What a processor has received and not yet run: rows of an array in pages, or single tasks."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from scaler_trio.serialization import load_page
from scaler_trio.worker import channel
from scaler_trio.worker.processor.store import ObjectStore

Task = tuple[int, bytes, tuple[bytes, ...]]


class PageBatch:
    """Rows of an array, loaded page by page as they are claimed."""

    report_ns: Final = 150_000_000
    """Results wait at most about this long for a signal. Each signal wakes agent, scheduler and client, which on busy
    cores costs milliseconds."""

    def __init__(self, first: int, pages: channel.Pages) -> None:
        self.first = first  # item number of the first row
        self.count = pages.rows
        self.at = 0  # rows that were run
        self.key = pages.key
        self.page_rows = pages.page_rows
        self._skip = pages.skip
        self._offsets = memoryview(pages.offsets).cast("I")
        self._base = self._offsets[0]
        self._data = memoryview(pages.data)
        self._page = -1
        self._loaded: list[Any] = []

    def cut(self, limit: int) -> None:
        """Forget the items from ``limit`` on."""
        self.count = min(self.count, limit - self.first)

    def rows(self, count: int, store: ObjectStore) -> Iterable[Any]:
        """The next ``count`` rows: values, or with one row a page their pickles, which may run user code."""
        if self.page_rows == 1:
            return self._pickles(self._skip + self.at, count)
        index, at = divmod(self._skip + self.at, self.page_rows)
        rows = self._load(index, store)[at : at + count]
        while len(rows) < count:
            index += 1
            rows += self._load(index, store)[: count - len(rows)]
        return rows

    def _pickles(self, at: int, count: int) -> Iterator[memoryview]:
        data, base, offsets = self._data, self._base, self._offsets
        return (data[offsets[i] - base : offsets[i + 1] - base] for i in range(at, at + count))

    def _load(self, index: int, store: ObjectStore) -> list[Any]:
        # Only rows of plain values share a page: loading them runs no user code and cannot fail unless we damaged them.
        if index != self._page:
            page = self._data[self._offsets[index] - self._base : self._offsets[index + 1] - self._base]
            self._loaded = load_page(page, self.page_rows, store)
            self._page = index
        return self._loaded


class TaskBatch:
    """Single tasks: (function key, payload, payloads of inputs)."""

    report_ns: Final = 20_000_000
    """As for rows of an array; but something else may wait for each of these."""

    def __init__(self, first: int, tasks: Sequence[Task]) -> None:
        self.first = first
        self.count = len(tasks)
        self.at = 0
        self.tasks = tasks

    def cut(self, limit: int) -> None:
        """Forget the items from ``limit`` on."""
        self.count = min(self.count, limit - self.first)

    def remaining_keys(self) -> Iterator[int]:
        """Functions of what has not run."""
        return (task[0] for task in islice(self.tasks, self.at, self.count))

    def rows(self, count: int, store: ObjectStore) -> Iterable[Task]:
        """The next ``count`` tasks."""
        return self.tasks[self.at : self.at + count]


Batch = PageBatch | TaskBatch
