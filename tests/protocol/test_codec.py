from __future__ import annotations

from typing import Any

import attrs
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler_protocol import (
    MESSAGE_CLASSES,
    ErrorCode,
    Frame,
    FrameDecoder,
    LocalProtocolError,
    Message,
    RemoteProtocolError,
    decode,
    encode,
    fields,
    ids,
)
from scaler_protocol import messages as m
from tests import strategies
from tests.protocol import examples, vectors
from tests.protocol.judge import outcome, refused, with_body

MESSAGES = [name for name, entry in vectors.load().items() if "message" in entry]
CLASSES = pytest.mark.parametrize("cls", MESSAGE_CLASSES.values(), ids=lambda cls: cls.__name__)


@given(strategies.messages())
def test_any_message_comes_back_as_it_was_sent(message: Message) -> None:
    assert decode(examples.frame(message)) == message


@CLASSES
def test_a_message_of_each_class_comes_back_as_it_was_sent(cls: type) -> None:
    @given(strategies.instances(cls))
    def check(message: Message) -> None:
        back = decode(examples.frame(message))
        assert back == message
        assert "object at 0x" not in repr(back)

    check()


@pytest.mark.parametrize("name", MESSAGES)
def test_a_flipped_bit_gives_a_message_or_a_protocol_error(name: str) -> None:
    data = bytearray(vectors.read(name))
    for position in range(len(data) * 8):
        data[position // 8] ^= 1 << position % 8
        try:
            frames = FrameDecoder().feed(bytes(data))
        except RemoteProtocolError:
            frames = []
        for frame in frames:
            outcome(frame)
        data[position // 8] ^= 1 << position % 8


@pytest.mark.parametrize("name", MESSAGES)
def test_a_body_cut_anywhere_is_refused_and_one_with_a_tail_as_well(name: str) -> None:
    [frame] = FrameDecoder().feed(vectors.read(name))
    for size in range(len(frame.body)):
        refused(frame._replace(body=frame.body[:size]))
    assert "bytes after the body" in refused(frame._replace(body=bytes(frame.body) + b"\0"))


@given(st.integers(0, 255), st.binary(max_size=200), st.lists(st.binary(max_size=8), max_size=3))
def test_random_bytes_give_a_message_or_a_protocol_error(kind: int, body: bytes, segments: list[bytes]) -> None:
    outcome(Frame(kind, 0, body, segments))


JSON_LIKE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), ids.U64_MAX)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=30),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=20,
)


@given(st.sampled_from(sorted(MESSAGE_CLASSES)), st.lists(JSON_LIKE, max_size=9), st.lists(st.binary(), max_size=3))
def test_well_formed_nonsense_gives_a_message_or_a_protocol_error(
    kind: int, body: list[Any], segments: list[bytes]
) -> None:
    outcome(Frame(kind, 0, msgpack.packb(body), segments))


@CLASSES
def test_missing_trailing_fields_take_their_defaults_and_unknown_ones_are_ignored(cls: type) -> None:
    message = examples.typical(cls)
    frame = examples.frame(message)
    body = msgpack.unpackb(frame.body, use_list=False)
    longer = frame._replace(body=msgpack.packb([*body, "new", [1, [2]]]), segments=[*frame.segments, b"new"])
    assert decode(longer) == message
    required = [a for a in attrs.fields(cls) if fields.SEGMENT not in a.metadata and a.default is attrs.NOTHING]
    for size in range(len(body)):
        shorter = frame._replace(body=msgpack.packb(body[:size]))
        if size < len(required):
            refused(shorter)
        else:
            absent = [a.name for a in attrs.fields(cls)][size : len(body)]
            assert decode(shorter) == attrs.evolve(message, **{n: attrs.fields_dict(cls)[n].default for n in absent})


@CLASSES
def test_missing_segments_are_refused(cls: type) -> None:
    frame = examples.frame(examples.typical(cls))
    for count in range(len(frame.segments)):
        refused(frame._replace(segments=frame.segments[:count]))


def test_an_unknown_kind_is_refused() -> None:
    assert "255" in refused(Frame(255, 0, b"\x90", ()), ErrorCode.UNKNOWN_KIND)


def test_options_in_full_in_part_and_by_default() -> None:
    frame = examples.frame(m.OpenArray(1, 2, m.DEFAULT_OPTIONS, 3, ()))
    assert msgpack.unpackb(frame.body)[2] == []
    assert decode(frame).options is m.DEFAULT_OPTIONS
    assert decode(with_body(m.OpenArray, [1, 2, [9, [["gpu", 1]]], 3, []])).options == m.TaskOptions(9, (("gpu", 1),))
    assert "capabilities" in refused(with_body(m.OpenArray, [1, 2, [9, [["gpu"]]], 3, []]))


@pytest.mark.parametrize(
    "message",
    [
        m.Ping(-1),
        m.Ping(1 << 64),
        m.Ping("7"),  # type: ignore[arg-type]
        m.Goodbye("\ud800"),
        m.Goodbye(object()),  # type: ignore[arg-type]
        m.WorkerStatus(0, 0, float("nan"), 0),
        m.Recall(((1, object()),)),
        m.Recall(5),  # type: ignore[arg-type]
        m.OpenArray(1, 1, attrs.evolve(m.DEFAULT_OPTIONS, name="x" * 1000), 1, ()),
        m.OpenArray(1, 1, None, 1, ()),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_sent_is_the_callers_error(message: Message) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        encode(message)
    assert type(message).__name__ in caught.value.message
