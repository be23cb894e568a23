"""What an item's end looks like in the ring: a value, an error without our frames, or an interrupt."""

import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from scaler_protocol.limits import INLINE_PAYLOAD_BYTES
from scaler_trio.serialization import RemoteError, dump_error, dump_result
from scaler_trio.worker.control_page import HAS_OBJECTS, HAS_PROFILE
from scaler_trio.worker.processor.profile import Profiled
from scaler_trio.worker.processor.store import ObjectStore

PLAIN: Final = frozenset({int, float, bool})
"""Types whose instances take pickle's C function alone: a sixth of what the general way costs."""

SHORT_BYTES: Final = 16 * 1024
"""Text and bytes up to here take it too; their pickle is certainly an inline payload."""

OBJECTS_PER_RESULT: Final = 16 * 1024
"""Ids of objects that one result may name: 384 KiB of the ring."""

_TEXT_BYTES: Final = 8 * 1024
"""What is kept of an error's text and traceback when all of it does not fit."""

_OURS: Final = str(Path(__file__).parent.parent)


class TaskInterrupted(BaseException):
    """Raised inside a task that is cancelled or whose time is up, so that its ``finally`` blocks run.

    Swallowing it does not help: a task that goes on is killed with its processor a second later.
    """


def dump_value(value: Any, store: ObjectStore) -> tuple[bytes, int]:
    """Payload and flags of a result.

    Raises:
        CannotPickle, and what writing a large one to the object storage raises: the item's error.
    """
    if type(value) is Profiled:
        payload, flags = dump_value(value.value, store)
        return payload + value.profile, flags | HAS_PROFILE
    payload, objects = dump_result(value, store)
    if not objects:
        return payload, 0
    if len(objects) > OBJECTS_PER_RESULT:
        raise ValueError(f"the result names {len(objects)} stored objects; the limit is {OBJECTS_PER_RESULT}")
    return b"".join((payload, *objects, len(objects).to_bytes(4, "little"))), HAS_OBJECTS


def dump_failure(error: BaseException) -> bytes:
    """The payload of what a task raised, with its traceback from the user's first frame on; inline in any case."""
    error.__traceback__ = _without_our_frames(error.__traceback__)
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # an exception whose own str() raises
        text = f"{type(error).__qualname__}\n"
    if len(text) > 4 * _TEXT_BYTES:
        # As of tasks within tasks, each of which adds its own: the first cause comes first, the outermost task last.
        left_out = len(text) - 3 * _TEXT_BYTES
        text = f"{text[:_TEXT_BYTES]}\n[… {left_out} characters …]\n{text[-2 * _TEXT_BYTES :]}"
    payload = dump_error(error, traceback_text=text)
    if len(payload) <= INLINE_PAYLOAD_BYTES:
        return payload
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    try:
        message = str(error)
    except Exception:
        message = "(its text cannot be made)"
    short = f"{kind}: {message[:_TEXT_BYTES]} (shortened: the exception's pickle has {len(payload)} bytes)"
    return dump_error(RemoteError(short, kind, text[-_TEXT_BYTES:]), traceback_text=text[-_TEXT_BYTES:])


def _without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return trace


def flush_output() -> None:
    """Write out what user code printed; its streams may be anything, or closed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
