"""Values to pickles and back, with large ones going to the object storage.

One pickler is kept per thread and its memo cleared between values: a fresh cloudpickle pickler costs 1.9 µs more.
Values of plain types take pickle's own C function.
"""

import io
import pickle
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import cloudpickle

from scaler_protocol import Buffer
from scaler_protocol.limits import INLINE_PAYLOAD_BYTES
from scaler_trio.errors import CannotPickle, CannotUnpickle, SerializationError
from scaler_trio.serialization.objects import object_parts
from scaler_trio.serialization.references import Load, Sink, Source, Stored, context

PROTOCOL: Final = 5
OUT_OF_BAND_BYTES: Final = 16 * 1024
"""Buffers smaller than this stay within the pickle: copying them is cheaper than a part of their own."""

_IN_BAND_BYTES: Final = 256
"""What the pickle of a pickle with buffers adds to them, at most."""

PLAIN: Final = frozenset({int, float, str, bytes, bool, type(None)})
"""Types whose exact instances look the same whatever pickler, memo or process they meet."""


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
    try:
        mine.out_of_band.dump(value)
        return mine.file.getvalue(), [b.raw() for b in mine.buffers], _once(context.named)
    finally:
        context.named = outer
        _forget(mine.out_of_band)
        mine.buffers.clear()
        mine.file.seek(0)
        mine.file.truncate()  # at once, as it may be large
        mine.busy = False


def _once(names: list[bytes]) -> list[bytes]:
    return names if len(names) < 2 else list(dict.fromkeys(names))


def dump_in_band(value: Any) -> bytes:
    """Pickle anything into one piece."""
    file = io.BytesIO()
    cloudpickle.Pickler(file, PROTOCOL).dump(value)
    return file.getvalue()


def _forget(pickler: Any) -> None:
    pickler.clear_memo()
    if pickler.globals_ref:
        pickler.globals_ref.clear()


def write_object(value: Any, sink: Sink) -> tuple[bytes, int]:
    """Store one value, whatever its size; its id and its size in bytes."""
    data, buffers, _ = dump_parts(value)
    parts, size = object_parts(data, buffers)
    return sink.write(parts, size, value), size


def dump_value(value: Any, sink: Sink, what: Callable[[], str]) -> Dumped:
    """Pickle ``value``; if it is large, store it and pickle a placeholder.

    Raises:
        CannotPickle: with ``what()`` as its subject. What the sink raises passes unchanged.
    """
    try:
        parts = dump_parts(value)
    except Exception as error:
        raise cannot_pickle(what(), error) from error
    return place(value, parts, sink)


def place(value: Any, parts: tuple[bytes, list[memoryview], list[bytes]], sink: Sink) -> Dumped:
    """The payload of what ``dump_parts`` made of ``value``: itself if it is small, else a placeholder for an object."""
    data, buffers, named = parts
    if not buffers and len(data) <= INLINE_PAYLOAD_BYTES:
        return Dumped(data, tuple(named))
    size = len(data) + sum([b.nbytes for b in buffers])
    if size <= INLINE_PAYLOAD_BYTES - _IN_BAND_BYTES * len(buffers):
        return Dumped(_joined(data, buffers), tuple(named))
    pieces, size = object_parts(data, buffers)
    object_id = sink.write(pieces, size, value)
    return Dumped(pickle.dumps(Stored(object_id), PROTOCOL), (object_id, *named))


def _joined(data: bytes, buffers: Sequence[memoryview]) -> bytes:
    """One pickle of a pickle and its buffers: a second dump could have effects, and would name references anew."""
    return pickle.dumps(_Joined(data, [bytearray(b) for b in buffers]), PROTOCOL)


class _Joined:
    """Loads as the value of a pickle with buffers, which are bytearrays so that its arrays are writable."""

    __slots__ = ("buffers", "data")

    def __init__(self, data: bytes, buffers: list[bytearray]) -> None:
        self.data = data
        self.buffers = buffers

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_joined, (self.data, self.buffers)


def _load_joined(data: bytes, buffers: list[bytearray]) -> Any:
    return pickle.loads(data, buffers=buffers)


def load_value(payload: Buffer, source: Source | None, inputs: Sequence[Buffer] = (), *, what: str) -> Any:
    """The value of a payload, which errors call ``what``.

    Raises:
        CannotUnpickle: a module is missing here, or the bytes do not fit the classes that this process has.
            What the source raises passes unchanged.
    """
    mine = context
    outer, mine.load = mine.load, Load(source, inputs)
    try:
        return pickle.loads(payload)
    except SerializationError:
        raise
    except Exception as error:
        if error is mine.load.failure:
            raise
        raise cannot_unpickle(what, error) from error
    finally:
        mine.load = outer


def cannot_unpickle(what: str, error: Exception) -> CannotUnpickle:
    """The error for ``what`` that came, caused by ``error``."""
    if isinstance(error, ModuleNotFoundError):
        return CannotUnpickle(
            f"{what} cannot be unpickled here, as the module {error.name!r} is missing ({error}): "
            "install it on every machine, or start the workers in the directory that has it"
        )
    return CannotUnpickle(f"{what} cannot be unpickled here: {type(error).__name__}: {error}")


def cannot_pickle(what: str, error: Exception) -> CannotPickle:
    """The error for ``what``, caused by ``error``."""
    return CannotPickle(f"{what} cannot be pickled: {type(error).__name__}: {error}")
