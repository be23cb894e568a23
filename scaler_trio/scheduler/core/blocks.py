"""The rows of an array that are here: blocks as the client sent them, found by row, dropped when all are done."""

from bisect import bisect_right
from collections.abc import Iterator

from attrs import define, field

from scaler_protocol import messages as m
from scaler_trio.scheduler.core.errors import PeerFault
from scaler_trio.scheduler.core.tables import read_u32, write_u32


@define(eq=False, repr=False)
class Block:
    """Some rows of an array."""

    start: int
    end: int
    page_rows: int
    offsets: memoryview  # u32 per page and one more
    data: memoryview
    objects: dict[int, tuple[bytes, ...]]  # by row, that its rows read: referred to until they are done
    open: int  # rows not yet done; at 0 the block is dropped
    shipped: int = 0  # pages up to here have been given to workers at least once

    @property
    def unshipped_bytes(self) -> int:
        """Payload that no worker has been given yet."""
        return self.offsets[-1] - self.offsets[self.shipped]

    def pages(self, lo: int, hi: int) -> tuple[int, int]:
        """The pages that hold these rows."""
        return (lo - self.start) // self.page_rows, -(-(hi - self.start) // self.page_rows)

    def cut(self, first_page: int, end_page: int) -> tuple[bytes, memoryview]:
        """Offsets, from 0, and data of these pages."""
        offsets = self.offsets[first_page : end_page + 1]
        begin = offsets[0]
        data = self.data[begin : offsets[-1]]
        return write_u32([offset - begin for offset in offsets] if begin else offsets), data


@define(eq=False, repr=False)
class Blocks:
    """Blocks of one array, ascending."""

    _starts: list[int] = field(factory=list)
    _blocks: list[Block] = field(factory=list)

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def append(self, block: Block) -> None:
        """Add the block after the last."""
        self._starts.append(block.start)
        self._blocks.append(block)

    def at(self, row: int) -> Block | None:
        """The block that holds ``row``."""
        index = bisect_right(self._starts, row) - 1
        if index >= 0 and row < self._blocks[index].end:
            return self._blocks[index]
        return None

    def overlapping(self, lo: int, hi: int) -> list[Block]:
        """The blocks that hold some of these rows."""
        first = max(0, bisect_right(self._starts, lo) - 1)
        found = []
        for index in range(first, len(self._blocks)):
            block = self._blocks[index]
            if block.start >= hi:
                break
            if block.end > lo:
                found.append(block)
        return found

    def drop(self, block: Block) -> None:
        """Its rows are done."""
        index = bisect_right(self._starts, block.start) - 1
        del self._starts[index], self._blocks[index]


def checked_block(message: m.ArrayBlock) -> Block:
    """The block in a message.

    Raises:
        PeerFault: its parts contradict each other.
    """
    where = f"array {message.task}, block of rows {message.start} to {message.start + message.count}"
    start, end = message.start, message.start + message.count
    pages = -(-message.count // message.page_rows)
    if len(message.offsets) != 4 * (pages + 1):
        raise PeerFault(f"{where}: {len(message.offsets)} bytes of offsets for {pages} pages")
    table = read_u32(message.offsets)
    listed = table.tolist()
    if listed[0] != 0 or listed[-1] != len(message.data) or listed != sorted(listed):
        raise PeerFault(f"{where}: offsets do not ascend from 0 to the {len(message.data)} bytes of data")
    for name, rows in (("void", message.void), ("objects", [row for row, _ in message.objects])):
        if rows and not (start <= min(rows) and max(rows) < end):
            raise PeerFault(f"{where}: {name} names a row outside of it")
    return Block(start, end, message.page_rows, table, memoryview(message.data), dict(message.objects), end - start)
