"""The line about a running map."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from scaler_trio.client.calls.progress import PLAIN_S, TERMINAL_S, Progress, duration

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_has_count_rate_and_time_left() -> None:
    progress = Progress("parse", 2000, io.StringIO())
    assert progress.line(500, 2000, 10.0) == "parse: 500/2,000  50/s  0:30 left"
    assert Progress("parse", -1, io.StringIO()).line(5, 7, 10.0) == "parse: 5/7+  0.5/s  0:04 left"


def test_a_terminal_has_a_bar_that_is_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("scaler_trio.client.calls.progress.time.monotonic", lambda: now)
    stream = Terminal()
    progress = Progress("parse", 4, stream)
    progress.show(1, 4)
    assert stream.getvalue() == ""
    now = TERMINAL_S
    progress.show(2, 4)
    progress.close(4, 4)
    first, second = stream.getvalue().lstrip("\r").split("\r")
    assert "████████████░░░░░░░░░░░░  50%" in first
    assert "4/4" in second
    assert second.endswith("\n")


def test_a_log_gets_a_line_now_and_then_and_none_for_a_short_map(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("scaler_trio.client.calls.progress.time.monotonic", lambda: now)
    short, long = io.StringIO(), io.StringIO()
    Progress("parse", 4, short).close(4, 4)
    assert short.getvalue() == ""
    progress = Progress("parse", 4, long)
    now = PLAIN_S
    progress.show(1, 4)
    progress.close(4, 4)
    assert long.getvalue().count("\n") == 2


def test_durations_are_for_people() -> None:
    assert [duration(s) for s in (5, 65, 3605)] == ["0:05", "1:05", "1:00:05"]
