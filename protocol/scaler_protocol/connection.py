"""One connection, without IO: bytes in, messages out; handshake, legality and heartbeat answers are taken care of.

Feed ``get_buffer``/``received``; send what ``take_outgoing`` returns; ask ``state``. An error is final: its sentence is
already in the outgoing bytes, and the shell sends them and closes.
"""

from typing import Final

from attrs import field, frozen

from scaler_protocol import codec, handshake, limits, messages
from scaler_protocol.errors import ErrorCode, LocalProtocolError, ProtocolError, RemoteProtocolError
from scaler_protocol.fields import Message, kind_of
from scaler_protocol.frames import Buffer, Frame, FrameDecoder
from scaler_protocol.handshake import EXPECTED, Side, State
from scaler_protocol.legality import may_connect, sendable
from scaler_protocol.messages import Role


@frozen
class Identity:
    """What this end says of itself; ``nonce`` must be fresh randomness for every connection."""

    role: Role
    session: bytes
    name: str
    nonce: bytes = field(repr=False)
    epoch: int = 0
    python: str = ""


@frozen
class Timing:
    """What a listener tells a dialer: send something every ``heartbeat_s``; silence of ``deadline_s`` is death."""

    heartbeat_s: float = 2.0
    deadline_s: float = 10.0


_NAMES: Final = {
    Role.CLIENT: "a client",
    Role.WORKER: "a worker",
    Role.MANAGER: "a worker manager",
    Role.SCHEDULER: "a scheduler",
    Role.OBJECTS: "an object storage server",
    Role.MONITOR: "a monitor",
    Role.PROCESSOR: "a processor",
}
"""Roles as errors name them."""

_ERROR_KIND: Final = kind_of(messages.Error)


