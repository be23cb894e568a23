from __future__ import annotations

import tracemalloc
from typing import Any

import attrs
import msgpack
import pytest

from scaler_protocol import (
    MESSAGE_CLASSES,
    Frame,
    LocalProtocolError,
    decode,
    encode,
    fields,
    limits,
)
from scaler_protocol import messages as m
from tests.protocol import examples
from tests.protocol.judge import body_of, outcome, refused, with_body

CLASSES = pytest.mark.parametrize("cls", MESSAGE_CLASSES.values(), ids=lambda cls: cls.__name__)

NOTHING_EXPECTS = [None, {}, {"a": 1}, msgpack.ExtType(5, b""), msgpack.ExtType(5, b"x"), msgpack.Timestamp(1)]
FOREIGN: dict[type, list[Any]] = {
    int: [True, 1.0, "7", b"7", (), *NOTHING_EXPECTS],
    float: [True, "1.5", b"", float("nan"), float("inf"), float("-inf"), -1.0, 1e301, *NOTHING_EXPECTS],
    bool: [0, 1, "true", b"", *NOTHING_EXPECTS],
    str: [b"bytes", 5, (), *NOTHING_EXPECTS],
    bytes: ["text", 5, (1, 2, 3), *NOTHING_EXPECTS],
    m.TaskOptions: [0, False, "", b"", (0.5,), ("high",), *NOTHING_EXPECTS],
}

ROWS = [(cls, a) for cls in MESSAGE_CLASSES.values() for a in attrs.fields(cls) if fields.ROW in a.metadata]
FOREIGN_CELLS: list[Any] = [
    None,
    {},
    True,
    -1,
    1.5,
    1 << 63,
    float("nan"),
    "x" * 20_000,
    "x",
    b"x",
    (1,),
    (b"x",),
    ((),),
    ({},),
]


@CLASSES
def test_a_field_of_another_type_is_refused_by_name(cls: type) -> None:
    good = body_of(examples.typical(cls))
    named = [a for a in attrs.fields(cls) if fields.SEGMENT not in a.metadata]
    for i, attribute in enumerate(named):
        for value in FOREIGN.get(attribute.type, ["rows", b"", 5, 0, False, *NOTHING_EXPECTS]):
            message = refused(with_body(cls, [*good[:i], value, *good[i + 1 :]]))
            assert attribute.name in message or "max_" in message or "timestamp" in message


