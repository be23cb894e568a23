"""The rows of a single task, as seen by code that deals with those of arrays as well."""

from collections.abc import Iterator
from typing import Final

from scaler_trio.ranges import Range


class FixedRows:
    """The rows of a single task, which has one: open, or not. Two shared values instead of a set for each task."""

    __slots__ = ("_ranges",)

    def __init__(self, *ranges: Range) -> None:
        self._ranges = list(ranges)

    def __len__(self) -> int:
        return len(self._ranges)

    def __iter__(self) -> Iterator[Range]:
        return iter(self._ranges)

    def __contains__(self, row: int) -> bool:
        return row == 0 and bool(self._ranges)

    def __repr__(self) -> str:
        return f"FixedRows({self._ranges})"

    def within(self, lo: int, hi: int) -> list[Range]:
        """As of ``RangeSet``."""
        return list(self._ranges) if lo <= 0 < hi else []

    @property
    def first(self) -> Range:
        """As of ``RangeSet``."""
        return self._ranges[0]

    last = first


ONE_ROW: Final = FixedRows((0, 1))
NO_ROWS: Final = FixedRows()
