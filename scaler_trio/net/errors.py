"""What goes wrong between two processes, each naming the peer."""

from scaler_protocol import ErrorCode


class NetError(Exception):
    """Something about a connection failed; raised only as one of its subclasses."""


class ConnectFailed(NetError):
    """No connection came about: nobody listens there, the name does not resolve, or it took too long."""


class PeerRefused(NetError):
    """A peer answered and refused, or it is not what it should be; ``code`` says why. Trying again will not help."""

    def __init__(self, message: str, code: ErrorCode) -> None:
        super().__init__(message)
        self.code = code


class ConnectionClosed(NetError):
    """An established connection ended: by the peer, by the network, or by us; the text says by whom and why."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.UNSPECIFIED) -> None:
        super().__init__(message)
        self.code = code
