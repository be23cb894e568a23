"""Telling systemd how a service is, if it wants to know (``Type=notify``)."""

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Send a state, as ``READY=1``; nothing happens without ``NOTIFY_SOCKET``. Source: sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        sock.send(state.encode())
