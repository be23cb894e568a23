"""A set of whole numbers kept as sorted, disjoint ranges: which rows of an array are done, or wait, or run."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class RangeSet:
    """Half-open ranges ``[lo, hi)``. Cost grows with the number of ranges, not of rows."""

    __slots__ = ("_count", "_his", "_los")

    def __init__(self, ranges: Iterator[tuple[int, int]] | list[tuple[int, int]] = ()) -> None:  # type: ignore[assignment]
        self._los: list[int] = []
        self._his: list[int] = []
        self._count = 0
        for lo, hi in ranges:
            self.add(lo, hi)

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return self._count > 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._los, self._his, strict=True)))

    def __contains__(self, row: int) -> bool:
        at = bisect_right(self._los, row) - 1
        return at >= 0 and row < self._his[at]

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"

    def add(self, lo: int, hi: int) -> int:
        """Add ``[lo, hi)``; how many rows were new."""
        if lo >= hi:
            return 0
        los, his = self._los, self._his
        if his and his[-1] == lo:  # the usual case: rows end in order
            his[-1] = hi
            self._count += hi - lo
            return hi - lo
        first = bisect_left(his, lo)
        last = bisect_right(los, hi)
        new_lo, new_hi, old = lo, hi, 0
        if first < last:
            new_lo, new_hi = min(lo, los[first]), max(hi, his[last - 1])
            old = sum(his[at] - los[at] for at in range(first, last))
        los[first:last] = [new_lo]
        his[first:last] = [new_hi]
        added = new_hi - new_lo - old
        self._count += added
        return added

    def remove(self, lo: int, hi: int) -> int:
        """Take ``[lo, hi)`` out; how many rows were in."""
        if lo >= hi:
            return 0
        los, his = self._los, self._his
        first = bisect_right(his, lo)
        last = bisect_left(los, hi)
        if first >= last:
            return 0
        removed = sum(min(his[at], hi) - max(los[at], lo) for at in range(first, last))
        rest = [(los[first], lo)] if los[first] < lo else []
        if his[last - 1] > hi:
            rest.append((hi, his[last - 1]))
        los[first:last] = [r[0] for r in rest]
        his[first:last] = [r[1] for r in rest]
        self._count -= removed
        return removed

    def within(self, lo: int, hi: int) -> list[tuple[int, int]]:
        """The parts of ``[lo, hi)`` that are in the set."""
        first = bisect_right(self._his, lo)
        last = bisect_left(self._los, hi)
        return [(max(self._los[at], lo), min(self._his[at], hi)) for at in range(first, last)]

    def missing(self, lo: int, hi: int) -> list[tuple[int, int]]:
        """The parts of ``[lo, hi)`` that are not in the set."""
        gaps = []
        at = lo
        for start, end in self.within(lo, hi):
            if at < start:
                gaps.append((at, start))
            at = end
        if at < hi:
            gaps.append((at, hi))
        return gaps

    @property
    def first(self) -> tuple[int, int]:
        """The lowest range. Raises ``IndexError`` when empty."""
        return self._los[0], self._his[0]

    @property
    def last(self) -> tuple[int, int]:
        """The highest range. Raises ``IndexError`` when empty."""
        return self._los[-1], self._his[-1]
