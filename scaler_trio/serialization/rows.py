"""Rows, the arguments of one item: single ones, and blocks of many with their offset table."""

import pickle
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final

from attrs import frozen

from scaler_protocol import Buffer
from scaler_protocol.limits import BLOCK_BYTES, BLOCK_ROWS, INLINE_PAYLOAD_BYTES
from scaler_trio.errors import CannotPickle
from scaler_trio.serialization.functions import Style
from scaler_trio.serialization.pickling import (
    PLAIN,
    PROTOCOL,
    Dumped,
    cannot_pickle,
    dump_parts,
    dump_value,
    load_value,
    place,
)
from scaler_trio.serialization.references import Sink, Source

PAGE_ROWS: Final = 64
"""Rows that share a pickle where all arguments are plain: 0.03 µs a row instead of 0.2, and little to ship twice."""

PAGE_BYTES: Final = 4 * 1024
"""A shared page is at most this large, as a slice of one row ships all of it."""


@frozen
class Block:
    """Rows ready for ``ArrayBlock``."""

    count: int
    page_rows: int
    void: tuple[int, ...]
    errors: dict[int, CannotPickle]
    objects: tuple[tuple[int, tuple[bytes, ...]], ...]
    offsets: bytes
    data: bytes


def dump_row(row: Any, style: Style, sink: Sink) -> Dumped:
    """One row; arguments that are too large become objects.

    Raises:
        CannotPickle: naming the argument.
    """
    try:
        parts = dump_parts(row)
    except Exception as error:
        raise cannot_pickle(_culprit(row, style), error) from error
    data, buffers, named = parts
    if not buffers and len(data) <= INLINE_PAYLOAD_BYTES:
        return Dumped(data, tuple(named))
    if style is Style.ONE:
        return place(row, parts, sink)
    objects: list[bytes] = []
    done: dict[int, _Loaded] = {}  # the same argument twice is one object

    def shrink(value: Any) -> Any:
        if id(value) not in done:
            dumped = dump_value(value, sink, lambda: f"an argument of type {type(value).__qualname__}")
            objects.extend(dumped.objects)
            done[id(value)] = _Loaded(dumped.payload)
        return done[id(value)]

    if style is Style.STAR:
        small: Any = tuple([shrink(value) for value in row])
    else:
        small = (tuple([shrink(value) for value in row[0]]), {name: shrink(value) for name, value in row[1].items()})
    dumped = dump_value(small, sink, lambda: "the arguments together")
    return Dumped(dumped.payload, tuple(dict.fromkeys([*dumped.objects, *objects])))


def dump_call(args: tuple[Any, ...], kwargs: dict[str, Any], sink: Sink) -> Dumped:
    """The arguments of one call, in style ``CALL``."""
    if not kwargs and PLAIN.issuperset(map(type, args)):
        payload = pickle.dumps((args, kwargs), PROTOCOL)  # the same bytes as below, at a fifth of the cost
        if len(payload) <= INLINE_PAYLOAD_BYTES:
            return Dumped(payload)
    return dump_row((args, kwargs), Style.CALL, sink)


def load_row(payload: Buffer, source: Source | None, inputs: Sequence[Buffer] = ()) -> Any:
    """The row of a single task."""
    return load_value(payload, source, inputs, what="the arguments")


def load_page(page: Buffer, page_rows: int, source: Source | None) -> list[Any]:
    """The rows of one page."""
    value = load_value(page, source, what="the arguments")
    return value if page_rows > 1 else [value]


class BlockWriter:
    """Turns an iterator of rows into blocks. A row that cannot be pickled becomes that row's error, not the block's."""

    def __init__(self, style: Style, sink: Sink, prepare: Callable[[Any], Any] | None = None) -> None:
        self._style = style
        self._prepare = prepare  # what each row passes through first; it may refuse one with CannotPickle
        self._sink = sink
        self._rest: list[Any] = []  # rows taken from the iterator that did not fit into the last block
        self._last: list[Any] = []  # rows of the last block: what they refer to lives until that was handed over

    def fill(self, rows: Iterator[Any], max_rows: int = BLOCK_ROWS) -> Block | None:
        """The next block of up to ``max_rows`` rows, or None at the end."""
        taken = self._rest[:max_rows]
        self._rest = self._rest[max_rows:]
        if len(taken) < max_rows:
            taken += islice(rows, max_rows - len(taken))
        self._last = taken
        if not taken:
            return None
        if self._style is Style.STAR:
            taken = [row if type(row) is tuple else _arguments(row) for row in taken]
        return (self._plain(taken) if self._prepare is None else None) or self._general(taken)

    def _plain(self, rows: list[Any]) -> Block | None:
        values = rows if self._style is Style.ONE else chain.from_iterable(rows)
        if self._style is Style.CALL or not set(map(type, values)) <= PLAIN:
            return None
        dumps = pickle.dumps
        pages = [dumps(rows[at : at + PAGE_ROWS], PROTOCOL) for at in range(0, len(rows), PAGE_ROWS)]
        if len(max(pages, key=len)) > PAGE_BYTES:
            return None
        return Block(len(rows), PAGE_ROWS, (), {}, (), _offsets(pages), b"".join(pages))

    def _general(self, rows: list[Any]) -> Block:
        pages: list[bytes] = []
        objects: list[tuple[int, tuple[bytes, ...]]] = []
        errors: dict[int, CannotPickle] = {}
        size = 0
        for index, row in enumerate(rows):
            try:
                prepared = row if self._prepare is None else self._prepare(row)
                dumped = dump_row(prepared, self._style, self._sink)
            except CannotPickle as error:
                errors[index] = error
                dumped = Dumped(b"")
            pages.append(dumped.payload)
            size += len(dumped.payload)
            if dumped.objects:
                objects.append((index, dumped.objects))
            if size > BLOCK_BYTES - INLINE_PAYLOAD_BYTES:
                self._rest = rows[index + 1 :] + self._rest
                break
        return Block(len(pages), 1, tuple(errors), errors, tuple(objects), _offsets(pages), b"".join(pages))


class _Loaded:
    """Bytes that are a pickle already: loads as what they hold."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self.payload,)


def _offsets(pages: list[bytes]) -> bytes:
    table = array("I", [0])
    at = 0
    for page in pages:
        at += len(page)
        table.append(at)
    if sys.byteorder == "big":
        table.byteswap()
    return table.tobytes()


def _culprit(row: Any, style: Style) -> str:
    """Which argument is at fault, for the error."""
    if style is Style.ONE:
        return "the argument"
    args, kwargs = row if style is Style.CALL else (row, {})
    for what, value in chain(
        ((f"positional argument {index}", value) for index, value in enumerate(args)),
        ((f"the argument {name!r}", value) for name, value in kwargs.items()),
    ):
        try:
            dump_parts(value)
        except Exception:
            return f"{what}, of type {type(value).__qualname__},"
    return "the arguments together"


def _arguments(row: Any) -> tuple[Any, ...]:
    """The arguments of one call of ``starmap``."""
    try:
        return tuple(row)
    except TypeError:
        raise TypeError(f"a row of starmap() is {row!r:.100}; it must be an iterable of arguments") from None
