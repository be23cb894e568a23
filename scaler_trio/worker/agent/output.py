"""What user code prints: passed on to the agent's own stdout and stderr, its end kept for the report of a crash."""

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from scaler_trio.worker.streams import SECRET_BYTES, Place, Splitter, Streams

TAIL_BYTES: Final = 4096
"""The end of a processor's output that a crash report shows: a C library's complaint, the last lines of a log."""

BUFFER_BYTES: Final = 64 * 1024
"""Output that waits for our own stdout. Beyond it the pipe fills and whoever prints waits, as he would alone."""

_PIPE_BYTES: Final = 4096
"""A pipe that is writable takes this much without blocking (PIPE_BUF)."""

_LAST_READ_BYTES: Final = 256 * 1024
"""What is read from a dead processor's pipes: more than they hold, unless something it left behind still writes."""


class Forwarder:
    """Writes to one of our own descriptors without ever blocking the agent."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._work = trio.Event()
        self._room = trio.Event()

    def put(self, data: bytes) -> None:
        """Queue; the caller asks for room before it reads more."""
        self._chunks.append(data)
        self._size += len(data)
        self._work.set()

    @property
    def is_full(self) -> bool:
        """Whether whoever prints should wait."""
        return self._size >= BUFFER_BYTES

    async def wait_room(self) -> None:
        """Return when there is room for another chunk."""
        while self.is_full:
            self._room = trio.Event()
            await self._room.wait()

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self.flush()
            self._work = trio.Event()
            await self._work.wait()

    async def flush(self) -> None:
        """Write what is there; output that nobody takes any more (a closed pipe) is dropped."""
        while self._chunks:
            chunk = self._chunks.popleft()
            view = memoryview(chunk)
            try:
                while view:
                    await self._wait_writable()
                    view = view[os.write(self._fd, view[:_PIPE_BYTES]) :]
            except BlockingIOError:
                self._chunks.appendleft(bytes(view))
                continue
            except OSError:
                pass  # our own reader is gone; that must not stop the worker
            self._size -= len(chunk) - len(view)
            self._room.set()

    async def _wait_writable(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._fd)
        except OSError:
            await trio.lowlevel.checkpoint()  # a regular file, which epoll does not take: it never blocks for long


class Output:
    """The read ends of a processor's stdout and stderr. Ownership: ``close`` them."""

    def __init__(
        self,
        descriptors: tuple[int, int],
        forwarders: tuple[Forwarder, Forwarder],
        on_printed: Callable[[], None] = lambda: None,
    ) -> None:
        self._pipes = dict(zip(descriptors, forwarders, strict=True))
        self._numbers = {descriptors[0]: 1, descriptors[1]: 2}
        self._on_printed = on_printed  # called when a streamed item has printed something
        self._splitters: dict[int, Splitter] = {}  # once some item is streamed
        self.secret = os.urandom(SECRET_BYTES)
        self.streams: Streams | None = None
        self._tail = bytearray()
        for fd in descriptors:
            os.set_blocking(fd, False)

    async def run(self) -> None:
        """Pass on what comes, until both pipes are closed at the other end."""
        async with trio.open_nursery() as nursery:
            for fd, forwarder in self._pipes.items():
                nursery.start_soon(self._pass_on, fd, forwarder)

    def stream(self, places: tuple[Place, ...]) -> None:
        """From now on look for what these items print."""
        if self.streams is None:
            self.streams = Streams(time.monotonic())
            self._splitters = {fd: Splitter(self.secret) for fd in self._pipes}
        self.streams.feed(places)

    def drain(self) -> None:
        """Read what is in the pipes, as far as it can be passed on."""
        self._drain(is_last=False)

    def _drain(self, *, is_last: bool) -> None:
        for fd, forwarder in self._pipes.items():
            left = _LAST_READ_BYTES
            while left > 0 and (is_last or not forwarder.is_full) and (chunk := self._read(fd)):
                self._pass(fd, chunk, forwarder)
                left -= len(chunk)

    def tail(self) -> str:
        """The last lines, after reading what is still in the pipes."""
        self._drain(is_last=True)
        if self.streams is not None:
            self.streams.end()
        text = self._tail.decode(errors="replace")
        if len(self._tail) >= TAIL_BYTES:
            text = text.partition("\n")[2] or text  # begin with a whole line
        return text.strip("\n")

    def close(self) -> None:
        """Close the pipes; idempotent."""
        while self._pipes:
            fd, _ = self._pipes.popitem()
            trio.lowlevel.notify_closing(fd)
            os.close(fd)

    async def _pass_on(self, fd: int, forwarder: Forwarder) -> None:
        while True:
            await forwarder.wait_room()
            # Closed while we waited for room, or in the very step that made it readable: its number may be another's.
            if fd not in self._pipes:
                return
            try:
                await trio.lowlevel.wait_readable(fd)
            except trio.ClosedResourceError:
                return
            if fd not in self._pipes:
                return
            chunk = self._read(fd)
            if chunk is None:
                continue
            if not chunk:
                return
            self._pass(fd, chunk, forwarder)
            if self.streams is not None:
                self._on_printed()

    def _pass(self, fd: int, chunk: bytes, forwarder: Forwarder) -> None:
        if self.streams is None:
            self._tail += chunk
            forwarder.put(chunk)
        else:
            for item, data, has_ended in self._splitters[fd].split(chunk):
                self._tail += data
                if item is not None:
                    self.streams.put(self._numbers[fd], item, data, time.monotonic(), is_end=has_ended)
                elif data:
                    forwarder.put(data)
        del self._tail[:-TAIL_BYTES]

    def _read(self, fd: int) -> bytes | None:
        try:
            chunk = os.read(fd, 16 * 1024)
        except BlockingIOError:
            return None
        return chunk
