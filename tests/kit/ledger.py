"""What a scheduler reports to a client, recorded as it comes: an item that is reported twice is seen here only.

The client drops what it has already, so its results cannot show it. A message that is sent again after a reconnect has
its old sequence number and is no second report.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING

from scaler_protocol import messages as m
from scaler_trio.client.core import effects as do
from scaler_trio.client.core import events as ev

if TYPE_CHECKING:
    from scaler_trio import Client


class Ledger:
    """Records one client from now on. `finish` asserts that nothing came twice."""

    def __init__(self, client: Client) -> None:
        self.items = 0  # rows and tasks reported so far
        self.notices: list[tuple[int, int, m.NoticeKind, str]] = []
        self._sequences: set[tuple[int, int]] = set()  # of arrays and of tasks
        self._reports: Counter[tuple[int, int]] = Counter()
        self._epoch = 0
        self._lock = threading.Lock()
        core = client._session._core
        forward = core.handle

        def handle(event: ev.Event, now: float, outbox_bytes: int | None = 0) -> list[do.Effect]:
            if isinstance(event, ev.Received):
                with self._lock:
                    for message in event.messages:
                        self._note(message)
            return forward(event, now, outbox_bytes)

        core.handle = handle  # type: ignore[method-assign]

    def _note(self, message: object) -> None:
        if isinstance(message, m.ClientKnown):
            self._epoch = message.epoch
        elif isinstance(message, m.Notices):
            self.notices += [(task, row, m.NoticeKind(kind), text) for task, row, kind, text in message.rows]
        elif isinstance(message, m.ArrayResults | m.TaskResults):
            if (self._epoch, message.sequence) in self._sequences:
                return
            self._sequences.add((self._epoch, message.sequence))
            if isinstance(message, m.ArrayResults):
                rows = [(message.task, row) for row in range(message.lo, message.hi)]
            else:
                rows = [(row[0], 0) for row in message.rows]
            self._reports.update(rows)
            self.items += len(rows)

    def check(self, expected: int) -> None:
        """Each of so many items was reported, and none twice."""
        with self._lock:
            twice = [item for item, count in self._reports.items() if count > 1]
            assert not twice, f"{len(twice)} items were reported twice, such as {sorted(twice)[:5]}"
            assert len(self._reports) == expected, f"{len(self._reports)} of {expected} items were reported"

    @property
    def retries(self) -> list[str]:
        """The texts of the notices about items that are run again."""
        return [text for _, _, kind, text in self.notices if kind is m.NoticeKind.RETRY]


class Lines(logging.Handler):
    """The lines that a logger got: what a user sees."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")
