"""A stream that tells how much the peer has taken, and that can pass open files along with its bytes.

It wraps the stream of an open link. Files travel with the next bytes that are sent, so they are at the peer no later
than the message that speaks of them; the peer matches them to messages by their order.
"""

import array
import os
import socket
from collections import deque
from collections.abc import Sequence

import trio

from scaler_protocol import Buffer
from scaler_trio.net import Link, SocketStream, Stream

FILES_PER_SEND = 16
"""Files in one ``sendmsg``; the kernel takes 253, and the receiver must have room for as many."""
MAX_BUFFERS = 512


class PacedStream(Stream):
    """Owns the wrapped stream, and each file given to ``pass_file`` until it has been sent."""

    def __init__(self, inner: SocketStream) -> None:
        self._inner = inner
        self._files: deque[int] = deque()  # bounded by who passes them
        self._is_closed = False
        self._taken_bytes = 0
        self._progress: trio.Event | None = None  # only while somebody waits

    @classmethod
    def wrap(cls, link: Link) -> "PacedStream":
        """Put one around the stream of an open link."""
        inner = link.stream
        assert isinstance(inner, SocketStream)
        link.stream = stream = cls(inner)
        return stream

    @property
    def taken_bytes(self) -> int:
        """All that the socket has taken so far."""
        return self._taken_bytes

    @property
    def waiting_files(self) -> int:
        """Files that the peer has not taken."""
        return len(self._files)

    def pass_file(self, descriptor: int) -> None:
        """Send this file with the next bytes; it belongs to the stream from now on, also after a failure."""
        if self._is_closed:
            os.close(descriptor)
        else:
            self._files.append(descriptor)

    async def wait_progress(self) -> None:
        """Return when the socket has taken more, or is closed."""
        if self._progress is None:
            self._progress = trio.Event()
        await self._progress.wait()

    def send(self, buffers: Sequence[Buffer]) -> int:
        if self._files:
            taken = self._send_with_files(buffers)
        else:
            taken = self._inner.send(buffers)
        self._taken_bytes += taken
        self._note_progress()
        return taken

    def recv_into(self, buffer: memoryview) -> int:
        return self._inner.recv_into(buffer)

    async def wait_readable(self) -> None:
        await self._inner.wait_readable()

    async def wait_writable(self) -> None:
        await self._inner.wait_writable()

    def close(self) -> None:
        self._is_closed = True
        self._inner.close()
        while self._files:
            os.close(self._files.popleft())
        self._note_progress()

    @property
    def peer(self) -> str:
        return self._inner.peer

    def _send_with_files(self, buffers: Sequence[Buffer]) -> int:
        some = [self._files[i] for i in range(min(len(self._files), FILES_PER_SEND))]
        # While files are left over, one byte carries each further group: they must not come later than their messages.
        if len(some) < len(self._files):
            buffers = [memoryview(buffers[0])[:1]]
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", some))]
        taken = self._inner.socket.sendmsg(buffers[:MAX_BUFFERS], ancillary)
        for _ in some:
            os.close(self._files.popleft())
        return taken

    def _note_progress(self) -> None:
        if self._progress is not None:
            self._progress.set()
            self._progress = None
