"""Tokens of local services: one private file per address in the user's runtime directory, so ``Client(address)`` works.

A token is text, at least 16 bytes of it; its UTF-8 bytes are the secret of the handshake.
"""

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from scaler_protocol import limits

TOKEN_FILE_BYTES: Final = 4096
"""A token file is one line; what is longer is some other file."""


class TokenError(ValueError):
    """Not a token, or not where one may lie; the text says what to do."""


def make_token() -> bytes:
    """A new random token of 256 bits, as text that fits into an environment variable."""
    return secrets.token_urlsafe(32).encode()


def parse_token(text: str | bytes, origin: str) -> bytes:
    """The token in ``text``, without the blanks around it.

    Raises:
        TokenError: it is too short; names ``origin``.
    """
    token = (text.encode() if isinstance(text, str) else bytes(text)).strip()
    if len(token) < limits.TOKEN_BYTES:
        raise TokenError(f"the token in {origin} has {len(token)} bytes; at least {limits.TOKEN_BYTES} are needed")
    return token


def read_token_file(path: str | os.PathLike[str]) -> bytes:
    """The token in a file.

    Raises:
        TokenError: the file cannot be read, or holds no token.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(TOKEN_FILE_BYTES + 1)
    except OSError as error:
        raise TokenError(f"the token file {os.fspath(path)} cannot be read: {error.strerror}") from error
    if len(content) > TOKEN_FILE_BYTES:
        raise TokenError(f"{os.fspath(path)} is no token file: it is longer than {TOKEN_FILE_BYTES} bytes")
    return parse_token(content, os.fspath(path))


def runtime_directory() -> Path:
    """The user's private directory for what lives as long as a service; made if it is missing.

    Raises:
        TokenError: it belongs to somebody else or is open to others: whoever made it could read or plant tokens.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    path = Path(runtime) / "scaler-trio" if runtime else Path(tempfile.gettempdir()) / f"scaler-trio-{os.getuid()}"
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise TokenError(f"{path} is not a directory of this user; remove it, or set XDG_RUNTIME_DIR to one that is")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise TokenError(f"{path} is open to other users (mode {stat.S_IMODE(found.st_mode):o}); chmod 700 it")
    return path


def write_token(address: str, token: bytes) -> Path:
    """Leave ``token`` for clients of the service at ``address``; the service removes the file when it ends.

    Raises:
        TokenError: the runtime directory is not private.
    """
    path = _token_path(runtime_directory(), address)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(token + b"\n")
    part.rename(path)  # a reader sees the old token or the new one, never half of it
    return path


def remove_token(address: str) -> None:
    """Take back what ``write_token`` left, if it is still there."""
    with suppress(OSError, TokenError):
        _token_path(runtime_directory(), address).unlink()


def find_token(address: str) -> bytes | None:
    """The token that a local service left for ``address``, or None."""
    try:
        path = _token_path(runtime_directory(), address)
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            return None
        return read_token_file(path)
    except (OSError, TokenError):
        return None


def _token_path(directory: Path, address: str) -> Path:
    # `localhost` and 127.0.0.1 are one service to a user.
    plain = address.removeprefix("tcp://").replace("localhost:", "127.0.0.1:").replace("[::1]:", "127.0.0.1:")
    safe = "".join(c if c.isalnum() or c in ".-" else "_" for c in plain)
    return directory / f"token-{safe}"
