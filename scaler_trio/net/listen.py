"""Listening: sockets bound to an address, and handshakes of newcomers, bounded in number and time."""

import errno
import socket
from collections.abc import Awaitable, Callable

import trio
from attrs import define

from scaler_protocol import Connection, Identity, Role, Side, Timing, limits
from scaler_trio.net.address import Address
from scaler_trio.net.errors import ConnectFailed, NetError
from scaler_trio.net.link import Link
from scaler_trio.net.stream import SocketStream

BACKLOG = 1024
"""Connections that the kernel may hold for us: a fleet that comes back at once."""

_NO_CAPACITY = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


@define
class Listener:
    """Bound sockets. ``serve`` accepts until it is cancelled; ``close`` gives the ports back."""

    address: Address
    sockets: list[socket.socket]
    accepted: int = 0
    refused: int = 0

    def close(self) -> None:
        """Stop listening; idempotent."""
        for sock in self.sockets:
            sock.close()

    async def serve(
        self,
        handler: Callable[[Link], Awaitable[None]],
        identity: Callable[[], Identity],
        *,
        token: bytes | None,
        timing: Timing | None = None,
        expect: Role | None = None,
        nursery: trio.Nursery,
    ) -> None:
        """Accept for ever; a newcomer that completes the handshake goes to ``handler``, in a task of ``nursery``.

        With ``expect`` only that role is let in.

        A newcomer that does not complete it costs its own task until the handshake's deadline, at most
        ``limits.PENDING_HANDSHAKES`` at a time: beyond it the longest waiting one is closed.
        """
        pending: dict[Link, None] = {}

        async def newcomer(sock: socket.socket) -> None:
            link = Link(
                SocketStream(sock),
                Connection(Side.LISTENER, identity(), token=token, timing=timing or Timing(), expect=expect),
            )
            pending[link] = None
            if len(pending) > limits.PENDING_HANDSHAKES:
                longest = next(iter(pending))
                del pending[longest]  # now: its own task runs later, and the next newcomer must not find it again
                longest.close("too many connections are in the handshake")
            try:
                try:
                    await link.open(timeout_s=limits.HANDSHAKE_SECONDS)
                except NetError:
                    self.refused += 1
                    return
                finally:
                    pending.pop(link, None)
                self.accepted += 1
                await handler(link)
            finally:
                link.close("the session ended")

        async def accept(sock: socket.socket) -> None:
            while True:
                try:
                    await trio.lowlevel.wait_readable(sock)
                    connection, _ = sock.accept()
                except (BlockingIOError, ConnectionError):
                    continue
                except OSError as error:
                    if error.errno not in _NO_CAPACITY:
                        raise
                    await trio.sleep(0.1)  # no descriptors or memory: let sessions end
                    continue
                nursery.start_soon(newcomer, connection)

        async with trio.open_nursery() as acceptors:
            for sock in self.sockets:
                acceptors.start_soon(accept, sock)


def listen(address: Address) -> Listener:
    """Bind ``address`` (port 0: any free one; the listener's ``address`` has the real one).

    Raises:
        ConnectFailed: the port is taken, or the host is not one of this machine's.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConnectFailed(f"cannot listen at {address}: the host is not known ({error.strerror})") from error
    sockets: list[socket.socket] = []
    port = address.port
    try:
        for family, kind, protocol, _, name in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            sock.bind((name[0], port, *name[2:]))
            sock.listen(BACKLOG)
            port = sock.getsockname()[1]
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise ConnectFailed(f"cannot listen at {address}: {error.strerror or error}") from error
    return Listener(Address(address.host, port), sockets)
