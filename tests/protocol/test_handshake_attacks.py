from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler_protocol import (
    Connection,
    ErrorCode,
    FrameDecoder,
    RemoteProtocolError,
    Role,
    Side,
    State,
    decode,
)
from scaler_protocol import messages as m
from scaler_protocol.frames import encode_frame
from scaler_protocol.handshake import EXPECTED
from tests.protocol import examples
from tests.protocol.pair import OTHER_TOKEN, TOKEN, Pair, dialer, feed, identity, listener, outgoing
from tests.protocol.stages import fails, in_state, reply


def test_a_wrong_token_is_found_by_the_listener_which_shows_nothing() -> None:
    pair = Pair(dialer(token=OTHER_TOKEN), listener())
    feed(pair.listener, outgoing(pair.dialer))
    feed(pair.dialer, outgoing(pair.listener))
    message = fails(pair.listener, outgoing(pair.dialer), ErrorCode.AUTHENTICATION)
    assert "a client 'client-1'" in message


def test_a_listener_that_does_not_know_the_token_is_found_by_the_dialer() -> None:
    connection = in_state(State.AWAIT_WELCOME)
    fails(connection, examples.wire(m.Welcome(bytes(32))), ErrorCode.AUTHENTICATION)


@pytest.mark.parametrize(("ours", "theirs"), [(None, TOKEN), (TOKEN, None)])
def test_a_token_on_one_side_only_is_refused_by_the_dialer(ours: bytes | None, theirs: bytes | None) -> None:
    pair = Pair(dialer(token=ours), listener(token=theirs))
    feed(pair.listener, outgoing(pair.dialer))
    message = fails(pair.dialer, outgoing(pair.listener), ErrorCode.AUTHENTICATION)
    assert ("SCALER_TOKEN" if ours is None else "it may be somebody else") in message


@pytest.mark.parametrize("mac", [b"", b"\0", bytes(32)])
@pytest.mark.parametrize("token", [TOKEN, None])
def test_a_proof_that_is_none_is_refused(mac: bytes, token: bytes | None) -> None:
    pair = Pair(dialer(token=token), listener(token=token))
    feed(pair.listener, outgoing(pair.dialer))
    if token is None and mac == b"":
        feed(pair.listener, examples.wire(m.Proof(mac)))
        assert pair.listener.is_open
    else:
        fails(pair.listener, examples.wire(m.Proof(mac)), ErrorCode.AUTHENTICATION)


def test_a_dialer_that_skips_the_tokenless_offer_is_refused() -> None:
    """A man in the middle tells the dialer that no token is needed, to get its messages in the clear."""
    connection = dialer()
    fails(connection, reply(connection, token_required=False), ErrorCode.AUTHENTICATION)


def test_a_replayed_conversation_is_refused() -> None:
    old = Pair().shake_hands()
    fresh = Connection(
        Side.LISTENER, attrs.evolve(identity(Role.SCHEDULER, 2), nonce=b"fresh nonce of thirty-two bytes!"), token=TOKEN
    )
    feed(fresh, old.sent[0][1])
    fails(fresh, old.sent[2][1], ErrorCode.AUTHENTICATION)
    again = Connection(Side.DIALER, attrs.evolve(identity(), nonce=b"fresh nonce of thirty-two bytes!"), token=TOKEN)
    feed(again, old.sent[1][1])
    fails(again, old.sent[3][1], ErrorCode.AUTHENTICATION)


def test_a_reflected_proof_is_refused() -> None:
    connection = in_state(State.AWAIT_WELCOME)
    [proof] = FrameDecoder().feed(outgoing(connection))
    fails(connection, examples.wire(m.Welcome(decode(proof).mac)), ErrorCode.AUTHENTICATION)


def test_a_dialer_that_meets_its_own_hello_is_connected_to_itself() -> None:
    connection = dialer()
    fails(connection, outgoing(connection), ErrorCode.OUT_OF_ORDER)