@CLASSES
def test_a_number_or_length_beyond_its_bound_is_refused_both_ways(cls: type) -> None:
    message = examples.typical(cls)
    good = body_of(message)
    for i, attribute in enumerate(a for a in attrs.fields(cls) if fields.SEGMENT not in a.metadata):
        meta = attribute.metadata
        low, high, size = meta.get(fields.MIN), meta.get(fields.MAX), meta.get(fields.SIZE)
        beyond: list[Any] = []
        if attribute.type in (int, float):
            beyond = [low - 1] if low is not None else []
            beyond += [high + 1] if high is not None else []
        elif attribute.type is str:
            beyond = ["x" * (high + 1), "é" * (high // 2 + 1)]
        elif attribute.type is bytes:
            beyond = [bytes(size - 1), bytes(size + 1)] if size else [bytes(high + 1)]
        elif high is not None:
            beyond = [(getattr(message, attribute.name)[0],) * (high + 1)]
        for value in beyond:
            with pytest.raises(LocalProtocolError):
                encode(attrs.evolve(message, **{attribute.name: value}))
            if value != 1 << 64:  # what msgpack itself cannot hold
                element = good[i][:1] * len(value) if isinstance(value, tuple) else value
                refused(with_body(cls, [*good[:i], element, *good[i + 1 :]]))


@pytest.mark.parametrize(("cls", "attribute"), ROWS, ids=lambda x: getattr(x, "__name__", getattr(x, "name", "")))
def test_rows_are_checked_to_the_last_cell(cls: type, attribute: attrs.Attribute[Any]) -> None:
    good = body_of(examples.typical(cls))
    i = [a.name for a in attrs.fields(cls)].index(attribute.name)
    columns = attribute.metadata[fields.ROW]
    row = good[i][1]

    def attempt(*rows: Any) -> type | None:
        return outcome(with_body(cls, [*good[:i], rows, *good[i + 1 :]]))

    assert attempt(row) is cls
    assert attempt(row, (*row, "a later column")) is cls
    assert attempt(row, row[:-1]) is None
    assert attempt(row, ()) is None
    not_rows: list[Any] = ["row", 5, None, {}, b""]
    for not_a_row in not_rows:
        assert attempt(row, not_a_row) is None
    for c, column in enumerate(columns):
        for value in FOREIGN_CELLS:
            accepted = attempt(row, (*row[:c], value, *row[c + 1 :])) is cls
            assert accepted is is_legal(column, value), (column.wire, value)


def is_legal(column: fields.Column, value: Any) -> bool:
    """The rules once more, written without regard to speed."""
    if column.elements is not None:
        return isinstance(value, tuple) and all(is_legal(column.elements, element) for element in value)
    if column in (fields.NAME, fields.TEXT):
        return isinstance(value, str) and len(value) < 256
    if column in (fields.FLAG, fields.BYTES):
        return type(value) is {fields.FLAG: bool, fields.BYTES: bytes}[column]
    if column is fields.INTEGER:
        return type(value) is int
    if column is fields.NUMBER:
        return type(value) is int and value >= 0
    return column is fields.SECONDS and type(value) in (int, float) and value >= 0


def test_later_cells_of_rows_are_dropped() -> None:
    frame = with_body(m.Recall, [[(1, 2), (3, 4, "later", {})[:3]]])
    assert decode(frame) == m.Recall(((1, 2), (3, 4)))


@pytest.mark.parametrize("number", [-1, len(m.Outcome), True, "VALUE"])
def test_an_unknown_number_of_an_enumeration_is_refused(number: Any) -> None:
    assert "Outcome" in refused(with_body(m.AttemptResults, [[(1, number, b"", (), 0.0)]]))


@pytest.mark.parametrize("nested", [b"\x91" * 100 + b"\x00", b"\x91" * 100_000, b"\xdc\x01\x00" * 1000])
def test_deep_nesting_is_refused(nested: bytes) -> None:
    for kind in MESSAGE_CLASSES:
        refused(Frame(kind, 0, nested, (b"", b"")))
        refused(Frame(kind, 0, b"\x91" + nested, (b"", b"")))


@pytest.mark.parametrize(
    "length", [b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff"]
)
def test_a_length_beyond_the_body_reserves_nothing(length: bytes) -> None:
    padding = bytes(3000)
    for kind in MESSAGE_CLASSES:
        tracemalloc.start()
        try:
            refused(Frame(kind, 0, b"\x92" + length + padding, (b"", b"")))
            assert tracemalloc.get_traced_memory()[1] < 200 * limits.KIB
        finally:
            tracemalloc.stop()


def test_a_hello_of_nested_lengths_reserves_little_before_anyone_has_authenticated() -> None:
    tracemalloc.start()
    try:
        refused(Frame(1, 0, b"\xdc\x0b\xb0" * 300 + bytes(3000), ()))
        refused(Frame(1, 0, b"\xdc\x00\x40" * 900 + bytes(1300), ()))
        assert tracemalloc.get_traced_memory()[1] < limits.MIB
    finally:
        tracemalloc.stop()


def test_text_that_is_not_utf_8_is_refused() -> None:
    refused(with_body(m.Goodbye, b"\x91\xa2\xff\xfe"))


def test_nested_lengths_reserve_in_proportion_to_the_body() -> None:
    """msgpack before 1.2.4 reserves every claimed length at once: gigabytes for a megabyte."""
    body = b"\xdd\x00\x00\xf0\x00" * 500 + bytes(0xF000)
    tracemalloc.start()
    try:
        refused(Frame(23, 0, body, ()))
        assert tracemalloc.get_traced_memory()[1] < 64 * limits.MIB
    finally:
        tracemalloc.stop()
