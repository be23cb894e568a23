"""Tokens of local services: one private file per address in the user's runtime directory, so ``Client(address)`` works.

A token is text, at least 16 bytes of it; its UTF-8 bytes are the secret of the handshake. The service holds a lock on
its file while it lives, however it ends: a file without one is swept by whoever writes the next.
"""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from attrs import define, field

from scaler_protocol import limits
from scaler_trio.config.runtime import runtime_path

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
    path = runtime_path()
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise TokenError(f"{path} is not a directory of this user; remove it, or set XDG_RUNTIME_DIR to one that is")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise TokenError(f"{path} is open to other users (mode {stat.S_IMODE(found.st_mode):o}); chmod 700 it")
    return path


@define
class TokenFile:
    """A token that a service has left for clients of its user. Ownership: call ``remove`` when the service ends."""

    path: Path
    _descriptor: int  # of the file: it carries the lock, which forked services share

    def remove(self) -> None:
        """Take it back, unless another service's has taken its place; idempotent."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            if os.path.samestat(os.fstat(self._descriptor), self.path.lstat()):
                self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1


def leave_token(address: str, token: bytes) -> TokenFile:
    """Leave ``token`` for clients of the service at ``address``, and sweep what dead services left.

    Raises:
        TokenError: the runtime directory is not private.
        OSError: the file cannot be written.
    """
    directory = runtime_directory()
    path = _token_path(directory, address)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with _gate(directory):
        _sweep(directory)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, token + b"\n")
            part.rename(path)  # a reader sees the old token or the new one, never half of it
        except BaseException:
            os.close(descriptor)
            raise
    return TokenFile(path, descriptor)


@define
class LocalToken:
    """The token that one user's services on this machine share. Ownership: call ``close`` when the service ends."""

    token: bytes = field(repr=False)
    _path: Path
    _descriptor: int  # of the file: a shared lock says that somebody still uses it

    def close(self) -> None:
        """Stop using it; the last one removes it. Idempotent."""
        if self._descriptor < 0:
            return
        with suppress(OSError), _gate(self._path.parent):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while others share it
            self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1


def share_local_token() -> LocalToken:
    """The token of this user's local services that were not told one: the same for all, in whatever order they start.

    It is made by the first and removed by the last of them; one that is restarted meanwhile finds it again.

    Raises:
        TokenError: the runtime directory is not private.
        OSError: the file cannot be read or written.
    """
    directory = runtime_directory()
    path = directory / "token-local"
    with _gate(directory):
        _sweep(directory)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            content = os.read(descriptor, TOKEN_FILE_BYTES)
            if not content:
                content = make_token()
                os.write(descriptor, content + b"\n")
            return LocalToken(parse_token(content, os.fspath(path)), path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise


def sweep_tokens() -> None:
    """Remove the files of services that are gone."""
    directory = runtime_path()
    with suppress(OSError), _gate(directory):
        _sweep(directory)


@contextmanager
def _gate(directory: Path) -> Iterator[None]:
    """Hold everybody else off, so that nobody sweeps a file between its creation and its lock."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sweep(directory: Path) -> None:
    for path in [*directory.glob("token-*"), *directory.glob(".token-*")]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # just removed by its service, or nothing of ours
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        except OSError:
            pass  # its service lives
        finally:
            os.close(descriptor)


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
