"""The byte stream below a link: the seam at which tests put a stream that chops, hangs or breaks.

Reading and writing are non-blocking calls plus a wait, so that a lone message costs one system call and no task switch.
"""

import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence

import trio

from scaler_protocol import Buffer

MAX_BUFFERS = 512
"""Buffers in one ``sendmsg``; the kernel takes up to 1024."""


class Stream(ABC):
    """A bidirectional stream of bytes. ``BlockingIOError`` means: wait, then try again; ``OSError``: it is broken."""

    @abstractmethod
    def recv_into(self, buffer: memoryview) -> int:
        """Read what is there into ``buffer``; 0 = the peer has closed its end."""

    @abstractmethod
    def send(self, buffers: Sequence[Buffer]) -> int:
        """Write as much as goes; the number of bytes taken."""

    @abstractmethod
    async def wait_readable(self) -> None:
        """Return when ``recv_into`` would do something. Raises ``trio.ClosedResourceError`` when closed meanwhile."""

    @abstractmethod
    async def wait_writable(self) -> None:
        """Return when ``send`` would do something. Raises ``trio.ClosedResourceError`` when closed meanwhile."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back; idempotent, and wakes who waits."""

    @property
    @abstractmethod
    def peer(self) -> str:
        """The other end, for people."""


class SocketStream(Stream):
    """A connected TCP or Unix socket; owned by this object from now on."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _keep_alive(sock)
        self.socket = sock
        self._peer = _describe(sock)

    def recv_into(self, buffer: memoryview) -> int:
        return self.socket.recv_into(buffer)

    def send(self, buffers: Sequence[Buffer]) -> int:
        if len(buffers) == 1:
            return self.socket.send(buffers[0])
        return self.socket.sendmsg(buffers[:MAX_BUFFERS])

    async def wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self.socket)

    async def wait_writable(self) -> None:
        await trio.lowlevel.wait_writable(self.socket)

    def close(self) -> None:
        if self.socket.fileno() >= 0:
            try:
                trio.lowlevel.notify_closing(self.socket)
            except RuntimeError:
                pass  # closed after the loop has ended: nobody can be waiting
            self.socket.close()

    @property
    def peer(self) -> str:
        return self._peer


def _keep_alive(sock: socket.socket) -> None:
    """A peer whose machine has vanished is noticed within 30 s, whatever its process was doing."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 30_000)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _describe(sock: socket.socket) -> str:
    try:
        name = sock.getpeername()
    except OSError:
        return "a peer that is gone"
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "a local peer"
