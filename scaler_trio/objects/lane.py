"""A lane: one blocking connection to an object storage server, over TCP or its local socket, without Trio.

Processors and clients' threads use it, which run user code and no event loop. Whoever uses a lane from several threads
holds a lock around each exchange; only ``end_lease`` may be called at any time, in any thread, even by the garbage
collector in the middle of an exchange.
"""

import array
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from scaler_protocol import (
    Buffer,
    Connection,
    ErrorCode,
    Identity,
    LocalProtocolError,
    Message,
    RemoteProtocolError,
    Role,
    Side,
    limits,
)
from scaler_protocol import messages as m
from scaler_trio.objects.errors import ObjectStoreError

RESPONSE_TIMEOUT_S: Final = 90.0
"""Silence after which a request is given up: a reservation may wait 60 s for room, and a busy machine has its share."""
_FILES: Final = 16
"""Files that may come with one read; what the server sends at most."""
_LOCAL: Final = "unix:"
_FINAL: Final = {ErrorCode.NOT_YOURS, ErrorCode.LIMIT, ErrorCode.OUT_OF_ORDER, ErrorCode.TOO_LARGE, ErrorCode.BAD_BODY}
"""What a server objects to and would object to again: no use to connect anew."""


class LaneBroken(Exception):
    """The connection ended; a new one may do. The text says how it ended."""


