"""Half-open ranges of rows, as sorted lists."""

from collections.abc import Iterable, Sequence

Range = tuple[int, int]


def merge(ranges: Iterable[Range]) -> list[Range]:
    """The same rows in as few ranges as possible, ascending."""
    merged: list[Range] = []
    for lo, hi in sorted(ranges):
        if merged and lo <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(hi, merged[-1][1]))
        else:
            merged.append((lo, hi))
    return merged


def split(lo: int, hi: int, wanted: Sequence[Range]) -> tuple[list[Range], list[Range]]:
    """The parts of [lo, hi) that are in ``wanted`` (merged), and those that are not."""
    inside: list[Range] = []
    outside: list[Range] = []
    at = lo
    for start, stop in wanted:
        start, stop = max(start, at), min(stop, hi)
        if start >= stop:
            continue
        if at < start:
            outside.append((at, start))
        inside.append((start, stop))
        at = stop
    if at < hi:
        outside.append((at, hi))
    return inside, outside


def contains(ranges: Sequence[Range], row: int) -> bool:
    """Whether ``row`` is in one of ``ranges``."""
    return any(lo <= row < hi for lo, hi in ranges)
