"""What streamed items print: cut out of a processor's pipes by the marks that it writes around each of them.

A mark is a NUL, a secret of the processor, a letter and the item's number; both pipes get one before and one after each
item. What lies between belongs to the item, whoever printed it: Python, a C library, a subprocess. It goes on in whole
lines, within a budget: a task that prints without end loses output, and is told how much.
"""

import struct
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from scaler_protocol.limits import KIB, MIB

SECRET_BYTES: Final = 8
BEGIN: Final = b"B"
END: Final = b"E"

_NUMBER: Final = struct.Struct("<cQ")

LINE_BYTES: Final = 4 * KIB
"""A longer line is cut: nobody waits for its end."""

BURST_BYTES: Final = 256 * KIB
RATE_BYTES_S: Final = 1 * MIB
"""What a processor may have printed at once, and in the long run: more than people read, little beside results."""


UNSENT_ITEMS: Final = 1000
"""Items that printed while nobody could take it, of which it is remembered how much."""


class Place(NamedTuple):
    """Items of a processor, and the rows of an attempt that they are."""

    first: int
    items: int
    attempt: int
    row: int


class Printed(NamedTuple):
    """Lines of one item."""

    attempt: int
    row: int
    stream: int  # 1 = stdout, 2 = stderr
    left_out: int  # bytes before these that were over the budget
    data: bytes


def mark(secret: bytes, letter: bytes, item: int) -> bytes:
    """What a processor writes before (``BEGIN``) and after (``END``) an item."""
    return b"\0" + secret + _NUMBER.pack(letter, item)


class Splitter:
    """Reads the marks of one pipe."""

    def __init__(self, secret: bytes) -> None:
        self._sign = b"\0" + secret
        self._rest = b""
        self._item: int | None = None

    def split(self, data: bytes) -> Iterator[tuple[int | None, bytes, bool]]:
        """Pieces of ``data``: whose they are, and whether that item has ended with it."""
        data = self._rest + data
        at = 0
        while (found := data.find(self._sign, at)) >= 0 and len(data) - found >= len(self._sign) + _NUMBER.size:
            letter, number = _NUMBER.unpack_from(data, found + len(self._sign))
            yield self._item, data[at:found], True
            self._item = number if letter == BEGIN else None
            at = found + len(self._sign) + _NUMBER.size
        upto = found if found >= 0 else len(data) - self._begun(data, at)
        self._rest = data[upto:]
        if upto > at:
            yield self._item, data[at:upto], False

    def _begun(self, data: bytes, at: int) -> int:
        """How many bytes at the end may be the beginning of a mark."""
        for size in range(min(len(self._sign), len(data) - at), 0, -1):
            if data.endswith(self._sign[:size]):
                return size
        return 0


class Streams:
    """The printed lines of a processor's items, until they are taken."""

    def __init__(self, now: float) -> None:
        self._places: deque[Place] = deque()
        self._lines: dict[int, tuple[int, bytes]] = {}  # by stream: the item, and its line that has not ended
        self._printed: list[Printed] = []
        self._left_out: dict[tuple[int, int], int] = {}  # by item and stream, of the items that print now
        self._budget = float(BURST_BYTES)
        self._filled_at = now

    def feed(self, places: tuple[Place, ...]) -> None:
        """These items will be streamed."""
        self._places += places

    def truncate(self, limit: int) -> None:
        """Items from ``limit`` on were taken back."""
        while self._places and self._places[-1].first + self._places[-1].items > limit:
            place = self._places.pop()
            if place.first < limit:
                self._places.append(place._replace(items=limit - place.first))
                break

    def forget(self, done: int) -> None:
        """All that items below ``done`` printed was put here."""
        while self._places and self._places[0].first + self._places[0].items <= done:
            self._places.popleft()

    def put(self, stream: int, item: int, data: bytes, now: float, *, is_end: bool) -> None:
        """An item printed this."""
        before, line = self._lines.pop(stream, (item, b""))
        data = line + data if before == item else data
        upto = data.rfind(b"\n") + 1
        if len(data) - upto > LINE_BYTES or (is_end and upto < len(data)):
            data += b"\n"
            upto = len(data)
        text, rest = data[:upto], data[upto:]
        if rest:
            self._lines[stream] = (item, rest)
        if text or (is_end and (item, stream) in self._left_out):
            self._add(item, stream, text, now, is_end=is_end)

    def _add(self, item: int, stream: int, text: bytes, now: float, *, is_end: bool) -> None:
        place = next((p for p in self._places if p.first <= item < p.first + p.items), None)
        self._budget = min(float(BURST_BYTES), self._budget + (now - self._filled_at) * RATE_BYTES_S)
        self._filled_at = now
        left_out = self._left_out.pop((item, stream), 0)
        if place is None:
            return
        if len(text) > self._budget:
            left_out += len(text)
            text = b""
            if not is_end:
                self._left_out[item, stream] = left_out
                return
        self._budget -= len(text)
        self._printed.append(Printed(place.attempt, place.row + item - place.first, stream, left_out, text))

    def end(self) -> None:
        """The processor is dead: the lines that had begun end here."""
        for stream, (item, _) in list(self._lines.items()):
            self.put(stream, item, b"", self._filled_at, is_end=True)

    def leave_out(self) -> None:
        """There is nobody to take what was printed: only how much it was is kept."""
        sizes: dict[tuple[int, int, int], int] = {}
        for one in self._printed:
            key = one[:3]
            sizes[key] = sizes.get(key, 0) + one.left_out + len(one.data)
        self._printed = [Printed(*key, size, b"") for key, size in sizes.items()][-UNSENT_ITEMS:]

    def take(self) -> list[Printed]:
        """What was printed since the last call."""
        printed, self._printed = self._printed, []
        return printed
