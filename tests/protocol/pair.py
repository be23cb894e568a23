"""Two connections back to back, as h11 tests its own: what one sends, the other receives, in pieces of any size."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from scaler_protocol import Connection, Identity, Message, Role, Side

if TYPE_CHECKING:
    from scaler_protocol.frames import Buffer

TOKEN = b"sixteen byte tok"
OTHER_TOKEN = b"another good one"


def identity(role: Role = Role.CLIENT, number: int = 1, **more: Any) -> Identity:
    return Identity(role, bytes([number]) * 16, f"{role.name.lower()}-{number}", bytes([0x80 + number]) * 32, **more)


def dialer(role: Role = Role.CLIENT, *, token: bytes | None = TOKEN, **more: Any) -> Connection:
    return Connection(Side.DIALER, identity(role, 1), token=token, **more)


def listener(role: Role = Role.SCHEDULER, *, token: bytes | None = TOKEN, **more: Any) -> Connection:
    return Connection(Side.LISTENER, identity(role, 2), token=token, **more)


def outgoing(connection: Connection) -> bytes:
    return b"".join(connection.take_outgoing())


def feed(connection: Connection, data: bytes, chop: int = 1 << 20) -> list[Message]:
    """Give `data` to `connection`, at most `chop` bytes at a time."""
    messages: list[Message] = []
    view = memoryview(data)
    while view:
        buffer = connection.get_buffer()
        size = min(len(buffer), len(view), chop)
        buffer[:size] = view[:size]
        view = view[size:]
        messages += connection.received(size)
    return messages


class Pair:
    """A dialer and a listener, and everything that either sent to the other."""

    def __init__(self, one: Connection | None = None, other: Connection | None = None, *, chop: int = 1 << 20) -> None:
        self.dialer = dialer() if one is None else one
        self.listener = listener() if other is None else other
        self.chop = chop
        self.sent: list[tuple[str, bytes]] = []

    def shake_hands(self) -> Pair:
        """Let both talk until neither has anything to say."""
        for side in itertools.cycle(["dialer", "listener"]):
            data = outgoing(getattr(self, side))
            if not data:
                return self
            self.sent.append((side, data))
            feed(self.listener if side == "dialer" else self.dialer, data, self.chop)
        raise AssertionError

    def send(self, sender: Connection, *messages: Message) -> list[Message]:
        """What the other end makes of `messages`."""
        buffers: list[Buffer] = [buffer for message in messages for buffer in sender.encode(message)]
        receiver = self.listener if sender is self.dialer else self.dialer
        return feed(receiver, b"".join(buffers), self.chop)