class Lane:
    """An open connection. Ownership: who opened it closes it; ``close`` also closes files not yet taken."""

    def __init__(self, sock: socket.socket, connection: Connection, where: str) -> None:
        self.pid = os.getpid()
        self.is_local = sock.family == socket.AF_UNIX
        self.where = where
        self.server = m.ObjectServer("", 0)
        self.is_closed = False
        self._ended: deque[bytes] = deque()  # leases that the server has not yet been told of
        self._sending = threading.Lock()
        self._socket = sock
        self._connection = connection
        self._messages: deque[Message] = deque()
        self._files: deque[int] = deque()

    @property
    def peer_session(self) -> bytes:
        """The process at the other end; the same for its TCP and its local socket."""
        assert self._connection.peer is not None
        return self._connection.peer.session

    def send(self, message: Message) -> None:
        """Send it all. Raises ``LaneBroken``."""
        buffers = self._connection.encode(message)
        try:
            with self._sending:
                self._send_all(buffers)
        except OSError as error:
            raise self._last_words(error) from error
        self._tell_ended()

    def end_lease(self, object_id: bytes) -> None:
        """Tell the server, now or with the next message, that the object is not mapped any more. Never waits."""
        if self.pid == os.getpid():  # else the lease is our parent's
            self._ended.append(object_id)
            self._tell_ended()

    def receive(self) -> Message:
        """The next message.

        Raises:
            LaneBroken: the connection ended, or was silent for ``RESPONSE_TIMEOUT_S``.
            ObjectStoreError: the server refuses to go on, and would again.
        """
        while not self._messages:
            self._read()
        return self._messages.popleft()

    def take_file(self) -> int:
        """The file that came with the message just received; the caller closes it. Raises ``LaneBroken``."""
        if not self._files:
            raise LaneBroken(f"{self.where} sent no file with its answer (this process may have too many files open)")
        return self._files.popleft()

    def close(self, *, politely: bool = False) -> None:
        """Close it; idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        if politely:
            try:
                self._socket.settimeout(0.1)
                self.send(m.Goodbye())
            except (LaneBroken, ObjectStoreError):
                pass  # it was a courtesy
        self._socket.close()
        while self._files:
            os.close(self._files.popleft())

    def shake_hands(self, deadline: float) -> None:
        """Complete the handshake and take the server's first message.

        Raises:
            LaneBroken, ObjectStoreError: it is no server of ours, or refuses us.
        """
        try:
            self._flush()
            while not self._connection.is_open:
                self._socket.settimeout(max(0.01, deadline - time.monotonic()))
                self._read()
        except OSError as error:
            raise LaneBroken(f"{self.where} did not complete the handshake: {error}") from error
        self._socket.settimeout(RESPONSE_TIMEOUT_S)
        hello = self.receive()
        if not isinstance(hello, m.ObjectServer):
            raise ObjectStoreError(f"{self.where} began with {type(hello).__name__}; expected ObjectServer")
        self.server = hello

    # ------------------------------------------------------------------------------------------------------- inside

    def _read(self) -> None:
        connection = self._connection
        buffer = connection.get_buffer()
        try:
            count = self._receive_files(buffer) if self.is_local else self._socket.recv_into(buffer)
            if count == 0:
                connection.received_eof()
                raise LaneBroken(f"{self.where} closed the connection")
            self._messages.extend(connection.received(count))
            self._flush()
        except TimeoutError as error:
            raise LaneBroken(f"{self.where} has not answered for {self._socket.gettimeout():.0f} s") from error
        except OSError as error:
            raise LaneBroken(f"the connection to {self.where} broke: {error.strerror or error}") from error
        except RemoteProtocolError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: RemoteProtocolError) -> Exception:
        text = f"{self.where}: {error.message}"
        was_open = (
            self._connection.peer_role is not None and self._connection.error is error and bool(self.server.limit_bytes)
        )
        if was_open and error.code not in _FINAL:
            return LaneBroken(text)
        return ObjectStoreError(text)

    def _receive_files(self, buffer: memoryview) -> int:
        space = socket.CMSG_SPACE(_FILES * array.array("i").itemsize)
        count, ancillary, flags, _ = self._socket.recvmsg_into([buffer], space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                files = array.array("i")
                files.frombytes(data[: len(data) - len(data) % files.itemsize])
                self._files.extend(files)
        if flags & socket.MSG_CTRUNC:
            raise LaneBroken(f"{self.where} sent a file, and this process has too many open: raise `ulimit -n`")
        return count

    def _tell_ended(self) -> None:
        """Unless somebody is sending, possibly below us in this very thread: then that one does it afterwards."""
        while self._ended and not self.is_closed and self._sending.acquire(blocking=False):
            try:
                count = min(len(self._ended), limits.BATCH_ROWS)
                ended = tuple([self._ended.popleft() for _ in range(count)])
                self._send_all(self._connection.encode(m.EndLease(ended)))
            except (OSError, LocalProtocolError):
                return  # broken, and all leases with it: the next request finds out
            finally:
                self._sending.release()

    def _send_all(self, buffers: Sequence[Buffer]) -> None:
        if len(buffers) == 1:
            self._socket.sendall(buffers[0])
            return
        sent = self._socket.sendmsg(buffers)
        for buffer in buffers:
            if sent < len(buffer):
                self._socket.sendall(memoryview(buffer)[sent:])
                sent = 0
            else:
                sent -= len(buffer)

    def _flush(self) -> None:
        outgoing = self._connection.take_outgoing()
        if outgoing:
            with self._sending:
                for buffer in outgoing:
                    self._socket.sendall(buffer)

    def _last_words(self, cause: OSError) -> Exception:
        """Why the server closed, if it said so before sending failed."""
        try:
            self._socket.settimeout(1.0)
            while True:
                self._read()
        except (LaneBroken, ObjectStoreError) as error:
            return error
        except OSError:
            return LaneBroken(f"the connection to {self.where} broke: {cause.strerror or cause}")


def open_lane(address: str, identity: Identity, *, token: bytes | None, timeout_s: float) -> Lane:
    """Connect to ``tcp://host:port`` or ``unix:/path`` and shake hands.

    Raises:
        ObjectStoreError: nobody is there, or somebody who does not accept us.
        LaneBroken: it broke off meanwhile.
    """
    deadline = time.monotonic() + timeout_s
    is_local = address.startswith(_LOCAL)
    # On another host than the server's, processors talk to the cache of their agent.
    expect = None if is_local else Role.OBJECTS
    connection = Connection(Side.DIALER, identity, token=token, expect=expect)
    sock = _connect(address, timeout_s)
    lane = Lane(sock, connection, f"the object storage at {address}")
    try:
        lane.shake_hands(deadline)
    except BaseException:
        lane.close()
        raise
    return lane


def _connect(address: str, timeout_s: float) -> socket.socket:
    try:
        if address.startswith(_LOCAL):
            return _connect_locally(address.removeprefix(_LOCAL), timeout_s)
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = parts.hostname, parts.port
        if parts.scheme != "tcp" or not host or port is None:
            raise ObjectStoreError(f"{address!r} is not an address of an object storage server; write tcp://host:port")
        sock = socket.create_connection((host, port), timeout=timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return sock
    except ValueError as error:
        raise ObjectStoreError(f"{address!r} is not an address of an object storage server ({error})") from error
    except OSError as error:
        text = f"no object storage server answered at {address} ({error.strerror or error}): is it running?"
        raise ObjectStoreError(text) from error


def _connect_locally(path: str, timeout_s: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock
