"""What any peer may send to any other: the handshake, heartbeats, refusals, farewells."""

from scaler_protocol import limits
from scaler_protocol.fields import (
    bounded,
    exactly,
    message,
)
from scaler_protocol.ids import SESSION_ID_BYTES, U64_MAX
from scaler_protocol.values import frozen


@message(1)
@frozen
class Hello:
    """The first message of the side that connected."""

    protocol_min: int = bounded(minimum=1, maximum=U64_MAX)
    protocol_max: int = bounded(minimum=1, maximum=U64_MAX)
    role: int = bounded(minimum=0, maximum=255)
    session: bytes = exactly(SESSION_ID_BYTES)
    name: str = bounded(maximum=limits.NAME_BYTES)
    nonce: bytes = exactly(limits.NONCE_BYTES)
    epoch: int = bounded(minimum=0, maximum=U64_MAX, default=0)  # highest scheduler epoch seen
    python: str = bounded(maximum=limits.NAME_BYTES, default="")  # "3.11/cloudpickle 3.1", "" = does not pickle


@message(2)
@frozen
class HelloReply:
    """The listener's answer to ``Hello``: its own half of the proof's input."""

    protocol: int = bounded(minimum=1, maximum=U64_MAX)
    role: int = bounded(minimum=0, maximum=255)
    session: bytes = exactly(SESSION_ID_BYTES)
    name: str = bounded(maximum=limits.NAME_BYTES)
    nonce: bytes = exactly(limits.NONCE_BYTES)
    epoch: int = bounded(minimum=0, maximum=U64_MAX, default=0)
    token_required: bool = True


@message(3)
@frozen
class Proof:
    """The connecting side's proof that it knows the token (empty where none is required)."""

    mac: bytes = bounded(maximum=limits.PROOF_BYTES)


@message(4)
@frozen
class Welcome:
    """The listener accepts, and proves that it knows the token too."""

    mac: bytes = bounded(maximum=limits.PROOF_BYTES)
    heartbeat_s: float = bounded(minimum=0.01, maximum=3600, default=2.0)  # send something at least this often
    deadline_s: float = bounded(minimum=0.01, maximum=36000, default=10.0)  # silence after which the peer is given up


@message(5)
@frozen
class Error:
    """A refusal, or the last word before a connection closes."""

    code: int = bounded(minimum=0, maximum=65535)
    text: str = bounded(maximum=limits.TEXT_BYTES)


@message(6)
@frozen
class Ping:
    """A heartbeat; the peer answers with ``Pong`` of the same number."""

    number: int = bounded(minimum=0, maximum=U64_MAX)


@message(7)
@frozen
class Pong:
    """The answer to ``Ping``."""

    number: int = bounded(minimum=0, maximum=U64_MAX)


@message(8)
@frozen
class Goodbye:
    """The sender closes on purpose: it will not come back under this session."""

    reason: str = bounded(maximum=limits.TEXT_BYTES, default="")


@message(9)
@frozen
class Shutdown:
    """A client asks for the end of the whole cluster; the scheduler tells everybody of it. Nobody connects again."""

    reason: str = bounded(maximum=limits.TEXT_BYTES, default="")
