"""Strict checks of decoded values, specialised once per field: nothing is coerced, nothing nested goes unchecked.

msgpack hands over tuples, ints, floats, strs, bytes, bools, None, and (empty) dicts and extensions; what a field does
not name is refused. The checks of rows are compiled from their columns, as attrs does for ``__init__``: a row costs
0.2 µs instead of 0.5 by a loop over its columns, and rows are what a scheduler spends its time on.
"""

from collections.abc import Callable
from typing import Any, Final, get_args, get_origin

import attrs
import cattrs

from scaler_protocol import fields, limits
from scaler_protocol.fields import Column, Row

Check = Callable[[Any], Any]
"""Returns the value as the field holds it, or raises ``Invalid``."""


class Invalid(ValueError):
    """A value breaks its field's rule; the text says which, and never quotes the peer's value."""


def _kind(value: object) -> str:
    return type(value).__name__


def check_rows(columns: tuple[Column, ...], at_most: int) -> Callable[[Any], tuple[Row, ...]]:
    """A check of a tuple of rows; cells beyond the last known column are dropped."""
    count = len(columns)
    cells = [f"cell{i}" for i in range(count)]
    good = " and ".join(f"({column.test.replace('{}', cell)})" for cell, column in zip(cells, columns, strict=True))
    names: dict[str, Any] = {"at_most": at_most, "columns": columns}
    inner = ""
    for cell, column in zip(cells, columns, strict=True):
        if column.elements is not None:
            names[f"check_{cell}"] = check_elements(column.elements, column.at_most)
            inner += f"        if {cell}:\n            check_{cell}({cell})\n"
    source = f"""
def check(rows):
    if type(rows) is not tuple or len(rows) > at_most:
        raise wrong_size(rows, at_most)
    longer = False
    for row in rows:
        if type(row) is not tuple or len(row) != {count}:
            row = shorten(row, columns)
            longer = True
        {", ".join(cells)} = row
        if not ({good}):
            raise wrong_row(row, columns)
{inner}
    return tuple([row[:{count}] for row in rows]) if longer else rows
"""
    return _compile(source, names)


def check_elements(column: Column, at_most: int) -> Callable[[Any], tuple[Any, ...]]:
    """A check of a flat tuple."""
    source = f"""
def check(value):
    if type(value) is not tuple or len(value) > at_most:
        raise wrong_size(value, at_most)
    for element in value:
        if not ({column.test.replace("{}", "element")}):
            raise wrong_element(element, column)
    return value
"""
    return _compile(source, {"at_most": at_most, "column": column})


def _compile(source: str, names: dict[str, Any]) -> Callable[[Any], tuple[Any, ...]]:
    names |= {"wrong_size": _wrong_size, "shorten": _shorten, "wrong_row": _wrong_row, "wrong_element": _wrong_element}
    exec(source, names)
    check: Callable[[Any], tuple[Any, ...]] = names["check"]
    return check


def _wrong_size(value: Any, at_most: int) -> Invalid:
    if type(value) is not tuple:
        return Invalid(f"expected an array, got {_kind(value)}")
    return Invalid(f"{len(value)} elements, limit {at_most}")


def _shorten(row: Any, columns: tuple[Column, ...]) -> Row:
    if type(row) is not tuple:
        raise Invalid(f"expected a row, got {_kind(row)}")
    if len(row) < len(columns):
        raise Invalid(f"a row of {len(row)} cells, expected {_layout(columns)}")
    return row[: len(columns)]


def _wrong_row(row: Row, columns: tuple[Column, ...]) -> Invalid:
    return Invalid(f"a row of ({', '.join(map(_kind, row))}) that is not {_layout(columns)}")


def _wrong_element(value: object, column: Column) -> Invalid:
    return Invalid(f"an element of type {_kind(value)} that is not {column.wire}")


def _layout(columns: tuple[Column, ...]) -> str:
    return "(" + ", ".join(column.wire for column in columns) + ")"


# ---------------------------------------------------------------------------------------------------- single fields


def _check_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise Invalid(f"expected bool, got {_kind(value)}")
    return value


