"""What tasks print, on the client's own stdout and stderr, each line with the task that printed it."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from scaler_protocol.fields import Row
from scaler_protocol.limits import MIB
from scaler_protocol.messages import TaskOptions

WAITING_BYTES: Final = 4 * MIB
"""Output that waits for the thread that prints it; what comes beyond it is left out."""


def label(function: str, options: TaskOptions) -> str:
    """A task's name for people: its own, or that of its function."""
    return options.name or function.rpartition(".")[2]


class Printer:
    """Prints on another thread, in order. ``put`` is called by one thread at a time."""

    def __init__(self, call: Callable[[Iterable[tuple[Callable[[Any], object], Any]]], None]) -> None:
        self._call = call
        self._put_bytes = 0  # each of the two has one writer
        self._printed_bytes = 0
        self._left_out = 0

    def put(self, rows: Sequence[Row], left_out: int) -> None:
        """Print these soon: (label, stream, bytes left out before, lines)."""
        size = sum([len(row[3]) for row in rows])
        self._left_out += left_out
        if self._put_bytes - self._printed_bytes + size > WAITING_BYTES:
            self._left_out += size
            return
        left_out, self._left_out = self._left_out, 0
        self._put_bytes += size
        self._call([(self._print, (rows, left_out, size))])

    def _print(self, what: tuple[Sequence[Row], int, int]) -> None:
        rows, left_out, size = what
        try:
            if left_out:
                _write(2, f"(scaler) {left_out} bytes that tasks printed were left out: they came too fast\n")
            for name, stream, before, data in rows:
                text = data.decode(errors="replace")
                lines = [f"({name}) {line}\n" for line in text.split("\n")[:-1]]
                if before:
                    lines.insert(0, f"({name}) … {before} bytes were left out\n")
                _write(stream, "".join(lines))
        finally:
            self._printed_bytes += size


def _write(stream: int, text: str) -> None:
    file = sys.stderr if stream == 2 else sys.stdout
    file.write(text)
    file.flush()
