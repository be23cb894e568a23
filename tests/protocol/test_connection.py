from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler_protocol import (
    MESSAGE_CLASSES,
    ErrorCode,
    FrameDecoder,
    LocalProtocolError,
    Message,
    RemoteProtocolError,
    Role,
    State,
    decode,
    limits,
)
from scaler_protocol import messages as m
from scaler_protocol.frames import encode_frame
from scaler_protocol.legality import SENDABLE, may_connect, sendable
from tests import strategies
from tests.protocol import examples
from tests.protocol.pair import Pair, dialer, feed, listener, outgoing

PAIRS = sorted((a, b) for a, b in SENDABLE if a < b)


def opened(one: Role = Role.CLIENT, other: Role = Role.SCHEDULER, chop: int = 1 << 20) -> Pair:
    return Pair(dialer(one), listener(other), chop=chop).shake_hands()


SAMPLES = [examples.typical(cls) for cls in sendable(Role.CLIENT, Role.SCHEDULER) - {m.Ping, m.Error}]


@given(st.lists(st.sampled_from(SAMPLES), max_size=10), st.integers(1, 50))
def test_messages_arrive_in_order_however_they_are_cut(messages: list[Message], chop: int) -> None:
    pair = opened(chop=chop)
    assert pair.send(pair.dialer, *messages) == messages


@given(st.data())
def test_any_legal_message_passes_between_any_two_roles(data: st.DataObject) -> None:
    sender, receiver = data.draw(st.sampled_from(sorted(SENDABLE)))
    cls = data.draw(st.sampled_from(sorted(SENDABLE[sender, receiver], key=lambda cls: cls.__name__)))
    message = data.draw(strategies.instances(cls))
    pair = opened(sender, receiver)
    assert pair.send(pair.dialer, message) == [message]


def test_messages_right_behind_the_welcome_are_delivered_with_it() -> None:
    pair = Pair()
    feed(pair.listener, outgoing(pair.dialer))
    feed(pair.dialer, outgoing(pair.listener))
    feed(pair.listener, outgoing(pair.dialer))
    known = examples.typical(m.ClientKnown)
    credit = m.Credit(5)
    behind = b"".join(b"".join(pair.listener.encode(message)) for message in (known, credit))
    large = b"".join(pair.listener.encode(m.ArrayResults(1, 2, 3, 4, (), (), 0.5, b"", bytes(100_000))))
    welcome = outgoing(pair.listener)
    assert feed(pair.dialer, welcome + behind + large)[:2] == [known, credit]


def test_a_frame_over_4_kib_right_behind_the_welcome_is_legal() -> None:
    pair = Pair()
    feed(pair.listener, outgoing(pair.dialer))
    feed(pair.dialer, outgoing(pair.listener))
    feed(pair.listener, outgoing(pair.dialer))
    large = m.PutFunction(1, "f", b"x" * 5000)
    pair = Pair(dialer(Role.WORKER), listener(Role.SCHEDULER))
    feed(pair.listener, outgoing(pair.dialer))
    feed(pair.dialer, outgoing(pair.listener))
    feed(pair.listener, outgoing(pair.dialer))
    assert feed(pair.dialer, outgoing(pair.listener) + b"".join(pair.listener.encode(large))) == [large]


def test_a_large_frame_is_delivered_as_a_view_of_what_was_received() -> None:
    pair = opened(Role.CLIENT, Role.OBJECTS)
    chunk = m.ObjectChunk(bytes(24), 0, bytes(limits.OBJECT_CHUNK_BYTES))
    [received] = pair.send(pair.dialer, chunk)
    assert received == chunk
    assert isinstance(received.data, memoryview)


def test_a_ping_is_answered_and_not_delivered() -> None:
    pair = opened()
    assert pair.send(pair.dialer, m.Ping(7), m.Backlog(1, 2), m.Ping(8)) == [m.Backlog(1, 2)]
    assert feed(pair.dialer, outgoing(pair.listener)) == [m.Pong(7), m.Pong(8)]
    assert pair.listener.take_outgoing() == []


@pytest.mark.parametrize(("code", "understood"), [(ErrorCode.LIMIT, ErrorCode.LIMIT), (60_000, ErrorCode.UNSPECIFIED)])
def test_an_error_from_the_peer_ends_the_connection_without_an_answer(code: int, understood: ErrorCode) -> None:
    pair = opened()
    with pytest.raises(RemoteProtocolError, match="too many") as caught:
        pair.send(pair.dialer, m.Error(code, "too many"))
    assert caught.value.code is understood
    assert pair.listener.state is State.CLOSED
    assert pair.listener.take_outgoing() == []


