"""Streams without sockets: they chop, fill up, stand still or break where a test says so."""

from collections.abc import Sequence

import trio
from attrs import define, field

from scaler_protocol import Buffer
from scaler_trio.net import Stream


@define(eq=False)
class _Pipe:
    """One direction: bytes under way, at most ``capacity``."""

    capacity: int
    chop: int  # at most this many bytes in one read, 0 = as many as there are
    data: bytearray = field(factory=bytearray)
    closed: bool = False
    changed: trio.Event = field(factory=trio.Event)

    def notify(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


class MemoryStream(Stream):
    """One end of a pair made by ``stream_pair``."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe, name: str) -> None:
        self._in = incoming
        self._out = outgoing
        self._name = name
        self._closed = False
        self.broken = False  # every further call fails as a reset connection does
        self.frozen = False  # nothing is readable: the peer seems silent

    def recv_into(self, buffer: memoryview) -> int:
        self._check()
        if self.frozen or not (self._in.data or self._in.closed):
            raise BlockingIOError
        count = min(len(buffer), len(self._in.data), self._in.chop or len(self._in.data))
        buffer[:count] = self._in.data[:count]
        del self._in.data[:count]
        self._in.notify()
        return count

    def send(self, buffers: Sequence[Buffer]) -> int:
        self._check()
        if self._out.closed:
            raise BrokenPipeError("the other end is closed")
        room = self._out.capacity - len(self._out.data)
        data = b"".join(bytes(buffer) for buffer in buffers)[: max(0, room)]
        if not data:
            raise BlockingIOError
        self._out.data += data
        self._out.notify()
        return len(data)

    async def wait_readable(self) -> None:
        while self.frozen or not (self._in.data or self._in.closed or self.broken):
            await self._wait(self._in)
        await trio.lowlevel.checkpoint()

    async def wait_writable(self) -> None:
        while len(self._out.data) >= self._out.capacity and not (self._out.closed or self.broken):
            await self._wait(self._out)
        await trio.lowlevel.checkpoint()

    async def _wait(self, pipe: _Pipe) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        await pipe.changed.wait()
        if self._closed:
            raise trio.ClosedResourceError

    def _check(self) -> None:
        if self._closed:
            raise OSError(9, "closed")
        if self.broken:
            raise ConnectionResetError(104, "Connection reset by peer")

    def close(self) -> None:
        self._closed = True
        self._out.closed = True
        self._out.notify()
        self._in.notify()

    def break_(self) -> None:
        """As when the network resets the connection."""
        self.broken = True
        self._in.notify()
        self._out.notify()

    @property
    def peer(self) -> str:
        return self._name


def stream_pair(*, capacity: int = 1 << 20, chop: int = 0) -> tuple[MemoryStream, MemoryStream]:
    """Two connected ends; ``capacity`` bytes fit between them, and a read brings at most ``chop`` at a time."""
    there, back = _Pipe(capacity, chop), _Pipe(capacity, chop)
    return MemoryStream(back, there, "the listener"), MemoryStream(there, back, "the dialer")
