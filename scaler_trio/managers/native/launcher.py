"""The process that forks the units of a native manager, and outlives it for a while.

It has no threads and never runs Trio, so that it may fork. It obeys one manager at a time, over a socket in the user's
runtime directory: lines of JSON, of which it sends first what it has, then what ends. A manager that is killed leaves
it, and its units, working; one of the same id that comes within the lease takes them over. After the lease, or when it
is told to end, everything of it ends.
"""

import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from attrs import define, evolve, field
from cattrs.preconf.json import make_converter

from scaler_trio.process import forking
from scaler_trio.process.lineage import set_title
from scaler_trio.process.logs import configure_logging
from scaler_trio.words import counted
from scaler_trio.worker.entry import run_worker_process
from scaler_trio.worker.settings import WorkerSettings

READ_BYTES: Final = 64 * 1024

log = logging.getLogger("scaler_trio.launcher")


@define
class _Unit:
    pid: int
    place: int
    """The least number that no other unit had: its cores, where units have cores of their own."""

    kill_at: float | None = None


@define
class UnitLauncher:
    """Forks units until its manager, a signal, or the end of the lease ends it."""

    settings: WorkerSettings
    """Of every unit, but for its name."""

    listener: socket.socket
    lease_s: float
    """How long it goes on without a manager."""

    identity: str
    """Of what it was told: a manager that was told something else replaces it."""

    cores: list[list[int]]
    """Those of each place, used in turn; empty = all of them for everybody."""

    _units: dict[str, _Unit] = field(factory=dict)
    _manager: socket.socket | None = None
    _alone_since: float = field(factory=time.monotonic)
    _is_ending: bool = False
    _selector: selectors.BaseSelector = field(factory=selectors.DefaultSelector)
    _rest: bytes = b""
    _own: list[int] = field(factory=list)

    def run(self) -> int:
        """Work until the end; the exit code."""
        self.listener.setblocking(False)
        with forking.signals() as (descriptor, signalled), self._selector:
            self._own = [descriptor, self.listener.fileno()]

            def on_signal() -> None:
                self._is_ending = signalled() or self._is_ending

            self._selector.register(descriptor, selectors.EVENT_READ, on_signal)
            self._selector.register(self.listener, selectors.EVENT_READ, self._accept)
            try:
                while not self._is_ending:
                    for key, _ in self._selector.select(self._timeout()):
                        key.data()
                    self._reap()
                    self._look_at_time()
            finally:
                self.listener.close()  # nobody new
                forking.end_all([unit.pid for unit in self._units.values()])
        return 0

    # ----------------------------------------------------------------------------------------------------- the manager

    def _accept(self) -> None:
        with suppress(BlockingIOError, ConnectionError):
            connection, _ = self.listener.accept()
            if self._manager is not None:
                connection.send(b'{"busy": true}\n')
                connection.close()
                return
            connection.setblocking(False)
            self._manager, self._rest = connection, b""
            self._selector.register(connection, selectors.EVENT_READ, self._read)
            self._tell({"pid": os.getpid(), "identity": self.identity, "units": list(self._units)})

    def _read(self) -> None:
        assert self._manager is not None
        try:
            data = self._manager.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leave()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            order: dict[str, Any] = json.loads(line)
            if "start" in order:
                self._start(order["start"])
            elif "end" in order:
                self._end(order["end"])
            else:
                self._is_ending = True

    def _tell(self, what: object) -> None:
        if self._manager is None:
            return
        line = json.dumps(what).encode() + b"\n"
        try:
            if self._manager.send(line) < len(line):
                self._leave()  # it does not read; it hears everything when it comes back
        except OSError:
            self._leave()

    def _leave(self) -> None:
        if self._manager is not None:
            self._selector.unregister(self._manager)
            self._manager.close()
            self._manager, self._alone_since = None, time.monotonic()

    # ------------------------------------------------------------------------------------------------------- the units

    def _start(self, name: str) -> None:
        taken = {unit.place for unit in self._units.values()}
        place = next(number for number in range(len(taken) + 1) if number not in taken)
        try:
            pid = forking.fork("scaler_worker", lambda: self._be(name, place), self._close)
        except OSError as error:  # no memory, or no more processes
            self._tell({"ended": name, "how": f"before it began: {error}"})
            return
        self._units[name] = _Unit(pid, place)

    def _close(self) -> None:
        """In a unit: what is not its own."""
        for descriptor in [*self._own, *([self._manager.fileno()] if self._manager is not None else [])]:
            os.close(descriptor)

    def _be(self, name: str, place: int) -> int:
        if self.cores:
            os.sched_setaffinity(0, self.cores[place % len(self.cores)])
        return run_worker_process(evolve(self.settings, name=name, unit=name))

    def _end(self, name: str) -> None:
        if (unit := self._units.get(name)) is None:
            self._tell({"ended": name, "how": "before"})
        elif unit.kill_at is None:
            forking.kill(unit.pid, signal.SIGTERM)
            unit.kill_at = time.monotonic() + forking.STOP_S

    def _reap(self) -> None:
        for name, unit in list(self._units.items()):
            code = forking.ended(unit.pid)
            if code is not None:
                del self._units[name]
                self._tell({"ended": name, "how": forking.how(code)})

    # ------------------------------------------------------------------------------------------------------------ time

    def _timeout(self) -> float | None:
        times = [unit.kill_at for unit in self._units.values() if unit.kill_at is not None]
        if self._manager is None:
            times.append(self._alone_since + self.lease_s)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _look_at_time(self) -> None:
        now = time.monotonic()
        for unit in self._units.values():
            if unit.kill_at is not None and unit.kill_at <= now:
                forking.kill(unit.pid, signal.SIGKILL)
                unit.kill_at = None
        if self._manager is None and now - self._alone_since >= self.lease_s:
            are_ended = f"{counted(len(self._units), 'unit')} {'is' if len(self._units) == 1 else 'are'} ended"
            log.warning("no worker manager for %g s: %s", self.lease_s, are_ended)
            self._is_ending = True


def order(settings: WorkerSettings, lease_s: float, cores: list[list[int]], path: str) -> dict[str, object]:
    """What a launcher is told, as one JSON object."""
    return {
        "worker": make_converter().unstructure(settings),
        "lease_s": lease_s,
        "cores": cores,
        "socket": path,
        "search": [os.path.abspath(entry) for entry in sys.path],
    }


def main(descriptor: int, told: dict[str, Any], remove: Callable[[], None]) -> int:
    """Be the launcher whose listening socket is ``descriptor``; the exit code."""
    set_title("scaler_launcher")
    settings = make_converter().structure(told["worker"], WorkerSettings)
    configure_logging(settings.log, f"{settings.manager} launcher")
    try:
        with socket.socket(fileno=descriptor) as listener:
            return UnitLauncher(settings, listener, told["lease_s"], told["identity"], told["cores"]).run()
    finally:
        remove()


def run() -> None:
    """What the command line calls, with the descriptor as argument and the order on standard input."""
    told: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    path = told["socket"]

    def remove() -> None:
        with suppress(OSError):
            os.unlink(path)

    code = main(int(sys.argv[1]), told, remove)
    logging.shutdown()
    os._exit(code)  # taking a warm interpreter apart would only make others wait
