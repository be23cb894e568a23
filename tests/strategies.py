"""Hypothesis strategies for every message of the wire protocol, derived from what its fields say of themselves."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, get_args, get_origin

import attrs
from hypothesis import strategies as st

from scaler_protocol import MESSAGE_CLASSES, Message, fields, ids, limits
from scaler_protocol import messages as m

if TYPE_CHECKING:
    from scaler_protocol.fields import Column

FEW = 4
"""Elements of a generated array: what matters is in the first few, and bounds have tests of their own."""

u64 = st.integers(0, ids.U64_MAX)
seconds = st.floats(0, 1e9) | st.integers(0, 10**9)
session_ids = st.binary(min_size=ids.SESSION_ID_BYTES, max_size=ids.SESSION_ID_BYTES)
object_ids = st.binary(min_size=ids.OBJECT_ID_BYTES, max_size=ids.OBJECT_ID_BYTES)
payloads = st.binary(max_size=64)


def text(at_most: int) -> st.SearchStrategy[str]:
    """Texts of up to ``at_most`` bytes of UTF-8, most of them short."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=min(at_most // 4, 40))


_ENUMS: dict[str, type[IntEnum]] = {
    enum.__name__: enum for enum in vars(m).values() if isinstance(enum, type) and issubclass(enum, IntEnum)
}
_CELLS: dict[Column, st.SearchStrategy[Any]] = {
    fields.NUMBER: u64,
    fields.INTEGER: st.integers(-(1 << 63), ids.U64_MAX),
    fields.FLAG: st.booleans(),
    fields.SECONDS: seconds,
    fields.BYTES: payloads,
    fields.SESSION: session_ids,
    fields.OBJECT: object_ids,
    fields.NAME: text(limits.NAME_BYTES),
    fields.TEXT: text(limits.TEXT_BYTES),
}


def cells(column: Column) -> st.SearchStrategy[Any]:
    """What a column of a row may hold."""
    if column.elements is not None:
        return st.lists(cells(column.elements), max_size=FEW).map(tuple)
    if column.wire in _ENUMS:
        return st.sampled_from([int(member) for member in _ENUMS[column.wire]])
    return _CELLS[column]


def values(attribute: attrs.Attribute[Any]) -> st.SearchStrategy[Any]:
    """What a field of a message may hold."""
    meta = attribute.metadata
    type_: Any = attribute.type
    low, size = meta.get(fields.MIN), meta.get(fields.SIZE)
    high: Any = meta.get(fields.MAX)
    if fields.SEGMENT in meta:
        return payloads
    if fields.ROW in meta:
        return st.lists(st.tuples(*map(cells, meta[fields.ROW])), max_size=FEW).map(tuple)
    if get_origin(type_) is tuple:
        item = get_args(type_)[0]
        one = options() if item is m.TaskOptions else cells(meta[fields.ITEM] or fields.NUMBER)
        return st.lists(one, max_size=FEW).map(tuple)
    if type_ is m.TaskOptions:
        return options()
    if type_ is float:
        return st.floats(low, high if high is not None else 1e9, allow_nan=False)
    if type_ is bytes:
        return st.binary(min_size=size or 0, max_size=size or high)
    if type_ is str:
        return text(high)
    return {int: st.integers(low, high), bool: st.booleans()}[type_]


def instances(cls: type) -> st.SearchStrategy[Any]:
    """Instances of a message class, or of ``TaskOptions``."""
    return st.builds(cls, **{attribute.name: values(attribute) for attribute in attrs.fields(cls)})


def options() -> st.SearchStrategy[m.TaskOptions]:
    """Options of a task, often the default ones."""
    return st.just(m.DEFAULT_OPTIONS) | instances(m.TaskOptions)


def messages() -> st.SearchStrategy[Message]:
    """Any message at all."""
    return st.sampled_from(sorted(MESSAGE_CLASSES)).flatmap(lambda kind: instances(MESSAGE_CLASSES[kind]))
