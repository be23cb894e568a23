"""Large arguments and results: writing, reading, and not writing again what the storage has already.

A plain argument that is met again is compared with its stored copy, so that a change in place is never missed; within
one call of ``map`` over containers it is trusted, as all items are there at once. What the cache holds is bounded by
bytes; the longest unused goes first.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from scaler_protocol import Buffer, Role, limits
from scaler_trio.client.core import events as ev
from scaler_trio.errors import ObjectLost, ObjectStorageFailed

if TYPE_CHECKING:
    from scaler_trio.client.session.session import Session
    from scaler_trio.objects.access import ObjectAccess

CACHE_BYTES: Final = 256 * limits.MIB
"""Stored arguments that are kept in case they are used again; they are the storage's memory, not this process's."""

CALL_BYTES: Final = 256 * limits.MIB
"""Arguments that one call keeps alive to recognise them; a generator of large arrays must not pile up here."""

COMPARE_BYTES: Final = limits.MIB
"""Compared at a time: a copy of this size stays in the processor's cache."""


@define
class _Stored:
    value: "weakref.ref[Any]"
    object_id: bytes
    size_bytes: int


class ClientObjects:
    """A client's way to the object storage: sink and source of its pickles. Thread-safe."""

    def __init__(self, session: "Session", identity: bytes, cache_bytes: int = CACHE_BYTES) -> None:
        self._session = session
        self._identity = identity
        self._address = ""
        self._access: ObjectAccess | None = None
        self._lock = threading.Lock()  # of the cache; never held while something is read or written
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[int, _Stored] = OrderedDict()  # by id of the value
        self._cached_bytes = 0
        self._closed = False

    def set_address(self, address: str) -> None:
        """Where objects are stored from now on; "" = nowhere."""
        with self._lock:
            if address == self._address:
                return
            self._address = address
            access, self._access = self._access, None
            self._cache.clear()
            self._cached_bytes = 0
        if access is not None:
            access.close()

    def close(self) -> None:
        """Close the connection; views that were read stay valid."""
        with self._lock:
            access, self._access = self._access, None
            self._closed = True
            self._cache.clear()
        if access is not None:
            access.close()

    def forget(self) -> list[bytes]:
        """Empty the cache; what is to be released."""
        with self._lock:
            objects = [stored.object_id for stored in self._cache.values()]
            self._cache.clear()
            self._cached_bytes = 0
        return objects

    # ------------------------------------------------------------------------------------------------------ reading

    def read(self, object_id: bytes) -> memoryview:
        """The whole object.

        Raises:
            ObjectLost: it is gone.
            ObjectStorageFailed: the storage cannot be reached.
        """
        from scaler_trio.objects.errors import ObjectMissing, ObjectStoreError

        try:
            return self._open(f"object {object_id[-8:].hex()}").read(object_id)
        except ObjectMissing as error:
            raise ObjectLost(str(error)) from error
        except ObjectStoreError as error:
            raise ObjectStorageFailed(str(error)) from error

    # ------------------------------------------------------------------------------------------------------ writing

    def write(self, parts: Sequence[Buffer], size_bytes: int, value: object) -> bytes:
        """Store an argument, or find it stored, unchanged.

        Raises:
            ObjectStorageFailed: no room, or no storage.
        """
        with self._lock:
            stored = self._cache.get(id(value))
            if stored is not None:
                self._session.pins.pin(stored.object_id)  # before anybody else evicts it
        is_met = stored is not None and stored.value() is value and stored.size_bytes == size_bytes
        if stored is not None and is_met and self._is_unchanged(stored, parts):
            with self._lock:
                if id(value) in self._cache:
                    self._cache.move_to_end(id(value))
            return stored.object_id
        object_id = self.write_new(parts, size_bytes)
        self._session.pins.pin(object_id)
        self._remember(value, object_id, size_bytes)
        return object_id

    def is_cached(self, value: object) -> bool:
        """Whether the value is known as stored for as long as it lives, or until others take its room."""
        return id(value) in self._cache

    def use_again(self, value: object, object_id: bytes, *, is_held: bool) -> bool:
        """Whether the value, which was written as this object, is stored for as long as its row needs."""
        pins = self._session.pins
        with self._lock:
            stored = self._cache.get(id(value))
            if stored is not None and stored.object_id == object_id:
                self._cache.move_to_end(id(value))
            elif not is_held:
                return object_id in pins.counts  # of this very block; a release may have been asked for
            pins.pin(object_id)
            return True

    def write_new(self, parts: Sequence[Buffer], size_bytes: int) -> bytes:
        """Store bytes; they are this client's until the scheduler hears of a reference to them.

        Raises:
            ObjectStorageFailed: no room, or no storage.
        """
        from scaler_trio.objects.errors import ObjectStoreError

        try:
            return self._open(f"a value of {size_bytes} bytes").write(parts, size_bytes)
        except ObjectStoreError as error:
            raise ObjectStorageFailed(str(error)) from error

    def hold(self, object_id: bytes, size_bytes: int) -> None:
        """Keep an object beyond the tasks that read it."""
        self._session.handle(ev.ObjectsHeld(((object_id, size_bytes),)))

    def release(self, objects: Iterable[bytes]) -> None:
        """Keep them no longer. For finalizers too."""
        self._session.release(objects)

    def _remember(self, value: object, object_id: bytes, size_bytes: int) -> None:
        if size_bytes > self._cache_bytes:
            return
        key = id(value)
        try:
            reference = weakref.ref(value, lambda _: self._forget_dead(key, object_id))
        except TypeError:
            return  # nobody could tell it from a later object at the same address
        self.hold(object_id, size_bytes)
        released = []
        with self._lock:
            if (old := self._cache.pop(key, None)) is not None:
                self._cached_bytes -= old.size_bytes
                released.append(old.object_id)
            self._cache[key] = _Stored(reference, object_id, size_bytes)
            self._cached_bytes += size_bytes
            while self._cached_bytes > self._cache_bytes:
                _, oldest = self._cache.popitem(last=False)
                self._cached_bytes -= oldest.size_bytes
                released.append(oldest.object_id)
        self._session.release(released)

    def _forget_dead(self, key: int, object_id: bytes) -> None:
        """The value is gone. Called wherever the garbage collector runs, so without the lock."""
        stored = self._cache.get(key)
        if stored is not None and stored.object_id == object_id and self._cache.pop(key, None) is not None:
            self._cached_bytes -= stored.size_bytes
            self._session.release((object_id,))

    def _is_unchanged(self, stored: _Stored, parts: Sequence[Buffer]) -> bool:
        try:
            view = self.read(stored.object_id)
        except (ObjectLost, ObjectStorageFailed):
            return False
        at = 0
        for part in parts:
            flat = memoryview(part).cast("B")
            for start in range(0, len(flat), COMPARE_BYTES):
                piece = flat[start : start + COMPARE_BYTES]
                # A bytearray compares with any buffer by memcmp; a memoryview would compare byte by byte.
                if bytearray(view[at : at + len(piece)]) != piece:
                    return False
                at += len(piece)
        return at == stored.size_bytes

    def _open(self, what: str) -> "ObjectAccess":
        with self._lock:
            if self._access is None:
                if self._closed:
                    raise ObjectStorageFailed(f"{what} cannot be had: the client is closed")
                if not self._address:
                    raise ObjectStorageFailed(
                        f"{what} needs an object storage server (more than {limits.INLINE_PAYLOAD_BYTES} bytes do not "
                        "travel inside messages), and the scheduler has none; start one and name it to the scheduler"
                    )
                from scaler_trio.objects.access import ObjectAccess

                self._access = ObjectAccess(self._address, self._session.token, self._identity, Role.CLIENT)
            return self._access


