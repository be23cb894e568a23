"""What an agent tells a processor over their socket pair, and how it is framed. Private to this package.

A frame is ``u32 size, u32 kind`` and ``size`` bytes. Items need no numbers: agent and processor both count them, and a
``TRUNCATE`` sets both back to the same number. From the processor come single bytes: ``READY`` once, then ``SIGNAL``.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack

from scaler_protocol import Buffer
from scaler_protocol.limits import KIB

READY: Final = b"r"
SIGNAL: Final = b"s"

CONFIGURE: Final = 1  # msgpack: where the objects are
FUNCTION: Final = 2  # u64 key, payload
FORGET: Final = 3  # u64 keys
PAGES: Final = 4  # rows of an array
TASKS: Final = 5  # msgpack: (key, payload, inputs) each
TRUNCATE: Final = 6  # u64 first item that was taken back, u64 generation
WAKE: Final = 7  # there is room in the ring again
MANNER: Final = 8  # msgpack: (key, manner), before the function of that key

_HEAD: Final = struct.Struct("<II")
_PAGES: Final = struct.Struct("<QQIIII")
_U64: Final = struct.Struct("<Q")
_TWO: Final = struct.Struct("<QQ")

READ_BYTES: Final = 256 * KIB
"""What one read may bring: more than an agent feeds ahead unless rows are large."""


class Pages(NamedTuple):
    """Rows of an array: whole pages, of which the first ``skip`` rows are not meant."""

    key: int
    expected_ns: int
    rows: int
    skip: int
    page_rows: int
    offsets: Buffer  # u32 each, of data before it was cut: the first one is where this data begins
    data: Buffer


class Manner(NamedTuple):
    """How a function is to be called, if not plainly. With it the function has a key of its own, so that items, and
    the loop that runs them, need not know."""

    retry_on: bytes | None = None  # what its failures are compared with, None = they are final
    profiled: bool = False  # its CPU time and memory are measured
    streamed: bool = False  # what it prints is marked


PLAIN: Final = Manner()


def configure(settings: dict[str, Any]) -> list[Buffer]:
    """Where the objects are, and who we are to them."""
    return _frame(CONFIGURE, msgpack.packb(settings))


def function(key: int, payload: Buffer) -> list[Buffer]:
    """A function, before the first item that needs it."""
    return [_HEAD.pack(8 + len(payload), FUNCTION) + _U64.pack(key), payload]


def manner(key: int, how: Manner) -> list[Buffer]:
    """How the function that follows with this key is to be called."""
    return _frame(MANNER, msgpack.packb((key, *how)))


def forget(keys: Sequence[int]) -> list[Buffer]:
    """Functions that no item will need again."""
    return _frame(FORGET, struct.pack(f"<{len(keys)}Q", *keys))


def pages(part: Pages) -> list[Buffer]:
    """Rows of an array; offsets and data are not copied."""
    head = _PAGES.pack(part.key, part.expected_ns, part.rows, part.skip, part.page_rows, len(part.offsets))
    size = len(head) + len(part.offsets) + len(part.data)
    return [_HEAD.pack(size, PAGES) + head, part.offsets, part.data]


def tasks(rows: Sequence[tuple[int, Buffer, Sequence[Buffer]]]) -> list[Buffer]:
    """Single tasks: (function key, payload, payloads of inputs)."""
    return _frame(TASKS, msgpack.packb(rows))


def truncate(limit: int, generation: int) -> list[Buffer]:
    """Items from ``limit`` on were taken back; what follows is numbered from there."""
    return _frame(TRUNCATE, _TWO.pack(limit, generation))


def wake() -> list[Buffer]:
    """Look at the page again."""
    return _frame(WAKE, b"")


def _frame(kind: int, body: bytes) -> list[Buffer]:
    return [_HEAD.pack(len(body), kind) + body]


class Inbox:
    """The processor's end: bytes in, (kind, body) out."""

    def __init__(self) -> None:
        self._buffer = bytearray(READ_BYTES)
        self._start = 0
        self._end = 0

    def get_buffer(self) -> memoryview:
        """Where the next bytes belong."""
        buffer, start, end = self._buffer, self._start, self._end
        if start == end:
            self._start = self._end = 0
            if len(buffer) > READ_BYTES:
                self._buffer = bytearray(READ_BYTES)  # the large frame is gone
        elif start and end == len(buffer):
            buffer[: end - start] = buffer[start:end]
            self._start, self._end = 0, end - start
        elif end == len(buffer):  # one frame that is larger than the buffer
            self._buffer = bytearray(_HEAD.size + _HEAD.unpack_from(buffer)[0])
            self._buffer[:end] = buffer
        return memoryview(self._buffer)[self._end :]

    def received(self, count: int) -> list[tuple[int, bytes]]:
        """The frames that ``count`` more bytes complete."""
        self._end += count
        frames = []
        buffer, start, end = memoryview(self._buffer), self._start, self._end
        while end - start >= _HEAD.size:
            size, kind = _HEAD.unpack_from(buffer, start)
            stop = start + _HEAD.size + size
            if stop > end:
                break
            frames.append((kind, bytes(buffer[start + _HEAD.size : stop])))
            start = stop
        self._start = start
        return frames


def read_configure(body: bytes) -> dict[str, Any]:
    """The inverse of ``configure``."""
    settings: dict[str, Any] = msgpack.unpackb(body)
    return settings


def read_function(body: bytes) -> tuple[int, memoryview]:
    """The inverse of ``function``."""
    return _U64.unpack_from(body)[0], memoryview(body)[8:]


def read_manner(body: bytes) -> tuple[int, Manner]:
    """The inverse of ``manner``."""
    key, *how = msgpack.unpackb(body)
    return key, Manner(*how)


def read_forget(body: bytes) -> tuple[int, ...]:
    """The inverse of ``forget``."""
    return struct.unpack(f"<{len(body) // 8}Q", body)


def read_pages(body: bytes) -> Pages:
    """The inverse of ``pages``; offsets and data are views of ``body``."""
    key, expected_ns, rows, skip, page_rows, offsets_size = _PAGES.unpack_from(body)
    view = memoryview(body)
    at = _PAGES.size
    offsets = view[at : at + offsets_size]
    return Pages(key, expected_ns, rows, skip, page_rows, offsets, view[at + offsets_size :])


def read_tasks(body: bytes) -> tuple[tuple[int, bytes, tuple[bytes, ...]], ...]:
    """The inverse of ``tasks``."""
    rows: tuple[tuple[int, bytes, tuple[bytes, ...]], ...] = msgpack.unpackb(body, use_list=False)
    return rows


def read_truncate(body: bytes) -> tuple[int, int]:
    """The inverse of ``truncate``."""
    limit, generation = _TWO.unpack(body)
    return limit, generation
