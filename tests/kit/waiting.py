"""Waiting for a condition in real time, with the last thing that was seen in the error; and not waiting for a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

POLL_S = 0.01


def wait_until(
    probe: Callable[[], T], what: str | Callable[[], object], *, timeout_s: float = 10.0, every_s: float = POLL_S
) -> T:
    """The first true answer of `probe`; `what` says what is waited for, or gives what the failure should show.

    Raises:
        AssertionError: there was none in time; the text has the last one.
    """
    deadline = time.monotonic() + timeout_s
    while not (seen := probe()):
        if time.monotonic() > deadline:
            wanted = what if isinstance(what, str) else what()
            raise AssertionError(f"after {timeout_s:g} s still not: {wanted}; last seen: {seen!r}")
        time.sleep(every_s)
    return seen


def in_background(call: Callable[..., T], /, *arguments: Any, **named: Any) -> Future[T]:
    """Run it in a thread of its own, which does not keep a test that has failed from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call(*arguments, **named))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name=f"background {getattr(call, '__name__', call)}").start()
    return future
