"""Asking a running scheduler, as a monitor: one connection, one question, one answer."""

import os
from typing import Final, TypeVar

import trio

from scaler_protocol import Identity, Message, Role, limits
from scaler_trio.net import Address, ConnectionClosed, NetError, dial

ANSWER_S: Final = 10.0
"""A scheduler that reacts to thousands of workers at once may take a second."""

A = TypeVar("A")


class NoAnswer(Exception):
    """The scheduler cannot be reached, refuses us, or does not answer; the text says which."""


def ask(address: Address, token: bytes | None, question: Message, answer: type[A]) -> A:
    """The scheduler's answer to a question.

    Raises:
        NoAnswer: there is none.
    """
    return trio.run(_ask, address, token, question, answer)


async def _ask(address: Address, token: bytes | None, question: Message, answer: type[A]) -> A:
    identity = Identity(
        Role.MONITOR, os.urandom(16), f"{os.uname().nodename}-{os.getpid()}", os.urandom(limits.NONCE_BYTES)
    )
    try:
        link = await dial(address, identity, token=token, expect=Role.SCHEDULER, timeout_s=ANSWER_S)
    except NetError as error:
        raise NoAnswer(str(error)) from error
    failure, found = f"the scheduler at {address} has not answered within {ANSWER_S:g} s", None
    try:
        with trio.move_on_after(ANSWER_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                link.send(question)
                try:
                    while found is None:
                        found = next((one for one in await link.receive() if isinstance(one, answer)), None)
                except ConnectionClosed as closed:
                    failure = str(closed)
                nursery.cancel_scope.cancel()
    finally:
        link.close("the question is answered")
    if found is None:
        raise NoAnswer(failure)
    return found
