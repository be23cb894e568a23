"""Messages made by rule from the fields of their classes: a typical one, one of defaults, ones at the bounds.

The golden vectors hold what these rules gave when a vector was recorded; changing a rule changes no vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

import attrs

from scaler_protocol import MESSAGE_CLASSES, Message, fields, frames
from scaler_protocol import messages as m
from scaler_protocol.codec import encode

if TYPE_CHECKING:
    from scaler_protocol.fields import Column

OPTIONS = m.TaskOptions(priority=-3, capabilities=(("gpu", 2), ("linux", -1)), timeout_s=1.5, name="sum")


def cell(column: Column, number: int) -> Any:
    """A typical value for a column."""
    if column.elements is not None:
        return tuple(cell(column.elements, number + i) for i in range(number % 3))
    samples: dict[Column, Any] = {
        fields.NUMBER: 1000 + number,
        fields.INTEGER: -1,
        fields.FLAG: number % 2 == 0,
        fields.SECONDS: number + 0.25,
        fields.BYTES: b"payload %d" % number,
        fields.SESSION: bytes(range(number, number + 16)),
        fields.OBJECT: bytes(range(number, number + 24)),
        fields.NAME: f"naïve {number}",
        fields.TEXT: f"line {number}\n",
    }
    return samples.get(column, 1)  # 1 is a number of every enumeration


def value(attribute: attrs.Attribute[Any], number: int) -> Any:
    """A typical value for a field."""
    meta, type_ = attribute.metadata, attribute.type
    if fields.SEGMENT in meta:
        return b"segment %d" % number
    if fields.ROW in meta:
        return tuple(tuple(cell(column, row + i) for i, column in enumerate(meta[fields.ROW])) for row in range(2))
    if get_origin(type_) is tuple:
        if get_args(type_)[0] is m.TaskOptions:
            return (m.DEFAULT_OPTIONS, OPTIONS)
        return tuple(cell(meta[fields.ITEM] or fields.NUMBER, i) for i in range(3))
    if type_ is bytes:
        return bytes(range(meta.get(fields.SIZE) or meta[fields.MAX]))
    if type_ is int:
        return min(int(meta[fields.MIN]) + 7 + number, meta[fields.MAX])
    return {str: f"text {number} ✓", bool: True, float: number + 0.5, m.TaskOptions: OPTIONS}[type_]  # type: ignore[index]


def extreme(attribute: attrs.Attribute[Any], *, high: bool) -> Any:
    """The least or the greatest value of a field; of arrays and texts, few enough elements for a readable vector."""
    meta, type_ = attribute.metadata, attribute.type
    if fields.SEGMENT in meta:
        return b""
    if type_ is m.TaskOptions:
        return attrs.evolve(m.TaskOptions(), priority=(1 << 31) - 1, crash_limit=1 << 16) if high else m.DEFAULT_OPTIONS
    if get_origin(type_) is tuple:
        return ()
    if type_ is bytes:
        return b"\xff" * (meta.get(fields.SIZE) or meta[fields.MAX]) if high else b"\0" * (meta.get(fields.SIZE) or 0)
    if type_ is str:
        return "é" * (min(meta[fields.MAX], 256) // 2) if high else ""
    if type_ is bool:
        return high
    bound = meta[fields.MAX] if high else meta[fields.MIN]
    return type_(1e9 if bound is None else bound)  # type: ignore[misc]


def typical(cls: type) -> Message:
    """A message with something in every field."""
    return cls(**{a.name: value(a, i) for i, a in enumerate(attrs.fields(cls))})


def bound(cls: type, *, high: bool) -> Message:
    """A message with every field at its least, or greatest."""
    return cls(**{a.name: extreme(a, high=high) for a in attrs.fields(cls)})


def defaults(cls: type) -> Message | None:
    """A message with defaults wherever there are any, or None if there are none."""
    if all(a.default is attrs.NOTHING for a in attrs.fields(cls)):
        return None
    return cls(**{a.name: value(a, i) for i, a in enumerate(attrs.fields(cls)) if a.default is attrs.NOTHING})


def examples() -> dict[str, Message]:
    """Every example, by the name of its vector."""
    found: dict[str, Message] = {}
    for _, cls in sorted(MESSAGE_CLASSES.items()):
        made = {"typical": typical(cls), "least": bound(cls, high=False), "greatest": bound(cls, high=True)}
        made["defaults"] = defaults(cls)
        found |= {f"{cls.__name__}.{variant}": message for variant, message in made.items() if message is not None}
    return found


def wire(message: Message) -> bytes:
    """The bytes of a message."""
    return b"".join(encode(message))


def frame(message: Message) -> frames.Frame:
    """The frame of a message, as received."""
    return frames.FrameDecoder().feed(wire(message))[0]