class CallObjects:
    """The sink of one call that reads all its items at once: a value that it met before is not compared."""

    def __init__(self, objects: ClientObjects) -> None:
        self._objects = objects
        self._met: OrderedDict[int, tuple[object, bytes, int]] = OrderedDict()
        self._met_bytes = 0
        self._held: dict[bytes, None] = {}  # what the client's cache does not keep, as bytes: kept for this call
        weakref.finalize(self, objects.release, self._held).atexit = False

    def write(self, parts: Sequence[Buffer], size_bytes: int, value: object) -> bytes:
        """Store an argument, once for this call."""
        met = self._met.get(id(value))
        # It is kept alive here, so its address is its own.
        if met is not None and self._objects.use_again(value, met[1], is_held=met[1] in self._held):
            return met[1]
        object_id = self._objects.write(parts, size_bytes, value)
        if self._met.pop(id(value), None) is None:
            self._met_bytes += size_bytes
        self._met[id(value)] = (value, object_id, size_bytes)
        if not self._objects.is_cached(value):
            self._objects.hold(object_id, size_bytes)
            self._held[object_id] = None
        while self._met_bytes > CALL_BYTES and len(self._met) > 1:
            _, (_, oldest, oldest_bytes) = self._met.popitem(last=False)
            self._met_bytes -= oldest_bytes
            if oldest in self._held:
                del self._held[oldest]
                self._objects.release((oldest,))
        return object_id


class FreshObjects:
    """The sink of a call that wants its arguments stored anew."""

    def __init__(self, objects: ClientObjects) -> None:
        self._objects = objects

    def write(self, parts: Sequence[Buffer], size_bytes: int, value: object) -> bytes:
        """Store an argument."""
        return self._objects.write_new(parts, size_bytes)


class Reader:
    """A source that remembers what was read through it."""

    def __init__(self, objects: ClientObjects) -> None:
        self._objects = objects
        self.ids: set[bytes] = set()

    def read(self, object_id: bytes) -> memoryview:
        """The whole object."""
        view = self._objects.read(object_id)
        self.ids.add(object_id)
        return view