def _check_int(low: float, high: float) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int:
            raise Invalid(f"expected int, got {_kind(value)}")
        if not low <= value <= high:
            raise Invalid(f"{value} is outside {low} … {high}")
        return value

    return check


def _check_float(low: float, high: float) -> Check:
    def check(value: Any) -> float:
        if type(value) is int:
            value = float(value)
        if type(value) is not float:
            raise Invalid(f"expected float, got {_kind(value)}")
        if not low <= value <= high:  # false for NaN
            raise Invalid(f"{value} is outside {low} … {high}")
        return value

    return check


def _check_bytes(low: int, high: int) -> Check:
    def check(value: Any) -> bytes:
        if type(value) is not bytes:
            raise Invalid(f"expected bytes, got {_kind(value)}")
        if not low <= len(value) <= high:
            raise Invalid(f"{len(value)} bytes, expected {low} … {high}")
        return value

    return check


def _check_str(high: int) -> Check:
    def check(value: Any) -> str:
        if type(value) is not str:
            raise Invalid(f"expected str, got {_kind(value)}")
        if len(value) > high // 4 and len(value.encode()) > high:
            raise Invalid(f"a text of {len(value.encode())} bytes, limit {high}")
        return value

    return check


def _check_values(check_one: Check, at_most: int) -> Check:
    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is not tuple or len(value) > at_most:
            raise _wrong_size(value, at_most)
        return tuple([check_one(item) for item in value])

    return check


FLOAT_MAX: Final = 1e300
"""Beyond any duration or percentage; keeps infinity out."""


def check_of(attribute: "attrs.Attribute[Any]", converter: cattrs.Converter) -> Check:
    """The check of one field, from its type and its metadata; other classes than plain ones come from ``converter``."""
    type_: Any = attribute.type
    meta = attribute.metadata
    low: Any = meta.get(fields.MIN)
    high: Any = meta.get(fields.MAX)
    size: Any = meta.get(fields.SIZE)
    if fields.ROW in meta:
        return check_rows(meta[fields.ROW], meta[fields.MAX])
    if type_ is bool:
        return _check_bool
    if type_ is int:
        return _check_int(low, high)
    if type_ is float:
        return _check_float(low, FLOAT_MAX if high is None else high)
    if type_ is bytes:
        return _check_bytes(size or 0, size or high)
    if type_ is str:
        return _check_str(high)
    if get_origin(type_) is tuple:
        item = get_args(type_)[0]
        column = meta[fields.ITEM] or (fields.NUMBER if item is int else None)
        if column is not None:
            return check_elements(column, high)
        return _check_values(_structure(item, converter), high)
    return _structure(type_, converter)


def check_bounds_of(attribute: "attrs.Attribute[Any]") -> Check | None:
    """The check of one field on the way out: only its bounds, since our own types are checked by mypy."""
    meta = attribute.metadata
    low: Any = meta.get(fields.MIN)
    high: Any = meta.get(fields.MAX)
    size: Any = meta.get(fields.SIZE)
    if attribute.type in (int, float):
        high = FLOAT_MAX if high is None else high

        def check_number(value: Any) -> Any:
            if not low <= value <= high:
                raise Invalid(f"{attribute.name}: {value} is outside {low} … {high}")
            return value

        return check_number
    if size is None and high is None:
        return None

    def check_length(value: Any) -> Any:
        length = len(value.encode()) if isinstance(value, str) else len(value)
        if not (size or 0) <= length <= (size or high):
            raise Invalid(f"{attribute.name}: length {length}, limit {size or high}")
        return value

    return check_length


def _structure(type_: Any, converter: cattrs.Converter) -> Check:
    hook = converter.get_structure_hook(type_)
    return lambda value: hook(value, type_)


def largest_array(cls: type) -> int:
    """No array within a body of ``cls`` is longer: what msgpack may allocate for a length it reads."""
    longest = max(len(attrs.fields(cls)), 64)  # 64: fields and cells that a later version appends
    for attribute in attrs.fields(cls):
        if get_origin(attribute.type) is tuple:
            longest = max(longest, attribute.metadata[fields.MAX])
            longest = max([longest, *(column.at_most for column in attribute.metadata.get(fields.ROW, ()))])
    return max(longest, limits.CAPABILITIES)
