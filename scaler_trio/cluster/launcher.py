"""The process that starts, watches and stops services: threadless, warm, and never running Trio, so that it may fork.

Whatever becomes of the owner, the services end: they die with the launcher (death signal), and the launcher ends with
its owner.
"""

import gc
import logging
import os
import selectors
import time
from collections.abc import Callable, Sequence

from attrs import define, field

from scaler_trio.cluster.services import Service
from scaler_trio.process import forking
from scaler_trio.process.running import SHUT_DOWN

log = logging.getLogger("scaler_trio.launcher")

FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 30.0
QUIET_S = 10.0
"""A service that ran this long is restarted without delay: its death is news."""


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
        code = 0
        with forking.signals() as (descriptor, signalled):
            self.close_in_child = [*self.close_in_child, descriptor]
            gc.freeze()  # what the services share with us stays shared: their collections do not write to it
            gc.enable()
            try:
                self.start()
                with selectors.DefaultSelector() as selector:
                    for readable, action in {descriptor: signalled, **watch}.items():
                        selector.register(readable, selectors.EVENT_READ, action)
                    stopping = False
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
                forking.end_all([running.pid for running in self._running if running.pid])
        return code

    # ------------------------------------------------------------------------------------------------------ inside

    def _fork(self, running: _Running) -> None:
        def close() -> None:
            for descriptor in self.close_in_child:
                os.close(descriptor)
            for other in self.services:
                if other is not running.service and other.listener is not None:
                    other.listener.close()

        running.pid = forking.fork(running.service.title, running.service.run, close)
        running.started_at = time.monotonic()

    def _reap(self) -> bool:
        """Whether one has ended because its cluster was shut down."""
        for running in self._running:
            if not running.pid:
                continue
            code = forking.ended(running.pid)
            if code is None:
                continue
            running.pid = 0
            if code == SHUT_DOWN:
                log.info("%s ended as the cluster was shut down; everything is stopped", running.service.name)
                return True
            how = forking.how(code)
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
