"""Frames: bytes to (kind, body, segments) and back, with every length checked before anything is allocated.

A frame is a header of 12 bytes, a table of segment lengths, the body, then the raw segments::

    offset  0        2       3     4        6          8           12
            | magic  |version| kind| flags  | segments | body size | table: segments x u32 | body | segments …
            | "sT"   |  u8   | u8  |  u16   |   u16    |    u32    |   (all big-endian)

The decoder hands out the buffer to read into (`get_buffer`), so that a large frame is received straight into its final
place: small frames are copied out of a reused buffer, large ones get a buffer of their own that their segments view.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from scaler_protocol import limits
from scaler_protocol.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What may be sent as a segment."""

MAGIC: Final = b"sT"
VERSION: Final = 1
HEADER: Final = struct.Struct("!2sBBHHI")
FIRST_READ_BUFFER_BYTES: Final = 8 * limits.KIB
"""What an idle connection costs; the buffer grows while reads fill it."""
READ_BUFFER_BYTES: Final = 256 * limits.KIB
"""One ``recv`` of a busy peer brings up to this: about 250 µs of work, at which the per-read cost no longer shows."""


class Frame(NamedTuple):
    """One frame as it was received; ``body`` and ``segments`` are the receiver's to keep."""

    kind: int
    flags: int
    body: Buffer
    segments: Sequence[Buffer]


def encode_frame(kind: int, body: bytes, segments: Sequence[Buffer] = (), flags: int = 0) -> list[Buffer]:
    """The buffers of one frame, in order; segments are passed on as they are, without a copy.

    Raises:
        LocalProtocolError: more or larger parts than the limits allow.
    """
    if not segments:
        if len(body) > limits.FRAME_BYTES - HEADER.size:
            raise LocalProtocolError(ErrorCode.TOO_LARGE, _too_large(len(body) + HEADER.size))
        return [HEADER.pack(MAGIC, VERSION, kind, flags, 0, len(body)) + body]
    count = len(segments)
    segments = [_octets(segment) if type(segment) is memoryview else segment for segment in segments]
    lengths = [len(segment) for segment in segments]
    size = HEADER.size + 4 * count + len(body) + sum(lengths)
    if count > limits.SEGMENTS or size > limits.FRAME_BYTES:
        raise LocalProtocolError(ErrorCode.TOO_LARGE, _too_large(size, count))
    head = HEADER.pack(MAGIC, VERSION, kind, flags, count, len(body))
    return [head + struct.pack(f"!{count}I", *lengths) + body, *segments]


def _octets(view: memoryview) -> memoryview:
    """``view`` such that its length counts bytes: that of an array counts rows."""
    if view.ndim == 1 and view.itemsize == 1 and view.contiguous:
        return view
    try:
        return view.cast("B")
    except TypeError as error:
        raise LocalProtocolError(ErrorCode.BAD_BODY, f"a segment must be contiguous: {error}") from error


