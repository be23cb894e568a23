"""The handshake: who is there, which version, and a proof on both sides that they know the same token.

    dialer                              listener
    Hello(nonce d)            ──►
                              ◄──       HelloReply(nonce l)
    Proof(mac d)              ──►       verifies first
                              ◄──       Welcome(mac l)

``mac = HMAC-SHA256(token, label ‖ direction ‖ role ‖ nonce d ‖ nonce l ‖ SHA-256(hello body ‖ reply body))``: a proof
cannot be replayed, reflected, or moved to a connection with other hellos. (Both bodies are one msgpack array each and
nothing behind it, so where one ends and the other begins is no matter of opinion.) The order is the table ``EXPECTED``.
"""

import hashlib
import hmac
from enum import Enum
from typing import Final

from scaler_protocol import messages
from scaler_protocol.errors import ErrorCode, RemoteProtocolError
from scaler_protocol.frames import Buffer

_LABEL: Final = b"scaler-trio handshake 1"


class Side(Enum):
    """Which end of the connection we are; its value is the direction byte of the proof this end gives."""

    DIALER = b"d"
    LISTENER = b"l"


class State(Enum):
    """Where a connection is; the handshake only moves forward."""

    AWAIT_HELLO = "await hello"
    AWAIT_REPLY = "await reply"
    AWAIT_PROOF = "await proof"
    AWAIT_WELCOME = "await welcome"
    OPEN = "open"
    CLOSED = "closed"


EXPECTED: Final[dict[State, type]] = {
    State.AWAIT_HELLO: messages.Hello,
    State.AWAIT_REPLY: messages.HelloReply,
    State.AWAIT_PROOF: messages.Proof,
    State.AWAIT_WELCOME: messages.Welcome,
}
"""The one message, besides ``Error``, that is legal in each state before the connection is open."""


def proof(token: bytes, side: Side, role: int, nonces: tuple[bytes, bytes], hellos: tuple[Buffer, Buffer]) -> bytes:
    """What the end ``side``, which says it is ``role``, must show; nonces and hellos in the order dialer, listener."""
    transcript = hashlib.sha256(bytes(hellos[0]) + bytes(hellos[1])).digest()
    text = _LABEL + side.value + role.to_bytes(1, "big") + nonces[0] + nonces[1] + transcript
    return hmac.new(token, text, hashlib.sha256).digest()


def verify(given: bytes, expected: bytes, who: str) -> None:
    """Compare in constant time.

    Raises:
        RemoteProtocolError: the peer does not know our token.
    """
    if not hmac.compare_digest(given, expected):
        raise RemoteProtocolError(
            ErrorCode.AUTHENTICATION,
            f"wrong token: {who} and this side do not share one; pass the same token to both "
            "(token=, --token-file or SCALER_TOKEN)",
        )


def common_version(hello: messages.Hello) -> int:
    """The highest protocol version that both ends speak.

    Raises:
        RemoteProtocolError: there is none.
    """
    version = min(hello.protocol_max, messages.PROTOCOL_MAX)
    if version < max(hello.protocol_min, messages.PROTOCOL_MIN):
        raise RemoteProtocolError(
            ErrorCode.VERSION,
            f"no common protocol version: the peer speaks {hello.protocol_min} to {hello.protocol_max}, "
            f"this side {messages.PROTOCOL_MIN} to {messages.PROTOCOL_MAX}; upgrade the older one",
        )
    return version