def test_a_copy_of_our_own_identity_cannot_answer_for_the_token() -> None:
    connection = dialer()
    said = connection.identity
    feed(connection, reply(connection, session=said.session, nonce=said.nonce, name=said.name))
    [proof] = FrameDecoder().feed(outgoing(connection))
    fails(connection, examples.wire(m.Welcome(decode(proof).mac)), ErrorCode.AUTHENTICATION)


@pytest.mark.parametrize(
    "changes",
    [
        {"role": Role.WORKER},
        {"name": "somebody else"},
        {"session": b"another session!"},
        {"nonce": b"another nonce of thirty-two byte"},
        {"epoch": 5},
        {"python": "2.7"},
        {"protocol_max": 7},
    ],
)
def test_a_hello_changed_on_the_way_spoils_the_proof(changes: dict[str, Any]) -> None:
    pair = Pair()
    [hello] = FrameDecoder().feed(outgoing(pair.dialer))
    feed(pair.listener, examples.wire(attrs.evolve(decode(hello), **changes)))
    feed(pair.dialer, outgoing(pair.listener))
    fails(pair.listener, outgoing(pair.dialer), ErrorCode.AUTHENTICATION)


@pytest.mark.parametrize(
    "changes",
    [{"name": "x"}, {"session": b"another session!"}, {"nonce": bytes(32)}, {"epoch": 5}, {"role": Role.OBJECTS}],
)
def test_a_reply_changed_on_the_way_spoils_the_proof(changes: dict[str, Any]) -> None:
    pair = Pair()
    feed(pair.listener, outgoing(pair.dialer))
    [answer] = FrameDecoder().feed(outgoing(pair.listener))
    feed(pair.dialer, examples.wire(attrs.evolve(decode(answer), **changes)))
    fails(pair.listener, outgoing(pair.dialer), ErrorCode.AUTHENTICATION)


def test_a_byte_moved_from_one_hello_to_the_other_is_refused() -> None:
    """The transcript concatenates both bodies, so that their border must not be movable."""
    pair = Pair()
    [hello] = FrameDecoder().feed(outgoing(pair.dialer))
    feed(pair.listener, examples.wire(decode(hello)))
    [answer] = FrameDecoder().feed(outgoing(pair.listener))
    body = bytes(answer.body)
    for moved in (body[1:], b"\xc0" + body):
        fails(attrs_copy(pair.dialer), encode_frame(2, moved)[0], ErrorCode.BAD_BODY)  # type: ignore[arg-type]


def attrs_copy(connection: Connection) -> Connection:
    return Connection(connection.side, connection.identity, token=TOKEN)


@given(st.sampled_from(sorted(EXPECTED, key=lambda state: state.value)), st.binary(max_size=200), st.booleans())
def test_random_bytes_in_the_handshake_end_it(state: State, junk: bytes, is_framed: bool) -> None:
    connection = in_state(state)
    kind = EXPECTED[state].__message_kind__  # type: ignore[attr-defined]
    data: Any = encode_frame(kind, junk)[0] if is_framed else junk
    try:
        assert feed(connection, data) == []
    except RemoteProtocolError:
        assert connection.state is State.CLOSED
    assert not connection.is_open


@pytest.mark.parametrize("step", range(4))
def test_a_flipped_bit_anywhere_in_the_handshake_opens_nothing(step: int) -> None:
    """Bits that no MAC covers are the frame's flags and the timing: they are allowed to pass."""
    sent = Pair().shake_hands().sent
    good = bytearray(sent[step][1])
    for position in range(len(good) * 8):
        good[position // 8] ^= 1 << position % 8
        is_covered = position // 8 not in (4, 5) and (step != 3 or position // 8 < 12 + 35)
        pair = Pair()
        try:
            for at, data in enumerate([bytes(good) if i == step else data for i, (_, data) in enumerate(sent)]):
                outgoing(pair.dialer), outgoing(pair.listener)
                feed(pair.dialer if at % 2 else pair.listener, data)
        except RemoteProtocolError:
            pass
        assert not (pair.dialer.is_open and pair.listener.is_open and is_covered), position
        good[position // 8] ^= 1 << position % 8
