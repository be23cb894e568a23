"""One live line about a running ``map``: count, rate, time left. On a terminal a bar, elsewhere a line now and then."""

import sys
import time
from typing import Final, TextIO

TERMINAL_S: Final = 0.1
"""How often a terminal's line is drawn: lively, and nothing next to a slice of work."""

PLAIN_S: Final = 10.0
"""How often a line is added to a log."""

BAR_CHARACTERS: Final = 24


class Progress:
    """Shows how far a call is; draws at most once per interval."""

    def __init__(self, name: str, total: int, stream: TextIO | None = None) -> None:
        self._name = name
        self._total = total  # -1 = not known yet
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self.interval_s = TERMINAL_S if self._is_terminal else PLAIN_S
        self._started = time.monotonic()
        self._next = self._started + self.interval_s
        self._width = 0

    def show(self, done: int, known: int) -> None:
        """Draw, if it is time; ``known`` items were read so far."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self.interval_s
            self._draw(self.line(done, known, now - self._started))

    def close(self, done: int, known: int) -> None:
        """Draw the last state, and leave the line."""
        now = time.monotonic()
        if self._is_terminal:
            self._draw(self.line(done, known, now - self._started) + "\n")
        elif self._next > self._started + self.interval_s:  # only if a line was shown before
            self._draw(self.line(done, known, now - self._started))

    def line(self, done: int, known: int, elapsed_s: float) -> str:
        """What the line says."""
        total = self._total if self._total >= 0 else known
        rate = done / elapsed_s if elapsed_s > 0 else 0.0
        count = f"{done:,}/{total:,}{'' if self._total >= 0 else '+'}"
        parts = [f"{self._name}: {count}", f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"]
        if done < total and rate > 0:
            parts.append(f"{duration(int((total - done) / rate))} left")
        else:
            parts.append(duration(int(elapsed_s)))
        if self._is_terminal and total:
            filled = BAR_CHARACTERS * done // total
            parts.insert(1, f"{'█' * filled}{'░' * (BAR_CHARACTERS - filled)} {100 * done // total:3d}%")
        return "  ".join(parts)

    def _draw(self, text: str) -> None:
        try:
            if self._is_terminal:
                padding = " " * max(0, self._width - len(text))
                self._width = len(text)
                self._stream.write("\r" + (text.rstrip("\n") + padding + ("\n" if text.endswith("\n") else "")))
            else:
                self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._next = self._started + 1e9  # nobody sees it: the map goes on without


def duration(seconds: int) -> str:
    """Seconds for people."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
