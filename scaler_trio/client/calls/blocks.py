"""The rows of an array call in blocks. They grow: the first start workers at once, the large ones cost little."""

import time
from collections.abc import Iterator
from typing import Any, Final

from scaler_protocol import limits
from scaler_trio.serialization import Block, BlockWriter

GROWTH: Final = 4
FILL_S: Final = 0.020
"""A block takes at most about this long to gather, so that the rows of a slow generator do not wait for each other."""

OBJECT_ROWS: Final = 4
"""Rows in a block whose rows name objects; each is an order of magnitude more work than a block."""


class Blocks:
    """Reads rows as they are asked for."""

    def __init__(self, rows: Iterator[Any], writer: BlockWriter, first_rows: int) -> None:
        self._rows = rows
        self._writer = writer
        self._size = first_rows  # rows of the next block

    def next(self, most: int = limits.BLOCK_ROWS) -> Block | None:
        """The next block of up to ``most`` rows, or None at the end."""
        size = self._size
        start = time.monotonic()
        block = self._writer.fill(self._rows, min(size, most))
        if block is None:
            return None
        took_s = time.monotonic() - start
        upto = min(limits.BLOCK_ROWS, limits.BLOCK_BYTES * block.count // max(1, len(block.data)))
        if block.objects:
            upto = OBJECT_ROWS  # large arguments, and the writer takes all rows of a block before it writes the first
        if took_s * GROWTH > FILL_S:
            upto = min(upto, int(block.count * FILL_S / took_s))
        self._size = max(1, min(size * GROWTH, upto))
        return block
