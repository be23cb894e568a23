"""Peers that mean no good, or know no better: rubbish, half frames, silence, and clients that never read."""

from __future__ import annotations

import os
import pickle
import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from scaler_protocol import Connection, Identity, Message, Role, Side
from scaler_protocol import messages as m
from scaler_trio.net import Address
from scaler_trio.serialization.identity import python_identity

Where = tuple[int, object]
"""Family and address of a socket."""


def tcp(address: str) -> Where:
    """`tcp://host:port`, as sockets want it."""
    parsed = Address.parse(address)
    return socket.AF_INET, (parsed.host, parsed.port)


def unix(path: str) -> Where:
    """A Unix socket."""
    return socket.AF_UNIX, path


def connect(where: Where) -> socket.socket:
    """A connection on which nothing has been said; the caller closes it."""
    sock = socket.socket(where[0], socket.SOCK_STREAM)
    sock.settimeout(10)
    sock.connect(where[1])  # type: ignore[arg-type]
    return sock


@contextmanager
def idle_connections(where: Where, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing, for as long as the block lasts."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(where)) for _ in range(count)]


def send_rubbish(where: Where, times: int, chance: random.Random) -> None:
    """Random bytes, up to 20,000 at once, and look whether the service hangs up; it may do so in the middle."""
    for _ in range(times):
        with connect(where) as sock:
            try:
                sock.sendall(chance.randbytes(chance.randrange(1, 20_000)))
            except OSError:
                pass


def send_half_frames(where: Where, times: int, chance: random.Random, *, token: bytes | None) -> None:
    """A proper hello, cut off somewhere; then the end."""
    for _ in range(times):
        hello = b"".join(bytes(part) for part in Peer.make_connection(Role.CLIENT, token).take_outgoing())
        with connect(where) as sock:
            sock.sendall(hello[: chance.randrange(1, len(hello))])


class Peer:
    """An authenticated peer on a blocking socket, which does exactly what it is told. Ownership: `close`."""

    def __init__(self, where: Where, role: Role, *, token: bytes | None, expect: Role) -> None:
        self.sock = connect(where)
        self.connection = self.make_connection(role, token, expect)
        self.session = self.connection.identity.session
        self._early: list[Message] = []  # what came with the last words of the handshake
        while not self.connection.is_open:
            self._flush()
            self._early += self._receive()
        self._flush()

    @staticmethod
    def make_connection(role: Role, token: bytes | None, expect: Role | None = None) -> Connection:
        identity = Identity(role, os.urandom(16), "a hostile peer", os.urandom(32), python=python_identity())
        return Connection(Side.DIALER, identity, token=token, expect=expect)

    def read(self) -> Sequence[Message]:
        """What has come; waits for something.

        Raises:
            ConnectionError: the service has hung up.
        """
        early, self._early = self._early, []
        return early or self._receive()

    def _receive(self) -> Sequence[Message]:
        count = self.sock.recv_into(self.connection.get_buffer())
        if not count:
            raise ConnectionResetError("the service has hung up")
        return self.connection.received(count)

    def send(self, *messages: Message) -> None:
        """Write them; waits until the socket has taken them."""
        for message in messages:
            for part in self.connection.encode(message):
                self.sock.sendall(part)

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _flush(self) -> None:
        for part in self.connection.take_outgoing():
            self.sock.sendall(part)


def greedy_client(where: Where, function: bytes, *, token: bytes | None, tasks: int, argument: int) -> Peer:
    """A client that submits tasks, each with this argument, and never reads their results."""
    payload = pickle.dumps(argument, 5)
    peer = Peer(where, Role.CLIENT, token=token, expect=Role.SCHEDULER)
    peer.send(m.ClientHeld(0, (), ()))
    peer.send(m.DefineFunction(1, "greedy", function))
    for first in range(1, tasks + 1, 256):
        rows = tuple([(number, 1, payload, (), 0) for number in range(first, min(first + 256, tasks + 1))])
        peer.send(m.SubmitTasks((m.TaskOptions(),), rows))
    return peer


def greedy_reader(where: Where, stored: bytes, *, token: bytes | None, fetches: int) -> Peer:
    """A client of the object storage that asks for an object again and again, and takes nothing of it."""
    peer = Peer(where, Role.CLIENT, token=token, expect=Role.OBJECTS)
    peer.send(*[m.Fetch(stored)] * fetches)
    return peer
