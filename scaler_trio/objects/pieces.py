"""Cutting the parts of an object, without copying, into what one system call or one chunk on the wire takes."""

import os
from collections.abc import Iterator, Sequence
from typing import Final

from scaler_protocol import Buffer

_CALL_BYTES: Final = 64 * 1024 * 1024
"""Written by one system call: some 20 ms, after which a signal gets its turn."""
_CALL_PARTS: Final = 512
"""Parts in one system call; the kernel takes up to 1024."""


def flat_views(parts: Sequence[Buffer], size_bytes: int) -> list[memoryview]:
    """The parts as views of bytes.

    Raises:
        ValueError: together they are not ``size_bytes`` long.
        TypeError: a part is not contiguous.
    """
    views = [memoryview(part).cast("B") for part in parts if len(part)]
    total = sum(map(len, views))
    if total != size_bytes:
        raise ValueError(f"the parts of the object are {total} bytes, not {size_bytes} as announced")
    return views


def pieces(
    views: Sequence[memoryview], at_most_bytes: int, at_most_parts: int = _CALL_PARTS
) -> Iterator[list[memoryview]]:
    """Runs of consecutive parts, cut so that each run has at most so many bytes and parts."""
    piece: list[memoryview] = []
    room = at_most_bytes
    for view in views:
        while view:
            some = view[:room]
            piece.append(some)
            view, room = view[len(some) :], room - len(some)
            if not room or len(piece) == at_most_parts:
                yield piece
                piece, room = [], at_most_bytes
    if piece:
        yield piece


def write_views(descriptor: int, views: Sequence[memoryview]) -> None:
    """Write all parts, from the beginning of the file on. Raises ``OSError``."""
    offset = 0
    for piece in pieces(views, _CALL_BYTES):
        while piece:
            written = os.pwritev(descriptor, piece, offset)
            offset += written
            while piece and written >= len(piece[0]):
                written -= len(piece.pop(0))
            if written:
                piece[0] = piece[0][written:]


def read_into(descriptor: int, buffer: memoryview) -> None:
    """Fill the buffer from the beginning of the file. Raises ``OSError``, also when the file is too short."""
    offset = 0
    while offset < len(buffer):
        count = os.preadv(descriptor, [buffer[offset:]], offset)
        if not count:
            raise OSError(f"the file of the object ends after {offset} of {len(buffer)} bytes")
        offset += count
