"""The rows of a single task."""

from __future__ import annotations

from scaler_trio.ranges import RangeSet
from scaler_trio.scheduler.core.fixed_rows import NO_ROWS, ONE_ROW


def test_the_rows_of_a_single_task_look_like_a_range_set() -> None:
    one = RangeSet([(0, 1)])
    assert list(ONE_ROW) == list(one)
    assert (len(ONE_ROW), len(NO_ROWS)) == (1, 0)
    assert ONE_ROW.first == ONE_ROW.last == one.first
    for lo, hi in [(0, 1), (0, 5), (1, 2), (0, 0)]:
        assert ONE_ROW.within(lo, hi) == one.within(lo, hi)
        assert NO_ROWS.within(lo, hi) == []
    assert 0 in ONE_ROW
    assert 1 not in ONE_ROW
    assert 0 not in NO_ROWS
