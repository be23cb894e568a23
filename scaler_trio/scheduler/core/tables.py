"""Tables of u32, little-endian, as they travel in segments: offsets of pages, lengths of results."""

import sys
from array import array
from collections.abc import Sequence

from scaler_protocol import Buffer

_SWAP = sys.byteorder == "big"


def read_u32(table: Buffer) -> memoryview:
    """The numbers, without copying where memory is little-endian; the length in bytes must be a multiple of four."""
    if _SWAP:
        numbers = array("I", bytes(table))
        numbers.byteswap()
        return memoryview(numbers)
    return memoryview(table).cast("B").cast("I")


def write_u32(numbers: Sequence[int] | memoryview) -> bytes:
    """The table of these numbers."""
    table = array("I", numbers)
    if _SWAP:
        table.byteswap()
    return table.tobytes()
