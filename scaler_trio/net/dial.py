"""Connecting to a service, with an error that says what to do."""

import os
import socket

import trio

from scaler_protocol import Connection, ErrorCode, Identity, Role, Side
from scaler_trio.net.address import Address
from scaler_trio.net.errors import ConnectFailed, ConnectionClosed, PeerRefused
from scaler_trio.net.link import Link
from scaler_trio.net.stream import SocketStream


async def dial(address: Address, identity: Identity, *, token: bytes | None, expect: Role, timeout_s: float) -> Link:
    """Connect and shake hands; the caller runs and closes the link.

    Raises:
        ConnectFailed: nobody answered within ``timeout_s``.
        PeerRefused: somebody answered who is not ``expect``, or who does not accept us.
    """
    who = expect.name.lower()
    deadline = trio.current_time() + timeout_s
    try:
        with trio.fail_at(deadline):
            stream = await trio.open_tcp_stream(address.host, address.port)
    except trio.TooSlowError:
        raise ConnectFailed(
            f"no {who} answered at {address} within {timeout_s:g} s: is it running, and is the address right?"
        ) from None
    except socket.gaierror as error:
        raise ConnectFailed(f"the host of {address} is not known: {error.strerror}") from error
    except OSError as error:
        raise ConnectFailed(
            f"no {who} listens at {address} ({_reason(error)}): is it running, and is the port right?"
        ) from error
    sock = socket.socket(fileno=stream.socket.detach())
    link = Link(SocketStream(sock), Connection(Side.DIALER, identity, token=token, expect=expect))
    try:
        await link.open(timeout_s=max(0.1, deadline - trio.current_time()))
    except PeerRefused as error:
        link.close("refused")
        if error.code in (ErrorCode.BAD_MAGIC, ErrorCode.BAD_FRAME, ErrorCode.OUT_OF_ORDER):
            raise PeerRefused(f"what listens at {address} is not a scaler-trio {who}: {error}", error.code) from error
        raise PeerRefused(f"the {who} at {address} refused: {error}", error.code) from error
    except ConnectionClosed as error:
        raise PeerRefused(f"what listens at {address} did not behave like a {who}: {error}", error.code) from error
    except BaseException:
        link.close("cancelled")
        raise
    return link


def _reason(error: OSError) -> str:
    """Trio tries every address of a name and says only that all failed; the attempts are its cause."""
    cause: BaseException | None = error if error.strerror else error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    number = getattr(cause, "errno", None)  # its text may be in words of Trio, with the address again
    return os.strerror(number) if number else str(getattr(cause, "strerror", None) or error)
