"""The process that starts, watches and stops services: threadless, warm, and never running Trio, so that it may fork.

A service costs 5 MB and a few milliseconds by fork, against 18 MB and 120 ms by a fresh interpreter. Whatever becomes
of the owner, the services end: they die with the launcher (death signal), and the launcher ends with its owner.
"""

import contextlib
import gc
import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Sequence

from attrs import define, field

from scaler_trio.cluster.services import SHUT_DOWN, Service
from scaler_trio.worker.lineage import die_with_parent, set_title

log = logging.getLogger("scaler_trio.launcher")

STOP_S = 3.0
"""From SIGTERM to SIGKILL; a service needs some milliseconds, a worker that interrupts user code a second."""

FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 30.0
QUIET_S = 10.0
"""A service that ran this long is restarted without delay: its death is news."""


FAILED = 70
"""Exit code of a service that failed before it could say anything; ``EX_SOFTWARE`` of sysexits.h."""

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class ServiceFailed(Exception):
    """A service that is not restarted ended by itself."""


@define
class _Running:
    service: Service
    pid: int = 0  # 0 = not running, to be started at start_at
    started_at: float = 0.0
    start_at: float = 0.0
    backoff_s: float = FIRST_BACKOFF_S


@define
class Launcher:
    """Runs services until it is told to stop."""

    services: Sequence[Service]
    close_in_child: Sequence[int] = ()
    """File descriptors that are the launcher's own."""

    _running: list[_Running] = field(init=False)
    _wake_read: int = field(init=False, default=-1)

    def __attrs_post_init__(self) -> None:
        self._running = [_Running(service) for service in self.services]

    def start(self) -> None:
        """Fork every service."""
        for running in self._running:
            self._fork(running)

    def run(self, watch: dict[int, Callable[[], bool]]) -> int:
        """Start, watch, restart, and stop in the end; the exit code.

        Args:
            watch: file descriptors, and what to call when one is readable: a true answer means stop.
        """
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        stopping = False

        def on_signal(number: int, frame: object) -> None:
            nonlocal stopping
            stopping = stopping or number != signal.SIGCHLD

        for number in _HANDLED:
            signal.signal(number, on_signal)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self.close_in_child = [*self.close_in_child, read, write]
        code = 0
        gc.freeze()  # what the services share with us stays shared: their collections do not write to it
        gc.enable()
        try:
            self.start()
            with selectors.DefaultSelector() as selector:
                selector.register(read, selectors.EVENT_READ, lambda: _drained(read))
                for descriptor, action in watch.items():
                    selector.register(descriptor, selectors.EVENT_READ, action)
                while not stopping:
                    for key, _ in selector.select(self._timeout()):
                        stopping = key.data() or stopping
                    stopping = self._reap() or stopping
                    if not stopping:
                        self._restart()
        except ServiceFailed as error:
            log.error("%s; everything is stopped", error)
            code = 1
        finally:
            self.stop()
            signal.set_wakeup_fd(-1)
            os.close(read)
            os.close(write)
        return code

    def stop(self) -> None:
        """Ask all services to end, last started first; kill what does not within ``STOP_S``."""
        alive = {running.pid for running in self._running if running.pid}
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # or the handler eats what we wait for
        for running in reversed(self._running):
            _kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while alive and time.monotonic() < deadline:
            alive -= {pid for pid in alive if _ended(pid)}
            if alive:
                signal.sigtimedwait([signal.SIGCHLD], max(0.0, deadline - time.monotonic()))
        for pid in alive:
            _kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        for running in self._running:
            running.pid = 0
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])

    # ------------------------------------------------------------------------------------------------------ inside

    def _fork(self, running: _Running) -> None:
        _flush()
        parent = os.getpid()
        # A signal must not meet the child while it still has the launcher's handlers, which would swallow it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            running.pid = pid
            running.started_at = time.monotonic()
            return
        code = FAILED
        try:
            signal.set_wakeup_fd(-1)
            for number in _HANDLED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            die_with_parent(parent)
            set_title(running.service.title)
            for descriptor in self.close_in_child:
                os.close(descriptor)
            for other in self.services:
                if other is not running.service and other.listener is not None:
                    other.listener.close()
            code = running.service.run()
        except BaseException:
            logging.getLogger("scaler_trio.service").exception("the service failed")
        finally:
            # Never back into the launcher's own code.
            _flush()
            os._exit(code)

    def _reap(self) -> bool:
        """Whether one has ended because its cluster was shut down."""
        for running in self._running:
            if not running.pid:
                continue
            pid, status = os.waitpid(running.pid, os.WNOHANG)
            if not pid:
                continue
            running.pid = 0
            code = os.waitstatus_to_exitcode(status)
            if code == SHUT_DOWN:
                log.info("%s ended as the cluster was shut down; everything is stopped", running.service.name)
                return True
            how = _how(code)
            if not running.service.restart:
                raise ServiceFailed(f"{running.service.name} ended {how}")
            now = time.monotonic()
            if now - running.started_at >= QUIET_S:
                running.backoff_s = FIRST_BACKOFF_S
            running.start_at = now + running.backoff_s
            log.warning("%s ended %s; another one starts in %.2g s", running.service.name, how, running.backoff_s)
            running.backoff_s = min(MAX_BACKOFF_S, 2 * running.backoff_s)
        return False

    def _restart(self) -> None:
        now = time.monotonic()
        for running in self._running:
            if not running.pid and running.start_at <= now:
                self._fork(running)

    def _timeout(self) -> float | None:
        times = [running.start_at for running in self._running if not running.pid]
        return max(0.0, min(times) - time.monotonic()) if times else None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # broken pipe, closed, or there is none
            stream.flush()


def _drained(descriptor: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 4096):
            pass
    return False


def _ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _kill(pid: int, number: signal.Signals) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _how(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"by signal {-code}"
