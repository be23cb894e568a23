"""Sets of whole numbers as sorted ranges: which rows of an array are done, which tasks a scheduler knows."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]
"""From the first number up to, and without, the second."""


class RangeSet:
    """Disjoint, sorted, merged ranges. Cost grows with the number of ranges, not of numbers."""

    __slots__ = ("_his", "_los", "total")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._los: list[int] = []
        self._his: list[int] = []
        self.total = 0  # how many numbers are in it
        for lo, hi in ranges:
            self.add(lo, hi)

    def add(self, lo: int, hi: int) -> list[Range]:
        """Put ``lo`` to ``hi`` in; return the pieces of it that were not in before."""
        if lo >= hi:
            return []
        los, his = self._los, self._his
        if not his or lo > his[-1]:
            los.append(lo)
            his.append(hi)
            self.total += hi - lo
            return [(lo, hi)]
        first = bisect_left(his, lo)  # the first range that touches or follows lo
        last = bisect_right(los, hi)  # one past the last range that touches hi
        fresh: list[Range] = []
        at = lo
        for i in range(first, last):
            if los[i] > at:
                fresh.append((at, los[i]))
            at = max(at, his[i])
        if at < hi:
            fresh.append((at, hi))
        if first < last:
            lo, hi = min(lo, los[first]), max(hi, his[last - 1])
        los[first:last] = [lo]
        his[first:last] = [hi]
        self.total += sum([b - a for a, b in fresh])
        return fresh

    def __contains__(self, number: int) -> bool:
        i = bisect_right(self._los, number) - 1
        return i >= 0 and number < self._his[i]

    def covers(self, lo: int, hi: int) -> bool:
        """Whether all of ``lo`` to ``hi`` is in it."""
        if lo >= hi:
            return True
        i = bisect_right(self._los, lo) - 1
        return i >= 0 and hi <= self._his[i]

    def count_within(self, lo: int, hi: int) -> int:
        """How many numbers of ``lo`` to ``hi`` are in it."""
        return sum([max(0, min(hi, b) - max(lo, a)) for a, b in self])

    def __iter__(self) -> Iterator[Range]:
        return zip(self._los, self._his, strict=True)

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._los)


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
