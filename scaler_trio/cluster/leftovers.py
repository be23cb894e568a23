"""Files of services that were killed before they could clean up: recognised by locks that nobody holds any more."""

import os
import socket
from contextlib import suppress

from scaler_trio.config.runtime import runtime_path
from scaler_trio.config.tokens import sweep_tokens
from scaler_trio.objects.directories import sweep_directory
from scaler_trio.objects.spill import default_parent


def sweep_leftovers() -> None:
    """Remove tokens, sockets and spilled objects of this user's dead services; those of living ones stay."""
    sweep_tokens()
    for parent in (runtime_path(), default_parent()):
        with suppress(OSError):  # whoever starts a service there next tries again, and says what is wrong
            sweep_directory(parent, "")
    for path in runtime_path().glob("manager-*.sock"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            try:
                sock.connect(os.fspath(path))
            except ConnectionRefusedError:  # its launcher is gone
                path.unlink(missing_ok=True)
            except OSError:
                pass  # just removed
