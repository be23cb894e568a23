"""Reading and writing stored objects from ordinary threads, as processors and clients do; blocking, without Trio.

On the server's host an object is written into, and mapped from, a file that the server passes over its local socket;
elsewhere, and with ``shared_memory=False``, it travels over TCP. Only opaque bytes here.
"""

import errno
import itertools
import mmap
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from scaler_protocol import Buffer, Identity, Message, Role, limits
from scaler_protocol import messages as m
from scaler_protocol.ids import ObjectId, SessionId, object_id, short
from scaler_trio.objects.errors import ObjectMissing, ObjectStoreError, ObjectStoreFull
from scaler_trio.objects.lane import Lane, LaneBroken, open_lane
from scaler_trio.objects.pieces import flat_views, pieces, read_into, write_views

MAPPED_BYTES: Final = 1 * limits.MIB
"""From this size on objects are mapped; smaller ones are copied out, which is quicker and ends the lease at once."""

_WITHOUT_DESCRIPTOR: Final[dict[str, Any]] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
"""Before Python 3.13 every mapping keeps a descriptor of its own."""

_numbers = itertools.count(1)  # of the objects that this process writes, whatever their session
_Result = TypeVar("_Result")


class ObjectAccess:
    """One process's way to its object storage server. Connects when first used, and once more when that broke.

    Views that ``read`` returned stay valid after ``close``, after the server's end and after a fork. In a forked child
    it works too, over a connection and with a session of the child's own.
    """

    def __init__(
        self,
        address: str,
        token: bytes | None,
        session: bytes,
        role: Role,
        *,
        shared_memory: bool = True,
        timeout_s: float = 5.0,
    ) -> None:
        """Nothing is connected yet.

        Args:
            address: ``tcp://host:port`` of the server, or ``unix:/path`` of an agent's cache.
            token: the shared secret, or None for none.
            session: whose objects it writes.
            role: ``CLIENT`` or ``PROCESSOR``; a processor's write waits longer for room.
            shared_memory: whether to use it where that is possible.
            timeout_s: for connecting.
        """
        self._address = address
        self._token = token
        self._session = SessionId(session)
        self._role = role
        self._shared_memory = shared_memory
        self._timeout_s = timeout_s
        self._lock = threading.Lock()  # held around a request and its answer
        self._lane: Lane | None = None
        self._is_closed = False
        _everyone.add(self)

    @property
    def is_local(self) -> bool | None:
        """Whether shared memory is in use; None while not connected."""
        lane = self._lane
        return None if lane is None else lane.is_local

    def write(self, parts: Sequence[Buffer], size_bytes: int) -> ObjectId:
        """Store the parts, one after the other, as one object. It is the caller's until the scheduler adopts it.

        Raises:
            ObjectStoreFull: no room, and none came free in time; the sentence names limits and usage.
            ObjectStoreError: the server cannot be reached, or broke off twice.
            ValueError: the parts are not ``size_bytes`` long.

        An exception in the middle (a signal handler's, ``KeyboardInterrupt``) gives the reservation back.
        """
        views = flat_views(parts, size_bytes)
        return self._exchange(lambda lane: self._write(lane, views, size_bytes))

    def read(self, object_id: bytes) -> memoryview:
        """The whole object, privately writable: pages that the caller writes to become its own copies.

        An object of ``MAPPED_BYTES`` or more is mapped; the server keeps it in place until the last view of the
        mapping is garbage. Each call makes a mapping of its own.

        Raises:
            ObjectMissing: there is no such object.
            ObjectStoreError: the server cannot be reached, or broke off twice.
        """
        return self._exchange(lambda lane: self._read(lane, object_id))

    def close(self) -> None:
        """Close the connection; idempotent. A later ``read`` or ``write`` raises ``ObjectStoreError``."""
        with self._lock:
            self._is_closed = True
            self._drop_lane(politely=True)

    # --------------------------------------------------------------------------------------------------- one request

    def _exchange(self, request: Callable[[Lane], _Result]) -> _Result:
        with self._lock:
            for is_last in (False, True):
                is_new = self._lane is None
                try:
                    return request(self._lane or self._connect())
                except LaneBroken as error:
                    self._drop_lane()
                    if is_new or is_last:
                        raise ObjectStoreError(str(error)) from error
                except (ObjectMissing, ObjectStoreFull):
                    raise  # an answer like any other: the connection is in step
                except BaseException:
                    self._drop_lane()  # somewhere between request and answer
                    raise
        raise AssertionError("unreachable")

    def _connect(self) -> Lane:
        if self._is_closed:
            raise ObjectStoreError("this access to the object storage is closed")
        lane = self._open(self._address)
        path = lane.server.local_socket
        if not lane.is_local and self._shared_memory and path:
            lane = self._prefer_local(lane, f"unix:{path}")
        self._lane = lane
        return lane

    def _prefer_local(self, remote: Lane, address: str) -> Lane:
        """The local lane to the same server, or else the one there is."""
        try:
            local = self._open(address)
        except (ObjectStoreError, LaneBroken):
            return remote  # the path does not lead to the server: another host, or another user
        is_same = local.peer_session == remote.peer_session
        (remote if is_same else local).close(politely=True)
        return local if is_same else remote

    def _open(self, address: str) -> Lane:
        name = f"{self._role.name.lower()} {os.getpid()}"
        identity = Identity(self._role, self._session, name, os.urandom(limits.NONCE_BYTES))
        return open_lane(address, identity, token=self._token, timeout_s=self._timeout_s)

    def _drop_lane(self, *, politely: bool = False) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.close(politely=politely)

    # ------------------------------------------------------------------------------------------------------- writing

    def _write(self, lane: Lane, views: list[memoryview], size_bytes: int) -> ObjectId:
        written = object_id(self._session, next(_numbers))
        lane.send(m.Reserve(written, size_bytes))
        _answer(lane, written, m.Granted)
        if lane.is_local:
            self._fill_file(lane, written, views)
        else:
            offset = 0
            for piece in pieces(views, limits.OBJECT_CHUNK_BYTES):
                data = piece[0] if len(piece) == 1 else b"".join(piece)
                lane.send(m.ObjectChunk(written, offset, data))
                offset += len(data)
        lane.send(m.Seal(written))
        _answer(lane, written, m.Sealed)
        return written

    def _fill_file(self, lane: Lane, written: ObjectId, views: list[memoryview]) -> None:
        descriptor = lane.take_file()
        try:
            write_views(descriptor, views)
        except OSError as error:
            text = f"object {short(written)} could not be written to shared memory: {error.strerror or error}"
            raise ObjectStoreError(text) from error
        finally:
            os.close(descriptor)  # before it is sealed: the segment may be another object's later

    # ------------------------------------------------------------------------------------------------------- reading

    def _read(self, lane: Lane, wanted: bytes) -> memoryview:
        lane.send(m.Fetch(wanted))
        size_bytes = _answer(lane, wanted, m.Found).size
        if lane.is_local:
            return self._map_file(lane, wanted, size_bytes)
        return _receive_chunks(lane, wanted, size_bytes)

    def _map_file(self, lane: Lane, wanted: bytes, size_bytes: int) -> memoryview:
        descriptor = lane.take_file()
        try:
            mapping = _map_privately(descriptor, size_bytes) if size_bytes >= MAPPED_BYTES else None
            if mapping is None:
                copy = _room_for(size_bytes)
                read_into(descriptor, copy)
                lane.end_lease(wanted)
                return copy
        except OSError as error:
            text = f"object {short(wanted)} of {size_bytes} bytes cannot be read: {error.strerror or error}"
            raise ObjectStoreError(text) from error
        finally:
            os.close(descriptor)
        # Called after the memory is unmapped, in whichever thread drops the last view.
        weakref.finalize(mapping, lane.end_lease, wanted).atexit = False
        return memoryview(mapping)

    def _forget_parent(self) -> None:
        """In a forked child: what is open is the parent's, and the lock may be held by a thread that is not here."""
        self._lock = threading.Lock()
        lane, self._lane = self._lane, None
        self._session = SessionId(os.urandom(16))
        if lane is not None:
            lane.close()  # our copy of the descriptor, so that the parent's end is seen


