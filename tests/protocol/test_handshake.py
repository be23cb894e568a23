from __future__ import annotations

import hashlib
import hmac

import pytest

from scaler_protocol import (
    MESSAGE_CLASSES,
    ErrorCode,
    FrameDecoder,
    Identity,
    LocalProtocolError,
    RemoteProtocolError,
    Role,
    State,
    Timing,
    decode,
    limits,
)
from scaler_protocol import messages as m
from scaler_protocol.frames import encode_frame
from scaler_protocol.handshake import EXPECTED
from tests.protocol import examples
from tests.protocol.pair import OTHER_TOKEN, TOKEN, Pair, dialer, feed, listener, outgoing
from tests.protocol.stages import fails, in_state, reply


@pytest.mark.parametrize("token", [TOKEN, None])
@pytest.mark.parametrize("chop", [1, 2, 13, 1 << 20])
def test_both_ends_open_and_know_each_other(token: bytes | None, chop: int) -> None:
    pair = Pair(
        dialer(token=token, expect=Role.SCHEDULER), listener(token=token, timing=Timing(0.5, 3.0)), chop=chop
    ).shake_hands()
    assert pair.dialer.is_open
    assert pair.listener.is_open
    assert (pair.dialer.peer_role, pair.listener.peer_role) == (Role.SCHEDULER, Role.CLIENT)
    assert pair.dialer.peer is not None
    assert pair.dialer.peer.session == pair.listener.identity.session
    assert pair.dialer.timing == Timing(0.5, 3.0)
    assert [side for side, _ in pair.sent] == ["dialer", "listener", "dialer", "listener"]


def test_the_proofs_are_what_the_specification_says() -> None:
    pair = Pair().shake_hands()
    bodies = [FrameDecoder().feed(data)[0].body for _, data in pair.sent]
    transcript = hashlib.sha256(bytes(bodies[0]) + bytes(bodies[1])).digest()
    for step, direction, role in ((2, b"d", Role.CLIENT), (3, b"l", Role.SCHEDULER)):
        text = b"scaler-trio handshake 1" + direction + bytes([role]) + b"\x81" * 32 + b"\x82" * 32 + transcript
        mac = hmac.new(TOKEN, text, hashlib.sha256).digest()
        assert decode(FrameDecoder().feed(pair.sent[step][1])[0]).mac == mac


@pytest.mark.parametrize("state", EXPECTED)
@pytest.mark.parametrize("cls", MESSAGE_CLASSES.values(), ids=lambda cls: cls.__name__)
def test_every_other_message_in_every_state_of_the_handshake_is_out_of_order(state: State, cls: type) -> None:
    connection = in_state(state)
    assert connection.state is state
    if cls is EXPECTED[state]:
        return
    data = examples.wire(examples.bound(cls, high=False))
    if cls is m.Error:
        fails(connection, data, ErrorCode.UNSPECIFIED, told=False)
    else:
        fails(connection, data, ErrorCode.OUT_OF_ORDER)


@pytest.mark.parametrize("state", EXPECTED)
def test_an_unknown_kind_in_the_handshake_is_out_of_order(state: State) -> None:
    fails(in_state(state), encode_frame(255, b"\x90")[0], ErrorCode.OUT_OF_ORDER)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", EXPECTED)
def test_an_end_of_stream_in_the_handshake_is_an_error(state: State) -> None:
    connection = in_state(state)
    with pytest.raises(RemoteProtocolError, match=state.value):
        connection.received_eof()
    assert connection.state is State.CLOSED


@pytest.mark.parametrize("state", EXPECTED)
def test_before_authentication_a_frame_has_at_most_4_kib(state: State) -> None:
    kind = EXPECTED[state].__message_kind__  # type: ignore[attr-defined]
    fails(in_state(state), encode_frame(kind, bytes(4084))[0], ErrorCode.BAD_BODY)  # type: ignore[arg-type]
    fails(in_state(state), encode_frame(kind, bytes(4085))[0], ErrorCode.TOO_LARGE)  # type: ignore[arg-type]


@pytest.mark.parametrize(("low", "high"), [(2, 9), (2, 1)])
def test_without_a_common_version_the_listener_says_who_should_upgrade(low: int, high: int) -> None:
    hello = m.Hello(low, high, Role.CLIENT, bytes(16), "new", bytes(32))
    assert "upgrade the older one" in fails(listener(), examples.wire(hello), ErrorCode.VERSION)


def test_the_highest_common_version_is_chosen() -> None:
    connection = listener()
    feed(connection, examples.wire(m.Hello(1, 99, Role.CLIENT, bytes(16), "new", bytes(32))))
    [frame] = FrameDecoder().feed(outgoing(connection))
    assert decode(frame).protocol == m.PROTOCOL_MAX


def test_a_version_that_was_not_offered_is_refused() -> None:
    connection = dialer()
    fails(connection, reply(connection, protocol=2), ErrorCode.VERSION)


@pytest.mark.parametrize("number", [0, 8, 255])
def test_an_unknown_role_is_refused_on_both_sides(number: int) -> None:
    fails(listener(), examples.wire(m.Hello(1, 1, number, bytes(16), "", bytes(32))), ErrorCode.BAD_BODY)
    connection = dialer()
    fails(connection, reply(connection, role=number), ErrorCode.BAD_BODY)


def test_a_listener_turns_away_who_has_no_business_there() -> None:
    message = fails(listener(Role.OBJECTS), outgoing(dialer(Role.OBJECTS)), ErrorCode.OUT_OF_ORDER)
    assert "check the address and port" in message


def test_a_dialer_turns_away_from_another_service_than_expected() -> None:
    connection = dialer(expect=Role.OBJECTS)
    message = fails(connection, reply(connection), ErrorCode.OUT_OF_ORDER)
    assert message == "expected an object storage server at this address and found a scheduler"


def test_a_refusal_reaches_the_other_side_with_its_code_and_sentence() -> None:
    pair = Pair(dialer(token=OTHER_TOKEN), listener())
    with pytest.raises(RemoteProtocolError):
        pair.shake_hands()
    with pytest.raises(RemoteProtocolError) as caught:
        feed(pair.dialer, outgoing(pair.listener))
    assert caught.value.code is ErrorCode.AUTHENTICATION
    assert "wrong token" in str(caught.value)
    assert pair.dialer.take_outgoing() == []


@pytest.mark.parametrize("length", range(limits.TOKEN_BYTES))
def test_a_short_token_is_the_callers_error(length: int) -> None:
    with pytest.raises(LocalProtocolError, match="at least 16"):
        dialer(token=bytes(length))


def test_secrets_do_not_show_in_the_representation() -> None:
    assert "nonce" not in repr(Identity(Role.CLIENT, bytes(16), "me", b"n" * 32))
