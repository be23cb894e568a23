"""Where a client looks for what it was not given: the scheduler's address, and the token."""

import os

from scaler_trio.config import tokens
from scaler_trio.config.enclosing import get_enclosing


def find_address(given: str | None) -> str:
    """The address given, SCALER_ADDRESS, or in a task that task's scheduler.

    Raises:
        ValueError: there is none.
    """
    if given is not None:
        return given
    if found := os.environ.get("SCALER_ADDRESS"):
        return found
    enclosing = get_enclosing()
    if enclosing is not None:
        return enclosing.address
    raise ValueError(
        "No scheduler address provided: pass Client('tcp://host:port') or set SCALER_ADDRESS "
        "(and not running inside a worker context, where the task's own scheduler would be used)"
    )


def find_token(address: str, token: str | bytes | None, token_file: str | os.PathLike[str] | None) -> bytes | None:
    """The token given, that of ``token_file``, SCALER_TOKEN, the enclosing task's, or what a local service left.

    Raises:
        ValueError: one that is given is no token.
    """
    if token is not None:
        return tokens.parse_token(token, "token=")
    if token_file is not None:
        return tokens.read_token_file(token_file)
    if text := os.environ.get("SCALER_TOKEN"):
        return tokens.parse_token(text, "SCALER_TOKEN")
    enclosing = get_enclosing()
    if enclosing is not None and enclosing.address == address:
        return enclosing.token
    return tokens.find_token(address)
