"""Results and exceptions on their way back."""

import pickle
import traceback
from typing import Any

from scaler_protocol import Buffer
from scaler_trio.serialization.errors import CannotUnpickle, RemoteError, RemoteTraceback
from scaler_trio.serialization.pickling import (
    PLAIN,
    PROTOCOL,
    Dumped,
    cannot_pickle,
    dump_in_band,
    dump_value,
    load_value,
)
from scaler_trio.serialization.references import Sink, Source, context

_SHORT = 16 * 1024
"""Text and bytes up to here are certainly inline payloads."""


def dump_result(value: Any, sink: Sink) -> Dumped:
    """The payload of a result.

    Raises:
        CannotPickle: the text says that it is the result.
    """
    kind = type(value)
    if kind in PLAIN and ((kind is not str and kind is not bytes) or len(value) < _SHORT) and kind is not int:
        return Dumped(pickle.dumps(value, PROTOCOL))
    context.keep_references = True
    try:
        return dump_value(value, sink)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError, NotImplementedError) as error:
        raise cannot_pickle(f"the result, of type {kind.__qualname__},", error) from error
    finally:
        context.keep_references = False


def load_result(payload: Buffer, source: Source | None) -> Any:
    """The value of a result's payload.

    Raises:
        CannotUnpickle: this process lacks what the value is made of.
    """
    return load_value(payload, source)


def dump_error(exception: BaseException, *, traceback_text: str | None = None) -> bytes:
    """The payload of what a task raised; never raises: what cannot be pickled becomes a ``RemoteError``."""
    if traceback_text is None:
        traceback_text = "".join(traceback.format_exception(exception))
    try:
        payload = dump_in_band((exception, traceback_text))
        pickle.loads(payload)  # a class with arguments of its own may dump and not load
        return payload
    except Exception as why:
        kind = f"{type(exception).__module__}.{type(exception).__qualname__}"
        try:
            text = f"{kind}: {exception}"
        except Exception:
            text = kind
        text += f" (the exception itself cannot be pickled: {type(why).__name__}: {why})"
        return dump_in_band((RemoteError(text, kind, traceback_text), traceback_text))


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
    exception.__cause__ = RemoteTraceback(text)
    return exception
