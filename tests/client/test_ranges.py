"""Sets of numbers as ranges, against plain sets."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from scaler_trio.client.ranges import RangeSet, ranges_of

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=20)


@given(RANGES)
def test_adding_says_what_is_new_and_keeps_sorted_disjoint_ranges(ranges: list[tuple[int, int]]) -> None:
    found = RangeSet()
    model: set[int] = set()
    for lo, hi in ranges:
        fresh = {number for a, b in found.add(lo, hi) for number in range(a, b)}
        assert fresh == set(range(lo, hi)) - model
        model |= set(range(lo, hi))
        assert found.total == len(model)
        assert {n for n in range(61) if n in found} == model
    flat = [edge for pair in found for edge in pair]
    assert flat == sorted(set(flat)), "sorted, and not touching each other"
    for lo, hi in ranges:
        assert found.covers(lo, hi)
        assert found.count_within(lo, hi) == len(range(lo, hi))
    assert found.covers(0, 61) == (model >= set(range(61)))


@given(st.sets(st.integers(0, 200), max_size=60), st.integers(1, 10))
def test_too_many_ranges_cover_the_narrowest_gaps(numbers: set[int], at_most: int) -> None:
    found = ranges_of(numbers, at_most)
    assert len(found) <= at_most
    covered = {number for lo, hi in found for number in range(lo, hi)}
    assert covered >= numbers
    if len(ranges_of(numbers, 1000)) <= at_most:
        assert covered == numbers
