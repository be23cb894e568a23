"""Connections at every stage of the handshake, and what ends them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from scaler_protocol import (
    Connection,
    ErrorCode,
    FrameDecoder,
    LocalProtocolError,
    RemoteProtocolError,
    State,
    decode,
)
from scaler_protocol import messages as m
from tests.protocol import examples
from tests.protocol.pair import Pair, feed, listener, outgoing


def in_state(state: State) -> Connection:
    """A connection that has got so far."""
    if state is State.AWAIT_HELLO:
        return listener()
    pair = Pair()
    if state is State.AWAIT_REPLY:
        return pair.dialer
    feed(pair.listener, outgoing(pair.dialer))
    if state is State.AWAIT_PROOF:
        return pair.listener
    feed(pair.dialer, outgoing(pair.listener))
    if state is State.OPEN:
        feed(pair.listener, outgoing(pair.dialer))
        return pair.listener
    if state is State.CLOSED:
        pair.dialer.fail(LocalProtocolError(ErrorCode.SHUTTING_DOWN, "enough"))
    return pair.dialer


def fails(connection: Connection, data: bytes, code: ErrorCode, *, told: bool = True) -> str:
    """`data` breaks the protocol: the connection closes, and tells the peer why unless that one knows."""
    outgoing(connection)
    with pytest.raises(RemoteProtocolError) as caught:
        feed(connection, data)
    assert caught.value.code is code
    assert connection.state is State.CLOSED
    assert connection.error is caught.value
    frames = FrameDecoder().feed(outgoing(connection))
    assert [type(decode(frame)) for frame in frames] == [m.Error] * told
    if told:
        assert decode(frames[0]).code == code
    assert feed(connection, b"whatever comes later") == []
    return caught.value.message


def reply(connection: Connection, **changes: Any) -> bytes:
    """The honest listener's answer to what `connection` has sent, with changes."""
    other = listener(token=connection._token)
    feed(other, outgoing(connection))
    [frame] = FrameDecoder().feed(outgoing(other))
    return examples.wire(attrs.evolve(decode(frame), **changes))
