"""Having children: how a process without threads and without Trio forks services, learns of their ends, and ends them.

A service costs 5 MB and a few milliseconds by fork, against 18 MB and 120 ms by a fresh interpreter.
"""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from scaler_trio.process.lineage import die_with_parent, set_title
from scaler_trio.process.logs import name_process

STOP_S: Final = 3.0
"""From SIGTERM to SIGKILL; a service needs some milliseconds, a worker that interrupts user code a second."""

FAILED: Final = 70
"""Exit code of a service that failed before it could say anything; ``EX_SOFTWARE`` of sysexits.h."""

HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""Signals that a forking process handles; its children begin with the default actions."""


def fork(title: str, run: Callable[[], int], close: Callable[[], None]) -> int:
    """Start a process that does ``run``, exits with what it returns, and dies with this one; its id.

    Args:
        title: what ``ps`` shows.
        run: everything that the process does.
        close: called in it first: closes descriptors that are the parent's own.
    """
    flush()
    parent = os.getpid()
    # A signal must not meet the child while it still has the parent's handlers, which would swallow it.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        return pid
    code = FAILED
    try:
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        die_with_parent(parent)
        set_title(title)
        name_process(title)
        close()
        code = run()
    except BaseException:
        logging.getLogger("scaler_trio.service").exception("the service failed")
    finally:
        # Never back into the parent's own code.
        flush()
        os._exit(code)


@contextlib.contextmanager
def signals() -> Iterator[tuple[int, Callable[[], bool]]]:
    """Within the block: a descriptor that is readable after a signal, and a call that empties it.

    That call answers whether a signal said that this process shall end.
    """
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    stopping = False

    def on_signal(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = stopping or number != signal.SIGCHLD

    def drained() -> bool:
        with contextlib.suppress(BlockingIOError):
            while os.read(read, 4096):
                pass
        return stopping

    for number in HANDLED:
        signal.signal(number, on_signal)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read, drained
    finally:
        signal.set_wakeup_fd(-1)
        os.close(read)
        os.close(write)


def be_init() -> None:
    """If this is the first process of a container: go on in a child, and be what such a process has to be.

    That is, pass on signals, reap whatever loses its parent, and exit as the child does.
    """
    if os.getpid() != 1:
        return
    flush()
    if not (pid := os.fork()):
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda which, _: kill(pid, signal.Signals(which)))
    while True:
        found, status = os.wait()
        if found == pid:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def ended(pid: int) -> int | None:
    """The exit code of a child, minus the signal's number if one killed it; None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def end_all(pids: Iterable[int]) -> None:
    """Ask these children to end, the last first; kill what does not within ``STOP_S``."""
    alive = list(pids)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # or the handler eats what we wait for
    for pid in reversed(alive):
        kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while alive and time.monotonic() < deadline:
        alive = [pid for pid in alive if not _is_gone(pid)]
        if alive:
            signal.sigtimedwait([signal.SIGCHLD], max(0.0, deadline - time.monotonic()))
    for pid in alive:
        kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def kill(pid: int, number: signal.Signals) -> None:
    """Send a signal, to whoever is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def how(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"by signal {-code}"


def flush() -> None:
    """Write what was printed, so that a child does not print it again."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # broken pipe, closed, or there is none
            stream.flush()


def _is_gone(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