def _answer(lane: Lane, wanted: bytes, kind: type[Message]) -> Message:
    """The server's answer about this object, which is of ``kind``, or else an exception."""
    while True:
        message = lane.receive()
        if isinstance(message, m.ObjectUsage | m.Pong):
            continue
        if isinstance(message, m.Goodbye):
            raise LaneBroken(f"{lane.where} said goodbye: {message.reason}")
        if getattr(message, "object", None) != wanted:
            raise LaneBroken(f"{lane.where} answered another question: {message!r}")
        if isinstance(message, m.Refused):
            raise ObjectStoreFull(message.text)
        if isinstance(message, m.Missing):
            raise ObjectMissing(
                f"object {short(wanted)} is not, or no longer, in {lane.where}: "
                "it was released, or the server was restarted"
            )
        if not isinstance(message, kind):
            raise LaneBroken(f"{lane.where} answered {message!r}; expected {kind.__name__}")
        return message


def _receive_chunks(lane: Lane, wanted: bytes, size_bytes: int) -> memoryview:
    target = _room_for(size_bytes)
    offset = 0
    while offset < size_bytes:
        chunk = _answer(lane, wanted, m.ObjectChunk)
        end = offset + len(chunk.data)
        if chunk.offset != offset or not offset < end <= size_bytes:
            raise LaneBroken(f"{lane.where} sent bytes {chunk.offset} to {end}; expected {offset} on, of {size_bytes}")
        target[offset:end] = chunk.data
        offset = end
    return target


def _map_privately(descriptor: int, size_bytes: int) -> mmap.mmap | None:
    """The file, copy-on-write; None when this process has too many files open for one more mapping."""
    try:
        return mmap.mmap(
            descriptor, size_bytes, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, **_WITHOUT_DESCRIPTOR
        )
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return None
        raise


def _room_for(size_bytes: int) -> memoryview:
    """Memory of our own. Large: unlike a bytearray not filled with zeros, and in huge pages where there are any."""
    if size_bytes < MAPPED_BYTES:
        return memoryview(bytearray(size_bytes))
    memory = mmap.mmap(-1, size_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


_everyone: "weakref.WeakSet[ObjectAccess]" = weakref.WeakSet()


def _forget_parents() -> None:
    for access in list(_everyone):
        access._forget_parent()


os.register_at_fork(after_in_child=_forget_parents)
