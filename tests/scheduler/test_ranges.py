"""RangeSet against a plain set of numbers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler_trio.scheduler.ranges import NO_ROWS, ONE_ROW, RangeSet

bounds = st.tuples(st.integers(0, 30), st.integers(0, 30))
steps = st.lists(st.tuples(st.sampled_from(["add", "remove"]), bounds), max_size=30)


def numbers(ranges: list[tuple[int, int]]) -> set[int]:
    return {number for lo, hi in ranges for number in range(lo, hi)}


@given(steps, bounds)
def test_a_range_set_behaves_like_a_set_of_numbers(
    changes: list[tuple[str, tuple[int, int]]], asked: tuple[int, int]
) -> None:
    ranges, model = RangeSet(), set[int]()
    for what, (lo, hi) in changes:
        if what == "add":
            assert ranges.add(lo, hi) == len(set(range(lo, hi)) - model)
            model |= set(range(lo, hi))
        else:
            assert ranges.remove(lo, hi) == len(set(range(lo, hi)) & model)
            model -= set(range(lo, hi))
    lo, hi = asked
    listed = list(ranges)
    assert numbers(listed) == model
    assert len(ranges) == len(model)
    assert bool(ranges) == bool(model)
    assert all(a < b for a, b in listed)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(listed)), "adjacent are merged"
    assert numbers(ranges.within(lo, hi)) == model & set(range(lo, hi))
    assert numbers(ranges.missing(lo, hi)) == set(range(lo, hi)) - model
    assert ranges.first_gap(lo, hi) == next(iter(ranges.missing(lo, hi)), None)
    assert ranges.covers(lo, hi) == (set(range(lo, hi)) <= model)
    assert [row for row in range(31) if row in ranges] == sorted(model)
    assert RangeSet(listed) == ranges
    if model:
        assert ranges.first == listed[0]
        assert ranges.last == listed[-1]


def test_an_empty_set_has_no_first_range() -> None:
    with pytest.raises(IndexError):
        _ = RangeSet().first


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
