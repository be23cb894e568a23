"""Results and exceptions on their way back."""

import pickle
import traceback
from typing import Any

from scaler_protocol import Buffer
from scaler_protocol.limits import INLINE_PAYLOAD_BYTES
from scaler_trio.errors import CannotUnpickle, RemoteError, RemoteTraceback
from scaler_trio.serialization.pickling import (
    PLAIN,
    PROTOCOL,
    Dumped,
    dump_in_band,
    dump_value,
    load_value,
)
from scaler_trio.serialization.references import Sink, Source, context

_WORD = 1 << 63
"""Whole numbers within this are certainly inline payloads; a larger one may have any length."""

_TEXT_BYTES = 16 * 1024
"""What is kept of the text of an error that cannot travel as itself, and of its traceback."""

_SHORT = 16 * 1024
"""Text and bytes up to here are certainly inline payloads."""


def dump_result(value: Any, sink: Sink) -> Dumped:
    """The payload of a result.

    Raises:
        CannotPickle: the text says that it is the result.
    """
    kind = type(value)
    if kind in PLAIN:
        if kind is int:
            if -_WORD < value < _WORD:
                return Dumped(pickle.dumps(value, PROTOCOL))
        elif (kind is not str and kind is not bytes) or len(value) < _SHORT:
            return Dumped(pickle.dumps(value, PROTOCOL))
    outer, context.keep_references = context.keep_references, True
    try:
        return dump_value(value, sink, lambda: f"the result, of type {kind.__qualname__},")
    finally:
        context.keep_references = outer


def load_result(payload: Buffer, source: Source | None) -> Any:
    """The value of a result's payload.

    Raises:
        CannotUnpickle: this process lacks what the value is made of.
    """
    return load_value(payload, source, what="the result")


def dump_error(exception: BaseException, *, traceback_text: str | None = None) -> bytes:
    """The payload of what a task raised; never raises: what cannot be pickled becomes a ``RemoteError``."""
    if traceback_text is None:
        try:
            traceback_text = "".join(traceback.format_exception(exception))
        except Exception:  # an exception whose own str() raises
            traceback_text = f"{type(exception).__qualname__}\n"
    try:
        payload = dump_in_band((exception, traceback_text))
        if len(payload) > INLINE_PAYLOAD_BYTES:
            raise ValueError(f"its pickle has {len(payload)} bytes, the limit is {INLINE_PAYLOAD_BYTES}")
        loaded, _ = pickle.loads(payload)  # a class with arguments of its own may dump and not load
        if not isinstance(loaded, BaseException):
            raise TypeError(f"it loads as {type(loaded).__qualname__}")
        return payload
    except Exception as why:
        kind = f"{type(exception).__module__}.{type(exception).__qualname__}"
        text = f"{kind}: {_shortened(_text_of(exception))}"
        text += f" (the exception itself cannot be pickled: {type(why).__name__}: {_shortened(_text_of(why))})"
        traceback_text = _shortened(traceback_text)
        return dump_in_band((RemoteError(text, kind, traceback_text), traceback_text))


def _text_of(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception as error:
        return f"<its str() raises {type(error).__name__}>"


def _shortened(text: str) -> str:
    """The end of a long text: there is the cause, and the line where it happened."""
    return text if len(text) <= _TEXT_BYTES // 4 else f"[…]{text[-_TEXT_BYTES // 4 :]}"


def load_error(payload: Buffer) -> BaseException:
    """The exception in ``payload``, with its remote traceback as cause; never raises."""
    try:
        exception, text = pickle.loads(payload)
        if not isinstance(exception, BaseException):
            raise TypeError(f"{type(exception).__name__} is no exception")
    except Exception as error:
        return CannotUnpickle(
            f"the task raised, and its exception cannot be unpickled here: {type(error).__name__}: {error}"
        )
    try:
        exception.__cause__ = RemoteTraceback(text)
    except Exception as error:  # a class that lets nothing be set
        return CannotUnpickle(f"the task raised {_text_of(exception)!r}, and: {type(error).__name__}: {error}")
    return exception
