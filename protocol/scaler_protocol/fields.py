"""How a message class describes itself: its kind, its fields' bounds, its rows, its raw segments.

A message is a frozen attrs class decorated with ``message(kind)``. Its fields, in order, are the elements of the body's
msgpack array; fields are only ever appended. A field made by ``segment()`` travels as a raw segment instead. A field
made by ``rows(...)`` is a tuple of plain tuples: the per-row cost of a batch is one tuple and one check of its cells.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Final, TypeVar

import attrs

from scaler_protocol import limits
from scaler_protocol.frames import Buffer
from scaler_protocol.ids import OBJECT_ID_BYTES, SESSION_ID_BYTES

KIND_ATTRIBUTE: Final = "__message_kind__"
SEGMENT: Final = "segment"
ROW: Final = "row"
ITEM: Final = "item"
MAX: Final = "max"
MIN: Final = "min"
SIZE: Final = "size"

Row = tuple[Any, ...]
Message = Any
"""Any instance of a class decorated with ``message``."""

_C = TypeVar("_C", bound=type)


@attrs.frozen
class Column:
    """What one cell of a row, or one element of an array, may be."""

    wire: str
    """Its type as the specification names it."""
    test: str
    """A Python expression, with ``{}`` for the cell, that is true for a good one; ``strict`` compiles it."""
    elements: "Column | None" = None
    """If the cell is an array: what its elements are."""
    at_most: int = 0
    """If the cell is an array: how many."""


def _array(elements: Column, at_most: int) -> Column:
    return Column(f"[{elements.wire}] ≤ {at_most:,}", "type({}) is tuple", elements, at_most)


def _text(at_most: int) -> Column:
    # A character is at most four bytes, so short texts need not be encoded to know.
    test = f"type({{}}) is str and (len({{}}) <= {at_most // 4} or len({{}}.encode()) <= {at_most})"
    return Column(f"str ≤ {at_most:,} bytes", test)


NUMBER: Final = Column("u64", "type({}) is int and {} >= 0")  # msgpack itself ends at 2^64 - 1
INTEGER: Final = Column("int", "type({}) is int")
FLAG: Final = Column("bool", "type({}) is bool")
SECONDS: Final = Column("seconds", "(type({}) is float or type({}) is int) and 0 <= {} < 1e300")  # false for NaN
BYTES: Final = Column("bin", "type({}) is bytes")
SESSION: Final = Column(f"bin({SESSION_ID_BYTES})", f"type({{}}) is bytes and len({{}}) == {SESSION_ID_BYTES}")
OBJECT: Final = Column(f"bin({OBJECT_ID_BYTES})", f"type({{}}) is bytes and len({{}}) == {OBJECT_ID_BYTES}")
NAME: Final = _text(limits.NAME_BYTES)
TEXT: Final = _text(limits.TEXT_BYTES)
OBJECTS: Final = _array(OBJECT, limits.DEPENDENCIES)
NUMBERS: Final = _array(NUMBER, limits.DEPENDENCIES)
PAYLOADS: Final = _array(BYTES, limits.DEPENDENCIES)

_PLAIN: Final[dict[type, Column]] = {int: NUMBER, bool: FLAG, bytes: BYTES, str: TEXT}


def choice(enum: type[IntEnum]) -> Column:
    """A number of ``enum``, whose numbers have no gaps; another one is refused."""
    low, high = min(enum), max(enum)
    assert len(enum) == high - low + 1
    return Column(enum.__name__, f"type({{}}) is int and {low:d} <= {{}} <= {high:d}")


def message(kind: int) -> Callable[[_C], _C]:
    """Make an attrs class a message of this kind (u8, never reused)."""

    def decorate(cls: _C) -> _C:
        setattr(cls, KIND_ATTRIBUTE, kind)
        return cls

    return decorate


def kind_of(message_: Message) -> int:
    """The kind of a message or of a message class."""
    return int(getattr(message_, KIND_ATTRIBUTE))


def segment() -> Any:
    """A field that travels as one raw segment."""
    return attrs.field(metadata={SEGMENT: True}, repr=_repr_bytes, eq=bytes)


def rows(*columns: type | Column, at_most: int = limits.BATCH_ROWS, default: Any = attrs.NOTHING) -> Any:
    """A field of plain tuples with exactly these cells; ``int`` is a u64, ``str`` a text of bounded length."""
    layout = tuple(column if isinstance(column, Column) else _PLAIN[column] for column in columns)
    return attrs.field(default=default, metadata={ROW: layout, MAX: at_most}, repr=_repr_rows)


def bounded(
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    item: Column | None = None,
    default: Any = attrs.NOTHING,
) -> Any:
    """A number within bounds; or bytes, a str (by its UTF-8) or a tuple whose length is within them.

    ``item`` says what the elements of a tuple are; without it, ints are u64.
    """
    return attrs.field(default=default, metadata={MIN: minimum, MAX: maximum, ITEM: item})


def exactly(size: int, *, default: Any = attrs.NOTHING) -> Any:
    """Bytes of exactly this length."""
    return attrs.field(default=default, metadata={SIZE: size}, repr=_repr_id)


def nested() -> Any:
    """A field that is an array of fields itself: ``TaskOptions``."""
    return attrs.field()


def _repr_bytes(value: Buffer) -> str:
    return f"<{len(value)} bytes>"


def _repr_rows(value: Sequence[Row]) -> str:
    return f"<{len(value)} rows>" if len(value) > 3 else repr(value)


def _repr_id(value: bytes) -> str:
    return value[:4].hex()
