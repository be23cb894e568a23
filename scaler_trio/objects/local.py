"""The local socket: a Unix socket in a private directory. Who can connect to it is this user, on this host."""

import socket
from typing import Final

from attrs import define

from scaler_trio.net import Address, Listener
from scaler_trio.net.listen import BACKLOG
from scaler_trio.objects.directories import ClaimedDirectory, claim_directory, runtime_directory

PATH_BYTES: Final = 107
"""The longest path that fits into a socket address, on Linux."""


@define
class LocalListener:
    """A listener on a Unix socket; ``close`` removes socket and directory."""

    path: str
    listener: Listener
    _claim: ClaimedDirectory

    def close(self) -> None:
        """Stop listening and clean up; idempotent."""
        self.listener.close()
        self._claim.close()


def listen_locally(prefix: str) -> LocalListener:
    """Bind a Unix socket in the user's runtime directory.

    Raises:
        OSError: the directory cannot be made, or its path is too long for a socket.
    """
    claim = claim_directory(runtime_directory(), prefix)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path = str(claim.path / "s")
        if len(path.encode()) > PATH_BYTES:
            raise OSError(f"{path} is too long for a socket ({PATH_BYTES} bytes): set XDG_RUNTIME_DIR to a shorter one")
        sock.setblocking(False)
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        claim.close()
        raise
    return LocalListener(path, Listener(Address("local", 0), [sock]), claim)
