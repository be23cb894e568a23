"""Values to pickles and back, with large ones going to the object storage.

One pickler is kept per thread and its memo cleared between values: a fresh cloudpickle pickler costs 1.9 µs more.
Values of plain types take pickle's own C function.
"""

import io
import pickle
import struct
import threading
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import cloudpickle

from scaler_protocol import Buffer
from scaler_protocol.limits import INLINE_PAYLOAD_BYTES
from scaler_trio.serialization.errors import CannotPickle, CannotUnpickle, SerializationError
from scaler_trio.serialization.references import Sink, Source, Stored, context

PROTOCOL: Final = 5
OUT_OF_BAND_BYTES: Final = 16 * 1024
"""Buffers smaller than this stay within the pickle: copying them is cheaper than a part of their own."""

ALIGNMENT: Final = 64
PLAIN: Final = frozenset({int, float, str, bytes, bool, type(None)})
"""Types whose exact instances look the same whatever pickler, memo or process they meet."""

_OBJECT_HEAD: Final = struct.Struct("<II")


class Dumped(NamedTuple):
    """A payload, and the objects that it names."""

    payload: bytes
    objects: tuple[bytes, ...] = ()


class _Picklers(threading.local):
    def __init__(self) -> None:
        self.file = io.BytesIO()
        self.buffers: list[pickle.PickleBuffer] = []
        self.in_band = cloudpickle.Pickler(self.file, PROTOCOL)
        self.out_of_band = cloudpickle.Pickler(self.file, PROTOCOL, buffer_callback=self._take)
        self.busy = False

    def _take(self, buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < OUT_OF_BAND_BYTES:
            return True
        self.buffers.append(buffer)
        return False


_picklers = _Picklers()


def dump_parts(value: Any) -> tuple[bytes, list[memoryview], list[bytes]]:
    """Pickle anything: the pickle, its large out-of-band buffers, and the ids of the objects that it names.

    Raises whatever the value's own pickling raises.
    """
    mine = _picklers
    if mine.busy:  # a value's __reduce__ dumps something itself
        mine = _Picklers()
    mine.busy = True
    outer, context.named = context.named, []
    mine.file.seek(0)
    mine.file.truncate()
    try:
        mine.out_of_band.dump(value)
        return mine.file.getvalue(), [b.raw() for b in mine.buffers], context.named
    finally:
        context.named = outer
        _forget(mine.out_of_band)
        mine.buffers.clear()
        mine.busy = False


def dump_in_band(value: Any) -> bytes:
    """Pickle anything into one piece."""
    file = io.BytesIO()
    cloudpickle.Pickler(file, PROTOCOL).dump(value)
    return file.getvalue()


def _forget(pickler: Any) -> None:
    pickler.clear_memo()
    if pickler.globals_ref:
        pickler.globals_ref.clear()


def object_parts(data: bytes, buffers: Sequence[memoryview]) -> tuple[list[Buffer], int]:
    """The parts of a stored object and their size together: head, sizes, pickle, then each buffer aligned."""
    head = _OBJECT_HEAD.pack(len(buffers), len(data)) + struct.pack(f"<{len(buffers)}Q", *[b.nbytes for b in buffers])
    parts: list[Buffer] = [head, data]
    size = len(head) + len(data)
    for buffer in buffers:
        padding = -size % ALIGNMENT
        if padding:
            parts.append(bytes(padding))
        parts.append(buffer)
        size += padding + buffer.nbytes
    return parts, size


def write_object(value: Any, sink: Sink) -> tuple[bytes, int]:
    """Store one value, whatever its size; its id and its size in bytes."""
    data, buffers, _ = dump_parts(value)
    parts, size = object_parts(data, buffers)
    return sink.write(parts, size, value), size


def load_object(view: memoryview) -> Any:
    """The value in a stored object; its arrays are views of ``view``."""
    count, size = _OBJECT_HEAD.unpack_from(view)
    sizes = struct.unpack_from(f"<{count}Q", view, _OBJECT_HEAD.size)
    at = _OBJECT_HEAD.size + 8 * count
    data = view[at : at + size]
    at += size
    buffers = []
    for buffer_size in sizes:
        at += -at % ALIGNMENT
        buffers.append(view[at : at + buffer_size])
        at += buffer_size
    return pickle.loads(data, buffers=buffers)


def dump_value(value: Any, sink: Sink) -> Dumped:
    """Pickle ``value``; if it is large, store it and pickle a placeholder."""
    data, buffers, named = dump_parts(value)
    if not buffers and len(data) <= INLINE_PAYLOAD_BYTES:
        return Dumped(data, tuple(named))
    if len(data) + sum([b.nbytes for b in buffers]) <= INLINE_PAYLOAD_BYTES:
        return Dumped(dump_in_band(value), tuple(named))
    parts, size = object_parts(data, buffers)
    object_id = sink.write(parts, size, value)
    return Dumped(pickle.dumps(Stored(object_id), PROTOCOL), (object_id, *named))


def load_value(payload: Buffer, source: Source | None, inputs: Sequence[Buffer] = ()) -> Any:
    """The value of a payload.

    Raises:
        CannotUnpickle: a module is missing here, or the bytes do not fit the classes that this process has.
    """
    context.source = source
    context.inputs = inputs
    context.load_value = load_object
    context.load_input = _load_input
    try:
        return pickle.loads(payload)
    except SerializationError:
        raise
    except ModuleNotFoundError as error:
        raise CannotUnpickle(
            f"the module {error.name!r} is missing here ({error}): install it on every worker, "
            "or start the workers in the directory that has it"
        ) from error
    finally:
        if context.resolved:
            context.resolved = {}


def _load_input(payload: Buffer) -> Any:
    return pickle.loads(payload)


def cannot_pickle(what: str, error: Exception) -> CannotPickle:
    """The error for ``what``, caused by ``error``."""
    return CannotPickle(f"{what} cannot be pickled: {type(error).__name__}: {error}")