def test_failing_tells_the_peer_once() -> None:
    pair = opened()
    pair.listener.fail(LocalProtocolError(ErrorCode.SLOW_PEER, "é" * 20_000))
    pair.listener.fail(LocalProtocolError(ErrorCode.INTERNAL, "a later reason"))
    assert pair.listener.error is not None
    assert pair.listener.error.code is ErrorCode.SLOW_PEER
    with pytest.raises(RemoteProtocolError, match="éé") as caught:
        feed(pair.dialer, outgoing(pair.listener))
    assert caught.value.code is ErrorCode.SLOW_PEER


def test_a_closed_connection_drops_what_still_arrives_and_sends_nothing() -> None:
    pair = opened()
    pair.listener.fail(LocalProtocolError(ErrorCode.SHUTTING_DOWN, "bye"))
    assert pair.send(pair.dialer, m.Backlog(1, 2)) == []
    with pytest.raises(LocalProtocolError, match="not open"):
        pair.listener.encode(m.Credit(1))


def test_nothing_is_encoded_before_the_connection_is_open() -> None:
    with pytest.raises(LocalProtocolError, match="await reply"):
        dialer().encode(m.Ping(1))


def test_an_unknown_kind_closes_the_connection() -> None:
    pair = opened()
    with pytest.raises(RemoteProtocolError) as caught:
        feed(pair.listener, b"".join(encode_frame(255, b"\x90")))
    assert caught.value.code is ErrorCode.UNKNOWN_KIND
    assert decode(FrameDecoder().feed(outgoing(pair.listener))[0]).code == ErrorCode.UNKNOWN_KIND


def test_an_end_of_stream_between_frames_is_no_error() -> None:
    pair = opened()
    pair.listener.received_eof()
    assert pair.listener.state is State.CLOSED
    pair.listener.received_eof()


def test_an_end_of_stream_within_a_frame_is_an_error() -> None:
    pair = opened()
    feed(pair.listener, b"sT")
    with pytest.raises(RemoteProtocolError, match="middle of a frame"):
        pair.listener.received_eof()


@pytest.mark.parametrize(("one", "other"), [(a, b) for a in Role for b in Role], ids=lambda role: role.name)
def test_the_table_decides_what_each_role_may_send_to_each(one: Role, other: Role) -> None:
    if not may_connect(one, other):
        assert (one, other) not in SENDABLE
        with pytest.raises(RemoteProtocolError):
            opened(one, other)
        return
    legal = SENDABLE[one, other] | {m.Error, m.Ping, m.Pong, m.Goodbye}
    for kind, cls in MESSAGE_CLASSES.items():
        pair = opened(one, other)
        message = examples.typical(cls)
        if cls in legal:
            if cls is not m.Error:
                assert pair.send(pair.dialer, message) == [message] * (cls is not m.Ping)
            continue
        with pytest.raises(LocalProtocolError, match=f"must not send {cls.__name__}"):
            pair.dialer.encode(message)
        with pytest.raises(RemoteProtocolError, match=f"must not send {cls.__name__}") as caught:
            feed(pair.listener, b"".join(encode_frame(kind, b"not even looked at")))
        assert caught.value.code is ErrorCode.OUT_OF_ORDER


def test_both_directions_of_a_connection_are_in_the_table() -> None:
    assert all((receiver, sender) in SENDABLE for sender, receiver in SENDABLE)


def test_every_message_but_those_of_the_handshake_has_a_sender() -> None:
    sent = frozenset().union(*(sendable(*pair) for pair in SENDABLE))
    assert set(MESSAGE_CLASSES.values()) - sent == {m.Hello, m.HelloReply, m.Proof, m.Welcome}


@given(st.binary(max_size=300), st.sampled_from(SAMPLES), st.data())
def test_random_bytes_after_the_handshake_are_messages_or_a_protocol_error(
    junk: bytes, message: Message, data: st.DataObject
) -> None:
    pair = opened()
    good = b"".join(pair.dialer.encode(message))
    at = data.draw(st.integers(0, len(good)))
    try:
        feed(pair.listener, good[:at] + junk + good[at:])
    except RemoteProtocolError:
        assert pair.listener.state is State.CLOSED
