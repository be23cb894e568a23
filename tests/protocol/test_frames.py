from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler_protocol import ErrorCode, FrameDecoder, LocalProtocolError, RemoteProtocolError, frames, limits
from scaler_protocol.frames import HEADER, READ_BUFFER_BYTES, Frame, encode_frame
from tests.protocol import vectors

PARTS = st.tuples(
    st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=300), st.lists(st.binary(max_size=300), max_size=4)
)


def joined(kind: int, body: bytes, segments: list[bytes] = [], flags: int = 0) -> bytes:  # noqa: B006
    return b"".join(encode_frame(kind, body, segments, flags))


def header(
    *, magic: bytes = b"sT", version: int = 1, kind: int = 6, flags: int = 0, segments: int = 0, body: int = 0
) -> bytes:
    return HEADER.pack(magic, version, kind, flags, segments, body)


def refused(data: bytes, code: ErrorCode, limit: int = limits.FRAME_BYTES) -> RemoteProtocolError:
    decoder = FrameDecoder(limit)
    with pytest.raises(RemoteProtocolError) as caught:
        decoder.feed(data)
    assert caught.value.code is code
    return caught.value


def read(decoder: FrameDecoder, data: bytes) -> list[Frame]:
    return [
        frame._replace(body=bytes(frame.body), segments=[*map(bytes, frame.segments)]) for frame in decoder.feed(data)
    ]


@given(st.lists(PARTS, max_size=6), st.integers(1, 40))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    parts: list[tuple[int, int, bytes, list[bytes]]], chop: int
) -> None:
    data = b"".join(joined(kind, body, segments, flags) for kind, flags, body, segments in parts)
    decoder, found = FrameDecoder(), []
    for at in range(0, len(data), chop):
        found += read(decoder, data[at : at + chop])
    assert found == [Frame(kind, flags, body, segments) for kind, flags, body, segments in parts]
    assert not decoder.mid_frame


SAMPLE = joined(7, b"body", [b"one", b"", b"three"]) + joined(8, b"") + joined(9, b"last", [b"x"])


def test_every_split_point_gives_the_same_frames() -> None:
    whole = read(FrameDecoder(), SAMPLE)
    assert [frame.kind for frame in whole] == [7, 8, 9]
    for at in range(len(SAMPLE) + 1):
        decoder = FrameDecoder()
        assert read(decoder, SAMPLE[:at]) + read(decoder, SAMPLE[at:]) == whole


def test_every_truncation_is_told_from_a_whole_number_of_frames() -> None:
    ends = {0, len(joined(7, b"body", [b"one", b"", b"three"]))}
    ends |= {max(ends) + HEADER.size, len(SAMPLE)}
    for at in range(len(SAMPLE) + 1):
        decoder = FrameDecoder()
        decoder.feed(SAMPLE[:at])
        assert decoder.mid_frame is (at not in ends)


@pytest.mark.parametrize("name", vectors.load())
def test_a_vector_is_read_whole_by_byte_and_at_every_split_point(name: str) -> None:
    if name.startswith("handshake-"):
        name += ".1-Hello"
    data = vectors.read(name)
    [whole] = read(FrameDecoder(), data)
    single = FrameDecoder()
    assert [frame for i in range(len(data)) for frame in read(single, data[i : i + 1])] == [whole]
    for at in range(1, len(data)):
        decoder = FrameDecoder()
        assert read(decoder, data[:at]) == []
        assert decoder.mid_frame
        assert read(decoder, data[at:]) == [whole]


def test_a_foreign_peer_is_named_by_its_first_bytes() -> None:
    assert "b'GE'" in str(refused(b"GET / HTTP/1.1\r\n", ErrorCode.BAD_MAGIC))


def test_another_frame_version_is_refused() -> None:
    refused(header(version=2), ErrorCode.VERSION)


@pytest.mark.parametrize(
    "data",
    [
        header(segments=limits.SEGMENTS + 1),
        header(body=limits.FRAME_BYTES - HEADER.size + 1),
        header(body=0xFFFFFFFF),
        header(segments=2, body=1) + struct.pack("!2I", 0xFFFFFFFF, 0xFFFFFFFF),
        header(segments=1) + struct.pack("!I", limits.FRAME_BYTES - HEADER.size - 3),
    ],
)
def test_a_length_over_the_limit_is_refused_before_memory_is_reserved(data: bytes) -> None:
    tracemalloc.start()
    try:
        refused(data, ErrorCode.TOO_LARGE)
        assert tracemalloc.get_traced_memory()[1] < 256 * limits.KIB
    finally:
        tracemalloc.stop()


