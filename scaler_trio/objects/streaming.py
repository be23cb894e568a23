"""A session over TCP: objects travel in chunks, as fast as the peer takes them and not faster.

Received chunks are written into the segment at once. Sent ones are views of a mapping; while more than a few are on
their way the session waits, so that a slow reader costs a mapping and no memory.
"""

import mmap
import os
from collections import deque
from typing import Final

import trio
from attrs import define, frozen

from scaler_protocol import Buffer, ErrorCode, limits
from scaler_protocol import messages as m
from scaler_protocol.ids import ObjectId, short
from scaler_trio.objects.core import events as e
from scaler_trio.objects.segments import Segment, open_for_reading, write_at
from scaler_trio.objects.session import Session

AHEAD_BYTES: Final = 4 * limits.MIB
"""Chunks that may wait in the outbox: enough to keep the socket busy while others have their turn."""
STALLED_S: Final = 60.0
"""A peer that takes nothing for so long while an object is sent to it is closed: its lease would never end."""
DOWNLOADS: Final = 256
"""Objects that one peer may ask for before it has read the first."""


@define
class _Upload:
    segment: Segment
    size_bytes: int
    offset: int = 0


@frozen
class _Download:
    object_id: ObjectId
    size_bytes: int
    descriptor: int
    #: Whether reading may wait for a disk.
    is_on_disk: bool


class StreamSession(Session):
    """The peer is on another host, or wants no shared memory."""

    _uploads: dict[ObjectId, _Upload]
    _downloads: deque[_Download]
    _more: trio.Event

    async def run(self) -> None:
        self._uploads, self._downloads, self._more = {}, deque(), trio.Event()
        try:
            await super().run()
        finally:
            for download in self._downloads:
                os.close(download.descriptor)
            self._downloads.clear()

    def granted(self, object_id: ObjectId, size_bytes: int, segment: Segment) -> None:
        self._uploads[object_id] = _Upload(segment, size_bytes)
        self.link.send(m.Granted(object_id))

    def found(self, object_id: ObjectId, size_bytes: int, segment: Segment | None) -> None:
        if len(self._downloads) >= DOWNLOADS:
            text = f"{DOWNLOADS} objects wait to be sent to this connection already; read them first"
            self.expel(ErrorCode.LIMIT, text)
            return
        try:
            if segment is not None:
                descriptor = open_for_reading(segment)
            else:
                assert self._spill is not None
                descriptor = self._spill.open_for_reading(object_id)
        except OSError as error:
            self.expel(ErrorCode.INTERNAL, f"object {short(object_id)} cannot be read: {error.strerror}")
            return
        self._downloads.append(_Download(object_id, size_bytes, descriptor, segment is None))
        self._more.set()

    def _take_chunk(self, message: m.ObjectChunk) -> None:
        upload = self._uploads.get(ObjectId(message.object))
        size = len(message.data)
        if upload is None:
            self.expel(ErrorCode.OUT_OF_ORDER, f"a chunk of object {short(message.object)}, which was not granted")
        elif message.offset != upload.offset or upload.offset + size > upload.size_bytes:
            self.expel(
                ErrorCode.OUT_OF_ORDER,
                f"a chunk of object {short(message.object)} at {message.offset} to {message.offset + size}; "
                f"expected from {upload.offset}, at most to {upload.size_bytes}",
            )
        else:
            write_at(upload.segment.descriptor, message.data, upload.offset)
            upload.offset += size

    def _is_complete(self, object_id: bytes) -> bool:
        upload = self._uploads.pop(ObjectId(object_id), None)
        if upload is not None and upload.offset != upload.size_bytes:
            self.expel(
                ErrorCode.OUT_OF_ORDER,
                f"object {short(object_id)} sealed after {upload.offset} of {upload.size_bytes} bytes",
            )
            return False
        return True

    async def _work(self) -> None:
        while True:
            while self._downloads:
                await self._send(self._downloads.popleft())
            self._more = trio.Event()
            await self._more.wait()

    async def _send(self, download: _Download) -> None:
        try:
            self.link.send(m.Found(download.object_id, download.size_bytes))
            mapping = None
            if not download.is_on_disk and download.size_bytes:
                pages = mmap.mmap(download.descriptor, download.size_bytes, mmap.MAP_SHARED, mmap.PROT_READ)
                mapping = memoryview(pages)
            for offset in range(0, download.size_bytes, limits.OBJECT_CHUNK_BYTES):
                size = min(limits.OBJECT_CHUNK_BYTES, download.size_bytes - offset)
                data: Buffer
                if mapping is not None:
                    data = mapping[offset : offset + size]
                    await trio.lowlevel.checkpoint()
                else:
                    data = await trio.to_thread.run_sync(os.pread, download.descriptor, size, offset)
                self.link.send(m.ObjectChunk(download.object_id, offset, data))
                await self._wait_taken(self.stream.taken_bytes + self.link.outbox_bytes - AHEAD_BYTES)
                if self.link.closed is not None:
                    return
            # The last chunks are views of the segment: the lease must not end before they have left.
            await self._wait_taken(self.stream.taken_bytes + self.link.outbox_bytes)
        finally:
            os.close(download.descriptor)
        self._tell(e.EndLeases(self.connection, (download.object_id,)))

    async def _wait_taken(self, taken_bytes: int) -> None:
        """Wait until the peer has taken so much of all that was ever sent, or is closed."""
        while self.stream.taken_bytes < taken_bytes and self.link.closed is None:
            with trio.move_on_after(STALLED_S) as scope:
                await self.stream.wait_progress()
            if scope.cancelled_caught:
                self.expel(ErrorCode.SLOW_PEER, f"it took nothing for {STALLED_S:.0f} s of an object that it asked for")
