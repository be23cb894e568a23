"""From the outcome and payload of an item to its value or its exception."""

from collections.abc import Callable
from typing import Any, Final

from scaler_protocol import Buffer
from scaler_protocol.messages import Outcome
from scaler_trio import errors
from scaler_trio.serialization import CannotUnpickle, Source, load_error, load_result

VALUE: Final = int(Outcome.VALUE)
_ERROR: Final = int(Outcome.ERROR)

_ERRORS: Final[dict[int, Callable[[str], BaseException]]] = {
    Outcome.CRASHED: errors.ProcessorDiedError,
    Outcome.CANCELLED: errors.TaskCancelled,
    Outcome.UNRUNNABLE: errors.NoWorkerError,
    Outcome.UPSTREAM: errors.DependencyFailed,
    Outcome.TIMED_OUT: errors.TaskTimeout,
    Outcome.LOST: errors.ObjectLost,
    Outcome.TOO_DEEP: errors.NestingLimitError,
}


def load_value(payload: Buffer, source: Source) -> tuple[Any, BaseException | None]:
    """A value, or why it cannot be had here; never raises for what the payload holds."""
    try:
        return load_result(payload, source), None
    except errors.ScalerError as error:
        return None, error
    except Exception as error:
        what = f"the result cannot be unpickled here: {type(error).__name__}: {error}"
        wrapped = CannotUnpickle(what)
        wrapped.__cause__ = error
        return None, wrapped


def load_failure(outcome: int, payload: Buffer) -> BaseException:
    """The exception of an item that did not end with a value."""
    if outcome == _ERROR:
        return load_error(payload)
    text = bytes(payload).decode(errors="replace")
    make = _ERRORS.get(outcome)
    if make is None:
        return errors.ProcessorDiedError(f"the task ended in a way that this client does not know ({outcome}): {text}")
    return make(text or _SENTENCES.get(outcome, "the task failed"))


_SENTENCES: Final = {
    int(Outcome.CRASHED): "the process that ran the task died",
    int(Outcome.CANCELLED): "the task was cancelled",
    int(Outcome.UNRUNNABLE): "no worker fits the task",
    int(Outcome.TIMED_OUT): "the task ran longer than its timeout, or than any task may run on its worker",
    int(Outcome.LOST): "an object that the task needs is gone",
}
