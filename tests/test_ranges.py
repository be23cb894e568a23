"""Sets of numbers as ranges, against plain sets."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler_trio.ranges import RangeSet, ranges_of

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


@given(st.sets(st.integers(0, 200), max_size=60), st.integers(1, 10))
def test_too_many_ranges_cover_the_narrowest_gaps(numbers: set[int], at_most: int) -> None:
    found = ranges_of(numbers, at_most)
    assert len(found) <= at_most
    covered = {number for lo, hi in found for number in range(lo, hi)}
    assert covered >= numbers
    if len(ranges_of(numbers, 1000)) <= at_most:
        assert covered == numbers
