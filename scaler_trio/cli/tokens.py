"""Which token a service uses: told, found, or made."""

import os
from pathlib import Path

from scaler_trio.config.tokens import find_token, make_token, parse_token, read_token_file
from scaler_trio.net import Address

VARIABLE = "SCALER_TOKEN"


class NoToken(ValueError):
    """A service that others could reach has no token."""


def told_token(token_file: Path | None) -> bytes | None:
    """The token of ``--token-file``, else of the environment, else None.

    Raises:
        TokenError: it is no token.
    """
    if token_file is not None:
        return read_token_file(token_file)
    value = os.environ.get(VARIABLE)
    return parse_token(value, f"the variable {VARIABLE}") if value else None


def listening_token(address: Address, token_file: Path | None, beside: Address | None = None) -> bytes:
    """The token of a service that listens at ``address``.

    On the loopback address a service without one takes that of the local service at ``beside``, or makes one; clients
    of the same user find it in their runtime directory.

    Raises:
        NoToken: it would listen beyond this machine without a token.
        TokenError: what it was told is no token.
    """
    token = told_token(token_file)
    if token is not None:
        return token
    if not address.is_loopback:
        raise NoToken(
            f"{address} can be reached from other machines: whoever connects may run code here, so a token is needed. "
            "Write one into a file (python3 -c 'import secrets; print(secrets.token_urlsafe(32))') and pass it to "
            f"every service and client with --token-file or {VARIABLE}"
        )
    return (find_token(str(beside)) if beside is not None else None) or make_token()


def connecting_token(address: Address, token_file: Path | None) -> bytes:
    """The token for a service elsewhere.

    Raises:
        NoToken: none was told, and no local service left one.
        TokenError: what was told is no token.
    """
    token = told_token(token_file) or find_token(str(address))
    if token is None:
        raise NoToken(f"no token for {address}: pass the scheduler's with --token-file or {VARIABLE}")
    return token
