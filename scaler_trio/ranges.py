"""Sets of whole numbers kept as sorted, disjoint ranges: which rows are done, or wait, or run. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Range: TypeAlias = tuple[int, int]
"""From the first number up to, and without, the second."""


class RangeSet:
    """Half-open ranges ``[lo, hi)``. Cost grows with the number of ranges, not of rows."""

    __slots__ = ("_count", "_his", "_los")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._los: list[int] = []
        self._his: list[int] = []
        self._count = 0
        for lo, hi in ranges:
            self.add(lo, hi)

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return self._count > 0

    def __iter__(self) -> Iterator[Range]:
        return iter(list(zip(self._los, self._his, strict=True)))

    def __contains__(self, row: int) -> bool:
        at = bisect_right(self._los, row) - 1
        return at >= 0 and row < self._his[at]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._los == other._los and self._his == other._his

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"

    def add(self, lo: int, hi: int) -> int:
        """Add ``[lo, hi)``; how many rows were new."""
        if lo >= hi:
            return 0
        los, his = self._los, self._his
        if not his or his[-1] < lo:
            los.append(lo)
            his.append(hi)
            self._count += hi - lo
            return hi - lo
        if his[-1] == lo:  # the usual case: rows end in order
            his[-1] = hi
            self._count += hi - lo
            return hi - lo
        first = bisect_left(his, lo)
        last = bisect_right(los, hi)
        new_lo, new_hi, old = lo, hi, 0
        if first < last:
            new_lo, new_hi = min(lo, los[first]), max(hi, his[last - 1])
            old = sum(his[first:last]) - sum(los[first:last])
        los[first:last] = [new_lo]
        his[first:last] = [new_hi]
        added = new_hi - new_lo - old
        self._count += added
        return added

    def remove(self, lo: int, hi: int) -> int:
        """Take ``[lo, hi)`` out; how many rows were in."""
        los, his = self._los, self._his
        if lo >= hi or not los:
            return 0
        first = bisect_right(his, lo)
        last = bisect_left(los, hi)
        if first >= last:
            return 0
        low, high = los[first], his[last - 1]
        removed = sum(his[first:last]) - sum(los[first:last])
        rest_los, rest_his = [], []
        if low < lo:
            rest_los.append(low)
            rest_his.append(lo)
            removed -= lo - low
        if high > hi:
            rest_los.append(hi)
            rest_his.append(high)
            removed -= high - hi
        los[first:last] = rest_los
        his[first:last] = rest_his
        self._count -= removed
        return removed

    def clear(self) -> None:
        """Take everything out."""
        self._los.clear()
        self._his.clear()
        self._count = 0

    def within(self, lo: int, hi: int) -> list[Range]:
        """The parts of ``[lo, hi)`` that are in the set."""
        if lo >= hi:
            return []
        first = bisect_right(self._his, lo)
        last = bisect_left(self._los, hi)
        return [(max(self._los[at], lo), min(self._his[at], hi)) for at in range(first, last)]

    def missing(self, lo: int, hi: int) -> list[Range]:
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

    def first_gap(self, lo: int, hi: int) -> Range | None:
        """The first of ``missing``, at a cost that does not grow with their number."""
        if lo >= hi:
            return None
        los, his = self._los, self._his
        at = bisect_right(his, lo)
        if at < len(los) and los[at] <= lo:
            lo = his[at]
            at += 1
        if lo >= hi:
            return None
        return lo, min(hi, los[at]) if at < len(los) else hi

    def covers(self, lo: int, hi: int) -> bool:
        """Whether all of ``[lo, hi)`` is in the set."""
        if lo >= hi:
            return True
        at = bisect_right(self._los, lo) - 1
        return at >= 0 and hi <= self._his[at]

    @property
    def first(self) -> Range:
        """The lowest range. Raises ``IndexError`` when empty."""
        return self._los[0], self._his[0]

    @property
    def last(self) -> Range:
        """The highest range. Raises ``IndexError`` when empty."""
        return self._los[-1], self._his[-1]


def ranges_of(numbers: Iterable[int], at_most: int) -> tuple[Range, ...]:
    """The numbers as ranges; if they would be more than ``at_most``, the narrowest gaps are covered too."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number:
            found[-1][1] = number + 1
        else:
            found.append([number, number + 1])
    if len(found) > at_most:
        gaps = sorted(found[i + 1][0] - found[i][1] for i in range(len(found) - 1))
        widest = gaps[len(found) - 1 - at_most]
        merged = [found[0]]
        excess = len(found) - at_most
        for lo, hi in found[1:]:
            if excess and lo - merged[-1][1] <= widest:
                merged[-1][1] = hi
                excess -= 1
            else:
                merged.append([lo, hi])
        found = merged
    return tuple([(lo, hi) for lo, hi in found])