class Connection:
    """The protocol's state machine for one end of one connection."""

    def __init__(
        self,
        side: Side,
        identity: Identity,
        *,
        token: bytes | None,
        expect: Role | None = None,
        timing: Timing = Timing(),
    ) -> None:
        """Start the handshake.

        Args:
            side: whether this end connected or accepted.
            identity: what this end says of itself.
            token: the shared secret, or None for none at all (written out as ``insecure`` in every setting).
            expect: the role that this end expects to meet; another one is refused with a sentence that says so.
            timing: what a listener asks of its peer.
        """
        if token is not None and len(token) < limits.TOKEN_BYTES:
            raise LocalProtocolError(
                ErrorCode.AUTHENTICATION, f"a token of {len(token)} bytes; at least {limits.TOKEN_BYTES} are needed"
            )
        self.side = side
        self.identity = identity
        self.timing = timing
        self.peer: messages.Hello | messages.HelloReply | None = None
        self.peer_role: Role | None = None
        self.error: ProtocolError | None = None
        self._token = token
        self._expect = expect
        self._decoder = FrameDecoder(limits.UNAUTHENTICATED_FRAME_BYTES)
        self._decoder.one_at_a_time = True
        self._outgoing: list[Buffer] = []
        self._hellos: list[Buffer] = []
        self._receivable: frozenset[int] = frozenset()  # kinds, once open
        self._sendable: frozenset[type] = frozenset()
        if side is Side.DIALER:
            self.state = State.AWAIT_REPLY
            hello = messages.Hello(
                protocol_min=messages.PROTOCOL_MIN,
                protocol_max=messages.PROTOCOL_MAX,
                role=identity.role,
                session=identity.session,
                name=identity.name,
                nonce=identity.nonce,
                epoch=identity.epoch,
                python=identity.python,
            )
            self._hellos.append(self._queue(hello))
        else:
            self.state = State.AWAIT_HELLO

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done and no error has occurred."""
        return self.state is State.OPEN

    def get_buffer(self) -> memoryview:
        """Where the next received bytes belong."""
        return self._decoder.get_buffer()

    @property
    def has_outgoing(self) -> bool:
        """Whether ``take_outgoing`` would give anything."""
        return bool(self._outgoing)

    def take_outgoing(self) -> list[Buffer]:
        """The bytes that the protocol itself wants sent, once: hellos, proofs, pongs, a last error."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def received(self, count: int) -> list[Message]:
        """Take ``count`` bytes written to ``get_buffer()``; return the messages for the layer above.

        What still arrives after the connection is closed is dropped.

        Raises:
            RemoteProtocolError: the peer broke the protocol, refused us, or does not know the token. Messages that were
                complete before the error are lost with the connection.
        """
        if self.state is State.CLOSED:
            return []
        try:
            frames = self._decoder.received(count)
            while self.state is not State.OPEN and frames:
                self._handshake(frames[0])
                frames = self._decoder.received(0)
            return [message for frame in frames if (message := self._open(frame)) is not None]
        except RemoteProtocolError as error:
            self.fail(error)
            raise

    def received_eof(self) -> None:
        """The peer closed its end.

        Raises:
            RemoteProtocolError: in the middle of a frame or of the handshake.
        """
        state, self.state = self.state, State.CLOSED
        if state not in (State.OPEN, State.CLOSED):
            raise RemoteProtocolError(ErrorCode.OUT_OF_ORDER, f"the peer closed the connection ({state.value})")
        if self._decoder.mid_frame:
            raise RemoteProtocolError(ErrorCode.BAD_FRAME, "the peer closed the connection in the middle of a frame")

    def encode(self, message: Message) -> list[Buffer]:
        """The bytes of ``message``.

        Raises:
            LocalProtocolError: not open, over a limit, or not ours to send.
        """
        if self.state is not State.OPEN:
            raise LocalProtocolError(ErrorCode.OUT_OF_ORDER, f"the connection is not open ({self.state.value})")
        if type(message) not in self._sendable:
            raise LocalProtocolError(
                ErrorCode.OUT_OF_ORDER,
                f"{_NAMES[self.identity.role]} must not send {type(message).__name__} to {self._peer_name()}",
            )
        return codec.encode(message)

    def fail(self, error: ProtocolError) -> None:
        """Close with ``error``; the peer is told unless it was the one that told us."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self.error = error
        if not isinstance(error, _ToldByPeer):
            self._queue(messages.Error(code=error.code, text=limits.clip(error.message, limits.TEXT_BYTES // 8)))

    # ------------------------------------------------------------------------------------------------------ inside

    def _queue(self, message: Message) -> Buffer:
        buffers = codec.encode(message)
        self._outgoing += buffers
        return memoryview(buffers[0])[12:]  # the body: control messages have no segments

    def _open(self, frame: Frame) -> Message | None:
        if frame.kind not in self._receivable and frame.kind in codec.MESSAGE_CLASSES:
            name = codec.MESSAGE_CLASSES[frame.kind].__name__
            raise RemoteProtocolError(ErrorCode.OUT_OF_ORDER, f"{self._peer_name()} must not send {name} to this side")
        message = codec.decode(frame)
        if type(message) is messages.Ping:
            self._queue(messages.Pong(message.number))
            return None
        if type(message) is messages.Error:
            raise _ToldByPeer.from_message(message)
        return message

    def _peer_name(self) -> str:
        assert self.peer_role is not None
        return _NAMES[self.peer_role]

    def _handshake(self, frame: Frame) -> None:
        if frame.kind not in (kind_of(EXPECTED[self.state]), _ERROR_KIND):
            raise RemoteProtocolError(
                ErrorCode.OUT_OF_ORDER, f"message kind {frame.kind} in state {self.state.value!r}"
            )
        message = codec.decode(frame)
        if type(message) is messages.Error:
            raise _ToldByPeer.from_message(message)
        if type(message) is messages.Hello:
            self._on_hello(message, frame.body)
        elif type(message) is messages.HelloReply:
            self._on_reply(message, frame.body)
        elif type(message) is messages.Proof:
            self._on_proof(message)
        else:
            self._on_welcome(message)

    def _on_hello(self, hello: messages.Hello, body: Buffer) -> None:
        version = handshake.common_version(hello)
        role = _role(hello.role)
        if not may_connect(role, self.identity.role):
            raise RemoteProtocolError(
                ErrorCode.OUT_OF_ORDER,
                f"this is {_NAMES[self.identity.role]}: {_NAMES[role]} has no business here; "
                "check the address and port",
            )
        if self._expect not in (None, role):
            raise RemoteProtocolError(
                ErrorCode.OUT_OF_ORDER, f"only {_NAMES[self._expect]} is let in at this address, not {_NAMES[role]}"
            )
        self.peer, self.peer_role = hello, role
        reply = messages.HelloReply(
            protocol=version,
            role=self.identity.role,
            session=self.identity.session,
            name=self.identity.name,
            nonce=self.identity.nonce,
            epoch=self.identity.epoch,
            token_required=self._token is not None,
        )
        self._hellos = [body, self._queue(reply)]
        self.state = State.AWAIT_PROOF

    def _on_reply(self, reply: messages.HelloReply, body: Buffer) -> None:
        role = _role(reply.role)
        if self._expect is not None and role is not self._expect:
            raise RemoteProtocolError(
                ErrorCode.OUT_OF_ORDER,
                f"expected {_NAMES[self._expect]} at this address and found {_NAMES[role]}",
            )
        if not messages.PROTOCOL_MIN <= reply.protocol <= messages.PROTOCOL_MAX:
            raise RemoteProtocolError(ErrorCode.VERSION, f"the peer chose protocol version {reply.protocol}")
        if reply.token_required != (self._token is not None):
            raise RemoteProtocolError(
                ErrorCode.AUTHENTICATION,
                f"there is {_NAMES[role]} that requires a token and this side has none; "
                "pass token=, --token-file or SCALER_TOKEN"
                if reply.token_required
                else f"this side has a token and {_NAMES[role]} asks for none: it may be somebody else; "
                "start both with the same token, or both insecure",
            )
        self.peer, self.peer_role = reply, role
        self._hellos.append(body)
        self._queue(messages.Proof(self._mac(Side.DIALER)))
        self.state = State.AWAIT_WELCOME

    def _on_proof(self, proof: messages.Proof) -> None:
        handshake.verify(proof.mac, self._mac(Side.DIALER), self._who())
        self._queue(
            messages.Welcome(
                self._mac(Side.LISTENER), heartbeat_s=self.timing.heartbeat_s, deadline_s=self.timing.deadline_s
            )
        )
        self._set_open()

    def _on_welcome(self, welcome: messages.Welcome) -> None:
        handshake.verify(welcome.mac, self._mac(Side.LISTENER), self._who())
        self.timing = Timing(welcome.heartbeat_s, welcome.deadline_s)
        self._set_open()

    def _set_open(self) -> None:
        assert self.peer_role is not None
        self.state = State.OPEN
        self._receivable = frozenset(map(kind_of, sendable(self.peer_role, self.identity.role)))
        self._sendable = sendable(self.identity.role, self.peer_role)
        self._decoder.limit_bytes = limits.FRAME_BYTES
        self._decoder.one_at_a_time = False
        self._hellos.clear()

    def _mac(self, side: Side) -> bytes:
        if self._token is None:
            return b""
        assert self.peer is not None
        assert self.peer_role is not None
        ours_first = self.side is Side.DIALER
        nonces = (self.identity.nonce, self.peer.nonce) if ours_first else (self.peer.nonce, self.identity.nonce)
        role = self.identity.role if side is self.side else self.peer_role
        return handshake.proof(self._token, side, role, nonces, (self._hellos[0], self._hellos[1]))

    def _who(self) -> str:
        assert self.peer is not None
        return f"{self._peer_name()} {self.peer.name!r}"


class _ToldByPeer(RemoteProtocolError):
    """The peer closed with an error; it needs no answer."""

    @classmethod
    def from_message(cls, message: messages.Error) -> "_ToldByPeer":
        try:
            code = ErrorCode(message.code)
        except ValueError:
            code = ErrorCode.UNSPECIFIED
        return cls(code, message.text)


def _role(number: int) -> Role:
    try:
        return Role(number)
    except ValueError:
        raise RemoteProtocolError(ErrorCode.BAD_BODY, f"role {number} is unknown") from None
