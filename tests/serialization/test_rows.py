"""Rows and blocks: shared pages where everything is plain, a pickle per row otherwise."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any

import numpy as np
import pytest

from scaler_protocol.limits import BLOCK_BYTES, BLOCK_ROWS
from scaler_trio.serialization import Block, BlockWriter, CannotPickle, Style, dump_row, load_page, load_row
from scaler_trio.serialization.rows import PAGE_BYTES, PAGE_ROWS
from tests.serialization.store import MemoryStore, Unpicklable


def rows_of(block: Block, store: MemoryStore) -> list[Any]:
    """The block's rows, as a worker loads them; void rows as None."""
    offsets = memoryview(block.offsets).cast("I").tolist()
    assert offsets[0] == 0
    assert offsets[-1] == len(block.data)
    assert len(offsets) - 1 == -(-block.count // block.page_rows)
    rows: list[Any] = []
    for at, (begin, end) in enumerate(pairwise(offsets)):
        if at in block.void:
            assert begin == end
            rows.append(None)
        else:
            rows += load_page(block.data[begin:end], block.page_rows, store)
    assert len(rows) == block.count
    return rows


def blocks(writer: BlockWriter, rows: Iterator[Any]) -> list[Block]:
    return list(iter(lambda: writer.fill(rows), None))


def test_plain_rows_share_pages() -> None:
    store = MemoryStore()
    (block,) = blocks(BlockWriter(Style.ONE, store), iter(range(1000)))
    assert block.page_rows == PAGE_ROWS
    assert rows_of(block, store) == list(range(1000))


def test_plain_tuples_share_pages_too() -> None:
    store = MemoryStore()
    rows = [(i, str(i), 1.5, None, True, b"x") for i in range(100)]
    (block,) = blocks(BlockWriter(Style.STAR, store), iter([list(row) for row in rows]))
    assert block.page_rows == PAGE_ROWS
    assert rows_of(block, store) == rows


@pytest.mark.parametrize("odd", [[1], (1,), 1j, {1: 2}, np.int64(1)])
def test_one_row_that_is_not_plain_makes_each_row_a_page(odd: Any) -> None:
    store = MemoryStore()
    (block,) = blocks(BlockWriter(Style.ONE, store), iter([1, odd, "x"]))
    assert block.page_rows == 1
    assert rows_of(block, store) == [1, odd, "x"]


def test_pages_never_grow_large() -> None:
    store = MemoryStore()
    (block,) = blocks(BlockWriter(Style.ONE, store), iter([f"{i:0100}" for i in range(200)]))
    assert block.page_rows == 1
    (block,) = blocks(BlockWriter(Style.ONE, store), iter([f"{i:010}" for i in range(200)]))
    offsets = memoryview(block.offsets).cast("I").tolist()
    assert max(b - a for a, b in pairwise(offsets)) <= PAGE_BYTES


def test_objects_shared_by_rows_stay_apart() -> None:
    store = MemoryStore()
    shared = ["shared"]
    (block,) = blocks(BlockWriter(Style.ONE, store), iter([shared, shared]))
    first, second = rows_of(block, store)
    assert first == second == ["shared"]
    assert first is not second


def test_blocks_hold_a_bounded_number_of_rows() -> None:
    store = MemoryStore()
    found = blocks(BlockWriter(Style.ONE, store), iter(range(2 * BLOCK_ROWS + 5)))
    assert [block.count for block in found] == [BLOCK_ROWS, BLOCK_ROWS, 5]
    assert [row for block in found for row in rows_of(block, store)] == list(range(2 * BLOCK_ROWS + 5))


def test_blocks_hold_a_bounded_number_of_bytes_and_lose_no_row() -> None:
    store = MemoryStore()
    rows = [[i, b"x" * 30_000] for i in range(200)]
    found = blocks(BlockWriter(Style.ONE, store), iter(rows))
    assert len(found) > 4
    assert max(len(block.data) for block in found) <= BLOCK_BYTES
    assert [row for block in found for row in rows_of(block, store)] == rows


def test_an_infinite_iterator_is_read_block_by_block() -> None:
    rows = count()
    writer = BlockWriter(Style.ONE, MemoryStore())
    block = writer.fill(rows, 10)
    assert block is not None
    assert block.count == 10
    assert next(rows) == 10


def test_a_row_that_cannot_be_pickled_is_that_rows_error() -> None:
    store = MemoryStore()
    (block,) = blocks(BlockWriter(Style.ONE, store), iter([[0], Unpicklable(), [2], threading.Lock()]))
    assert block.void == (1, 3)
    assert set(block.errors) == {1, 3}
    assert "the argument cannot be pickled: ZeroDivisionError: never" in str(block.errors[1])
    assert rows_of(block, store) == [[0], None, [2], None]


def test_large_arguments_of_rows_become_objects() -> None:
    store = MemoryStore()
    arrays = [np.full(20_000, i) for i in range(3)]
    (block,) = blocks(BlockWriter(Style.STAR, store), iter([(a, i) for i, a in enumerate(arrays)]))
    assert [row for row, _ in block.objects] == [0, 1, 2]
    assert len(store.objects) == 3
    for row, array in zip(rows_of(block, store), arrays, strict=True):
        assert np.array_equal(row[0], array)


@pytest.mark.parametrize(
    ("row", "style", "named"),
    [
        (Unpicklable(), Style.ONE, "the argument cannot"),
        ((1, Unpicklable()), Style.STAR, "positional argument 1, of type Unpicklable, cannot"),
        (((), {"x": 1, "y": Unpicklable()}), Style.CALL, "the argument 'y', of type Unpicklable, cannot"),
        (((Unpicklable(),), {}), Style.CALL, "positional argument 0, of type Unpicklable, cannot"),
    ],
)
def test_the_culprit_among_the_arguments_is_named(row: Any, style: Style, named: str) -> None:
    with pytest.raises(CannotPickle, match=f"^{named} be pickled: ZeroDivisionError: never$"):
        dump_row(row, style, MemoryStore())


def test_a_large_single_argument_is_pickled_once() -> None:
    times = 0

    class Counted:
        def __reduce__(self) -> Any:
            nonlocal times
            times += 1
            return bytes, (b"x" * 100_000,)

    store = MemoryStore()
    payload = dump_row(Counted(), Style.ONE, store).payload
    assert (times, len(store.objects)) == (1, 1)
    assert load_row(payload, store) == b"x" * 100_000


def test_a_row_is_a_plain_pickle_as_the_contract_says() -> None:
    assert pickle.loads(dump_row([1, "x"], Style.ONE, MemoryStore()).payload) == [1, "x"]
