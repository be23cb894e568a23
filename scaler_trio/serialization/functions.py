"""Functions on the wire: a style byte, which says how a row becomes a call, and the pickled callable."""

import pickle
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from scaler_protocol import Buffer
from scaler_trio.serialization.pickling import cannot_pickle, cannot_unpickle, dump_in_band


class Style(IntEnum):
    """What a row's pickle holds."""

    CALL = 0  # (args, kwargs)
    ONE = 1  # the only positional argument itself
    STAR = 2  # a tuple of positional arguments


def dump_function(function: Callable[..., Any], style: Style) -> bytes:
    """The payload of a function.

    Raises:
        CannotPickle: it, or something that it captures.
    """
    try:
        return bytes((style,)) + dump_in_band(function)
    except Exception as error:
        raise cannot_pickle(f"the function {function_name(function)!r}", error) from error


def load_function(payload: Buffer) -> Callable[[Any], Any]:
    """A callable that takes one loaded row.

    Raises:
        CannotUnpickle: most often because its module is missing here.
    """
    view = memoryview(payload)
    try:
        function = pickle.loads(view[1:])
        style = Style(view[0])
    except Exception as error:
        raise cannot_unpickle("the function", error) from error
    if style is Style.ONE:
        return function  # type: ignore[no-any-return]
    if style is Style.STAR:
        return lambda row: function(*row)
    return lambda row: function(*row[0], **row[1])


def dump_classes(classes: tuple[type[BaseException], ...]) -> bytes:
    """The payload of exception classes; of ``Exception`` alone it is empty.

    Raises:
        CannotPickle: one of them.
    """
    if classes == (Exception,):
        return b""
    try:
        return dump_in_band(classes)
    except Exception as error:
        raise cannot_pickle("the exceptions in retry_on", error) from error


def load_classes(payload: Buffer) -> tuple[type[BaseException], ...]:
    """The inverse.

    Raises:
        CannotUnpickle: most often because their module is missing here.
    """
    if not payload:
        return (Exception,)
    try:
        classes: tuple[type[BaseException], ...] = pickle.loads(payload)
    except Exception as error:
        raise cannot_unpickle("the exceptions in retry_on", error) from error
    return classes


def function_name(function: Callable[..., Any]) -> str:
    """A name for people."""
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    if name is None:
        inner = getattr(function, "func", None)  # functools.partial
        name = function_name(inner) if callable(inner) else type(function).__qualname__
    return str(name)
