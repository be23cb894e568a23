"""Which token a service uses: told, shared by the local services of one user, or left by the service it connects to."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import define, field

from scaler_trio.config.tokens import (
    find_token,
    leave_token,
    parse_token,
    read_token_file,
    share_local_token,
)
from scaler_trio.net import Address

log = logging.getLogger("scaler_trio.service")

VARIABLE = "SCALER_TOKEN"

LOOK_S = 0.1
"""How often a token is looked for: a service that starts takes a second anyway."""


class NoToken(ValueError):
    """A service that others could reach has no token."""


@define
class ListeningToken:
    """The token of a service that listens."""

    token: bytes = field(repr=False)
    _files: ExitStack

    def leave(self, address: object) -> None:
        """Let clients of the same user find it: to be called with the real address."""
        self._files.callback(leave_token(str(address), self.token).remove)


@contextmanager
def listening_token(address: Address, token_file: Path | None) -> Iterator[ListeningToken]:
    """The token of a service that listens at ``address``; within the block it can be found by others.

    Raises:
        NoToken: it would listen beyond this machine without a token.
        TokenError: what it was told is no token.
    """
    with ExitStack() as files:
        token = told_token(token_file)
        if token is None and not address.is_loopback:
            raise NoToken(
                f"{address} can be reached from other machines, and whoever connects may run code here, so a token is "
                "needed: write one into a file (python3 -c 'import secrets; print(secrets.token_urlsafe(32))') and "
                f"pass it to every service and client with --token-file or {VARIABLE}"
            )
        if token is None:
            shared = share_local_token()
            files.callback(shared.close)
            token = shared.token
        yield ListeningToken(token, files)


def connecting_token(address: Address, token_file: Path | None) -> bytes:
    """The token for a service elsewhere; a local one that does not run yet is waited for.

    Raises:
        NoToken: none was told, and the service is not on this machine.
        TokenError: what was told is no token.
    """
    has_said_so = False
    while (token := known_token(address, token_file)) is None:
        if not has_said_so:
            log.info("waiting for a scheduler of this user at %s", address)
            has_said_so = True
        time.sleep(LOOK_S)
    return token


def known_token(address: Address, token_file: Path | None) -> bytes | None:
    """The token for a service elsewhere, if it can be had now; None for a local one that has left none.

    Raises:
        NoToken: none was told, and the service is not on this machine.
        TokenError: what was told is no token.
    """
    if (token := told_token(token_file)) is not None:
        return token
    if not address.is_loopback:
        raise NoToken(f"no token for {address}: pass the scheduler's with --token-file or {VARIABLE}")
    return find_token(str(address))


def told_token(token_file: Path | None) -> bytes | None:
    """The token of ``--token-file``, else of the environment, else None.

    Raises:
        TokenError: it is no token.
    """
    if token_file is not None:
        return read_token_file(token_file)
    value = os.environ.get(VARIABLE)
    return parse_token(value, f"the variable {VARIABLE}") if value else None
