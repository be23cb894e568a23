"""Marks in a pipe, lines and a budget: who printed what."""

from __future__ import annotations

import pytest

from scaler_trio.worker.streams import (
    BEGIN,
    BURST_BYTES,
    END,
    LINE_BYTES,
    RATE_BYTES_S,
    UNSENT_ITEMS,
    Place,
    Printed,
    Splitter,
    Streams,
    mark,
)

SECRET = b"12345678"
TEXT = b"before" + mark(SECRET, BEGIN, 7) + b"in\0side\0" + mark(SECRET, END, 7) + b"after\0123"


@pytest.mark.parametrize("chop", [1, 2, 7, 19, 1000])
def test_a_splitter_finds_the_marks_however_the_bytes_come(chop: int) -> None:
    splitter = Splitter(SECRET)
    found: dict[int | None, bytes] = {}
    ends = []
    for at in range(0, len(TEXT), chop):
        for item, data, has_ended in splitter.split(TEXT[at : at + chop]):
            found[item] = found.get(item, b"") + data
            ends += [item] if has_ended else []
    assert found == {None: b"beforeafter\0123", 7: b"in\0side\0"}
    assert ends == [None, 7]


def streams(*places: Place) -> Streams:
    made = Streams(0.0)
    made.feed(places)
    return made


def test_lines_are_those_of_the_row_that_the_item_is() -> None:
    s = streams(Place(10, 5, attempt=3, row=100))
    s.put(1, 12, b"one\ntw", 0.0, is_end=False)
    s.put(1, 12, b"o\nthree", 0.0, is_end=True)
    assert s.take() == [Printed(3, 102, 1, 0, b"one\n"), Printed(3, 102, 1, 0, b"two\nthree\n")]
    assert s.take() == []


def test_a_line_without_end_is_cut() -> None:
    s = streams(Place(0, 1, 1, 0))
    for _ in range(3):
        s.put(1, 0, b"x" * LINE_BYTES, 0.0, is_end=False)
    assert [len(one.data) for one in s.take()] == [2 * LINE_BYTES + 1]


def test_what_is_over_the_budget_is_counted_and_the_budget_fills_again() -> None:
    s = streams(Place(0, 1, 1, 0))
    line = b"x" * 999 + b"\n"
    for _ in range(1000):
        s.put(2, 0, line, 0.0, is_end=False)
    kept = s.take()
    assert sum(len(one.data) for one in kept) == BURST_BYTES // 1000 * 1000
    s.put(2, 0, line, 2000 / RATE_BYTES_S, is_end=True)
    (last,) = s.take()
    assert last.left_out == 1_000_000 - BURST_BYTES // 1000 * 1000
    assert last.data == line


def test_what_was_taken_back_and_what_is_done_has_no_place() -> None:
    s = streams(Place(0, 5, 1, 0), Place(5, 5, 2, 0))
    s.truncate(7)
    s.feed((Place(7, 1, 9, 0),))
    s.forget(5)
    for item in (4, 6, 7):
        s.put(1, item, b"x\n", 0.0, is_end=True)
    assert [(one.attempt, one.row) for one in s.take()] == [(2, 1), (9, 0)]


def test_what_nobody_takes_is_only_counted() -> None:
    s = streams(Place(0, 2 * UNSENT_ITEMS, 1, 0))
    for item in range(2 * UNSENT_ITEMS):
        s.put(1, item, b"ab\n", 0.0, is_end=True)
    s.leave_out()
    left = s.take()
    assert len(left) == UNSENT_ITEMS
    assert left[-1] == Printed(1, 2 * UNSENT_ITEMS - 1, 1, 3, b"")


def test_the_line_that_a_dead_process_had_begun_ends() -> None:
    s = streams(Place(0, 1, 1, 0))
    s.put(1, 0, b"last words", 0.0, is_end=False)
    s.end()
    assert s.take() == [Printed(1, 0, 1, 0, b"last words\n")]
