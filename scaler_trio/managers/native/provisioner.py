"""Units on this machine: a launcher of their own forks them, and is found again by a manager that was restarted."""

import errno
import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, ClassVar, Final

import trio

from scaler_trio.config.tokens import runtime_directory
from scaler_trio.managers.core.events import Ended, Failed, Found
from scaler_trio.managers.errors import ManagerFailed
from scaler_trio.managers.native.launcher import order
from scaler_trio.managers.provisioner import Provisioner, Tell
from scaler_trio.process import forking
from scaler_trio.worker.settings import WorkerSettings

HELLO_S: Final = 20.0
"""A launcher that starts imports for a third of a second, or for many on a machine that swaps."""

END_S: Final = forking.STOP_S + 2.0
"""More than a launcher's own time for its units, after which it is killed, and they with it."""

FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 10.0
"""Between attempts to start a launcher, doubling."""

READ_BYTES: Final = 64 * 1024

_PROGRAM: Final = (
    "import gc, json, sys; gc.disable(); sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from scaler_trio.managers.native.launcher import run; run()"
)

log = logging.getLogger("scaler_trio.manager")


class NativeProvisioner(Provisioner):
    """Worker processes on this machine."""

    kind: ClassVar[str] = "baremetal_native"

    def __init__(self, settings: WorkerSettings, *, lease_s: float, cores: list[list[int]]) -> None:
        """Nothing is started yet.

        Args:
            settings: of every unit, but for its name.
            lease_s: how long units go on without a manager.
            cores: of the first unit, the second, …, used in turn; empty = all units share all cores.
        """
        self._manager = settings.manager
        # One for each id and scheduler: managers of several clusters may have the same id.
        key = hashlib.sha256(f"{settings.manager}\n{settings.scheduler_address}".encode()).hexdigest()[:16]
        self._path = runtime_directory() / f"manager-{key}.sock"
        self._order = order(settings, lease_s, cores, os.fspath(self._path))
        text = json.dumps(self._order, sort_keys=True)
        self._order["identity"] = hashlib.sha256(text.encode()).hexdigest()
        self._socket: trio.socket.SocketType | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._rest = b""

    async def run(self, tell: Tell) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                units = await self._open()
            except (OSError, _NotThere) as error:
                tell(Failed(f"its launcher does not start: {error}"))
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            if units is not None:
                wait_s = FIRST_WAIT_S
                tell(Found(tuple(units)))
                await self._listen(tell)
                tell(Failed("its launcher has ended, and is started again"))
                await self._reap(END_S)

    def start(self, unit: str) -> None:
        self._send({"start": unit})

    def end(self, unit: str) -> None:
        self._send({"end": unit})

    async def close(self) -> None:
        if self._socket is not None:
            self._send({"close": True})
            with trio.move_on_after(END_S) as scope, suppress(OSError):
                while await self._socket.recv(READ_BYTES):
                    pass
            if scope.cancelled_caught:
                log.warning("the launcher did not end within %g s; it is killed", END_S)
                forking.kill(self._pid, signal.SIGKILL)
            self._drop()
        elif self._process is not None and self._process.poll() is None:
            self._process.terminate()
        await self._reap(END_S)
        with suppress(OSError):
            self._path.unlink()

    # ------------------------------------------------------------------------------------------------------ inside

    async def _open(self) -> list[str] | None:
        """The units of the launcher that runs, or of a new one; None if it had to be ended and another try is due."""
        if not await self._connect():
            await self._reap(END_S)
            self._launch()
            if not await self._connect():
                raise _NotThere("nobody listens at its socket")
        with trio.move_on_after(HELLO_S):
            lines = await self._lines()
            hello: dict[str, Any] = next(iter(lines), {})
            if "busy" in hello:
                raise ManagerFailed(
                    f"another worker manager {self._manager!r} of this user runs on this machine for the same "
                    "scheduler; give this one another --worker-manager-id"
                )
            if not hello:
                self._drop()
                raise _NotThere("it ended at once; what it wrote to standard error says why")
            self._pid = int(hello["pid"])
            if hello["identity"] == self._order["identity"]:
                return list(hello["units"])
            log.warning("the units of an earlier manager of this id have other settings; they are ended")
            self._send({"close": True})
            while await self._lines():
                pass
            self._drop()
            return None
        self._drop()
        raise _NotThere(f"it has said nothing for {HELLO_S:g} s")

    async def _connect(self) -> bool:
        """Whether a launcher listens."""
        sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            await sock.connect(os.fspath(self._path))
        except OSError as error:
            sock.close()
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                return False
            raise
        self._socket, self._rest = sock, b""
        return True

    def _launch(self) -> None:
        """Start one, with a socket that listens already. In a session of its own: a Ctrl-C is ours to handle."""
        with suppress(FileNotFoundError):
            self._path.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(os.fspath(self._path))
            listener.listen(8)
            self._process = subprocess.Popen(
                [sys.executable, *_flags(), "-P", "-c", _PROGRAM, str(listener.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=(listener.fileno(),),
                start_new_session=True,
            )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(json.dumps(self._order["search"]).encode() + b"\n")
            pipe.write(json.dumps(self._order).encode())

    async def _listen(self, tell: Tell) -> None:
        while lines := await self._lines():
            for line in lines:
                tell(Ended(line["ended"], line["how"]))
        self._drop()

    async def _lines(self) -> list[dict[str, Any]]:
        """The next lines, at least one; none means the end."""
        while self._socket is not None:
            try:
                data = await self._socket.recv(READ_BYTES)
            except OSError:
                return []
            if not data:
                return []
            *lines, self._rest = (self._rest + data).split(b"\n")
            if lines:
                return [json.loads(line) for line in lines]
        return []

    def _send(self, what: object) -> None:
        """Never waits: a launcher that does not read is not there."""
        if self._socket is None:
            return  # it hears nothing, and neither do we: `Found` is next
        line = json.dumps(what).encode() + b"\n"
        try:
            sent = os.write(self._socket.fileno(), line)
        except OSError:
            sent = 0
        if sent < len(line):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _reap(self, timeout_s: float) -> None:
        """Wait until the launcher that we started has ended."""
        process = self._process
        if process is None:
            return
        with trio.move_on_after(timeout_s) as scope:
            await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
        if scope.cancelled_caught:
            process.kill()
            process.wait()
        self._process = None


class _NotThere(Exception):
    """There is no launcher, and why."""


def core_groups(cores: Iterable[int], slots: int) -> list[list[int]]:
    """As many cores for each unit as it has slots, one unit after the other."""
    ordered = sorted(cores)
    return [ordered[at : at + slots] for at in range(0, len(ordered) - slots + 1, slots)] or [ordered]


def _flags() -> list[str]:
    """Interpreter options that change what code means, as ``multiprocessing`` passes them on: -O, -X, -W, …"""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return flags
