"""Framed messages over sockets, on Trio: addresses, dialling, listening, and the open link between two peers."""

from scaler_trio.net.address import Address, AddressError
from scaler_trio.net.dial import dial
from scaler_trio.net.errors import ConnectFailed, ConnectionClosed, NetError, PeerRefused
from scaler_trio.net.link import Link
from scaler_trio.net.listen import Listener, listen
from scaler_trio.net.stream import SocketStream, Stream

__all__ = [
    "Address",
    "AddressError",
    "ConnectFailed",
    "ConnectionClosed",
    "Link",
    "Listener",
    "NetError",
    "PeerRefused",
    "SocketStream",
    "Stream",
    "dial",
    "listen",
]