def test_a_frame_of_exactly_the_limit_passes() -> None:
    for size, segments in ((limits.UNAUTHENTICATED_FRAME_BYTES - HEADER.size, []), (4000, [b"x" * 80])):
        data = joined(5, b"b" * size, segments)
        assert len(data) == limits.UNAUTHENTICATED_FRAME_BYTES
        assert len(FrameDecoder(limits.UNAUTHENTICATED_FRAME_BYTES).feed(data)) == 1
        refused(joined(5, b"b" * (size + 1), segments), ErrorCode.TOO_LARGE, limits.UNAUTHENTICATED_FRAME_BYTES)


def test_after_an_error_the_decoder_takes_no_more() -> None:
    decoder = FrameDecoder()
    with pytest.raises(RemoteProtocolError):
        decoder.feed(b"rubbish-rubbish-rubbish")
    with pytest.raises(LocalProtocolError):
        decoder.received(0)


def test_a_large_frame_is_received_into_its_final_place() -> None:
    segment = bytes(range(256)) * 4096
    data = joined(100, b"body", [b"small", segment])
    decoder = FrameDecoder()
    assert decoder.feed(data[:5000]) == []
    place = decoder.get_buffer()
    assert len(place) == len(data) - 5000  # the rest of the frame and not a byte of the next one
    place[:] = data[5000:]
    [frame] = decoder.received(len(place))
    assert isinstance(frame.segments[1], memoryview)
    assert frame.segments[1].obj is place.obj
    assert (bytes(frame.body), *map(bytes, frame.segments)) == (b"body", b"small", segment)
    assert len(decoder.feed(joined(6, b""))) == 1


def test_a_large_frame_may_come_byte_by_byte() -> None:
    data = joined(100, b"b" * 9000, [b"s" * 100]) + joined(6, b"next")
    decoder = FrameDecoder()
    found = [frame for i in range(len(data)) for frame in read(decoder, data[i : i + 1])]
    assert found == [Frame(100, 0, b"b" * 9000, [b"s" * 100]), Frame(6, 0, b"next", [])]


def test_an_idle_connection_costs_little_and_a_busy_one_reads_much_at_once() -> None:
    decoder = FrameDecoder()
    assert len(decoder.get_buffer()) == frames.FIRST_READ_BUFFER_BYTES
    small = joined(6, b"0123456789")
    data = small * (4 * READ_BUFFER_BYTES // len(small))
    assert len(decoder.feed(data)) == len(data) // len(small)
    assert READ_BUFFER_BYTES - len(small) < len(decoder.get_buffer()) <= READ_BUFFER_BYTES


def test_one_at_a_time_stops_after_each_frame() -> None:
    decoder = FrameDecoder()
    decoder.one_at_a_time = True
    assert [frame.kind for frame in decoder.feed(joined(1, b"") + joined(2, b""))] == [1]
    assert [frame.kind for frame in decoder.received(0)] == [2]
    assert decoder.received(0) == []


def test_segments_are_sent_without_a_copy() -> None:
    segment = bytearray(1000)
    assert encode_frame(1, b"", [segment])[1] is segment


def test_the_length_of_an_array_is_counted_in_bytes() -> None:
    numbers: Any = memoryview(struct.pack("4d", 1, 2, 3, 4)).cast("d")
    matrix = memoryview(bytes(12)).cast("B", (3, 4))
    plain = memoryview(b"abc")
    data = b"".join(encode_frame(1, b"", [numbers, matrix, plain]))
    [frame] = FrameDecoder().feed(data)
    assert [len(segment) for segment in frame.segments] == [32, 12, 3]


def test_a_segment_with_gaps_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="contiguous"):
        encode_frame(1, b"", [memoryview(b"abcdef")[::2]])


@pytest.mark.parametrize(
    ("body", "segments"),
    [(bytes(limits.FRAME_BYTES), []), (b"", [bytes(limits.FRAME_BYTES)]), (b"", [b""] * (limits.SEGMENTS + 1))],
)
def test_what_no_peer_would_take_is_not_sent(body: bytes, segments: list[bytes]) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        encode_frame(1, body, segments)
    assert caught.value.code is ErrorCode.TOO_LARGE


@given(st.binary(max_size=400), st.booleans())
def test_random_bytes_are_frames_or_a_protocol_error(data: bytes, is_started: bool) -> None:
    try:
        FrameDecoder().feed(b"sT\x01" * is_started + data)
    except RemoteProtocolError:
        pass