class FrameDecoder:
    """Bytes in, frames out. Feed it with ``get_buffer`` and ``received``; an error is final.

    `limit_bytes` bounds a frame and may be raised, once, when the peer has authenticated.
    """

    def __init__(self, limit_bytes: int = limits.FRAME_BYTES) -> None:
        self.limit_bytes = limit_bytes
        #: Stop after each frame and go on at ``received(0)``: the limits may change between two frames of a handshake.
        self.one_at_a_time = False
        self._buffer = bytearray(FIRST_READ_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0  # first byte not yet consumed
        self._end = 0  # first free byte
        self._large: bytearray | None = None  # the rest of a frame that does not fit into the buffer
        self._large_filled = 0
        self._large_layout: tuple[int, int, int, list[int]] = (0, 0, 0, [])  # kind, flags, body size, segment sizes
        self._grows = False  # the last read filled the buffer: the peer is faster than it is large
        self._failed = False

    def get_buffer(self) -> memoryview:
        """Where the next received bytes belong; never empty. Valid until the next call of ``received``."""
        if self._large is not None:
            return memoryview(self._large)[self._large_filled :]
        if self._grows:
            self._grow()
        return self._view[self._end :]

    def received(self, count: int) -> list[Frame]:
        """Take ``count`` bytes that were written to ``get_buffer()``; return the frames that they complete.

        Raises:
            RemoteProtocolError: not a frame, or one over the limits; the decoder is dead from then on.
        """
        if self._failed:
            raise LocalProtocolError(ErrorCode.BAD_FRAME, "bytes after an error: the connection should be closed")
        frames: list[Frame] = []
        if self._large is not None:
            self._large_filled += count
            if self._large_filled == len(self._large):
                frames.append(self._finish_large(self._large))
            return frames
        self._end += count
        self._grows = self._end == len(self._buffer) < READ_BUFFER_BYTES
        try:
            self._split(frames)
        except RemoteProtocolError:
            self._failed = True
            raise
        return frames

    @property
    def mid_frame(self) -> bool:
        """Whether an end of stream now would cut a frame in two."""
        return self._large is not None or self._end > self._start

    def feed(self, data: bytes) -> list[Frame]:
        """Take ``data`` of any size: for tests and for callers that already hold the bytes."""
        frames: list[Frame] = []
        view = memoryview(data)
        while view:
            buffer = self.get_buffer()
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            view = view[size:]
            frames += self.received(size)
        return frames

    def _grow(self) -> None:
        self._grows = False
        buffer = bytearray(min(4 * len(self._buffer), READ_BUFFER_BYTES))
        buffer[: self._end] = self._view[: self._end]
        self._buffer, self._view = buffer, memoryview(buffer)

    def _split(self, frames: list[Frame]) -> None:
        buffer, view = self._buffer, self._view
        start, end = self._start, self._end
        unpack_header, header_size = HEADER.unpack_from, HEADER.size
        while end - start >= header_size:
            magic, version, kind, flags, count, body_size = unpack_header(buffer, start)
            if magic != MAGIC:
                raise RemoteProtocolError(ErrorCode.BAD_MAGIC, f"not a scaler-trio peer: it sent {bytes(magic)!r}")
            if version != VERSION:
                raise RemoteProtocolError(ErrorCode.VERSION, f"frame version {version}, this side speaks {VERSION}")
            if count > limits.SEGMENTS:
                raise RemoteProtocolError(ErrorCode.TOO_LARGE, f"{count} segments, limit {limits.SEGMENTS}")
            table_end = start + header_size + 4 * count
            if header_size + 4 * count + body_size > self.limit_bytes:
                raise RemoteProtocolError(ErrorCode.TOO_LARGE, _too_large(body_size, limit=self.limit_bytes))
            if table_end > end:
                break
            sizes = list(struct.unpack_from(f"!{count}I", buffer, start + header_size)) if count else []
            size = header_size + 4 * count + body_size + sum(sizes)
            if size > self.limit_bytes:
                raise RemoteProtocolError(ErrorCode.TOO_LARGE, _too_large(size, limit=self.limit_bytes))
            if start + size > end:
                if size > len(buffer):
                    self._begin_large(table_end, end, (kind, flags, body_size, sizes))
                    self._start = self._end = 0
                    return
                break
            body_end = table_end + body_size
            segments: list[Buffer] = []
            at = body_end
            for segment_size in sizes:
                segments.append(bytes(view[at : at + segment_size]))
                at += segment_size
            frames.append(Frame(kind, flags, bytes(view[table_end:body_end]), segments))
            start += size
            if self.one_at_a_time:
                break
        if start == end:
            start = end = 0
        elif start:
            # What is left is the beginning of one frame that fits: move it to the front, so that get_buffer has room.
            buffer[: end - start] = buffer[start:end]
            start, end = 0, end - start
        self._start, self._end = start, end

    def _begin_large(self, payload_start: int, end: int, layout: tuple[int, int, int, list[int]]) -> None:
        have = end - payload_start
        self._large = bytearray(layout[2] + sum(layout[3]))
        self._large[:have] = self._view[payload_start:end]
        self._large_filled = have
        self._large_layout = layout

    def _finish_large(self, payload: bytearray) -> Frame:
        kind, flags, body_size, sizes = self._large_layout
        self._large = None
        view = memoryview(payload)
        segments: list[Buffer] = []
        at = body_size
        for size in sizes:
            segments.append(view[at : at + size])
            at += size
        return Frame(kind, flags, view[:body_size], segments)


def _too_large(size: int, count: int = 0, limit: int = limits.FRAME_BYTES) -> str:
    parts = f" with {count} segments" if count else ""
    return f"a frame of {size} bytes{parts}; the limit is {limit} bytes and {limits.SEGMENTS} segments"
