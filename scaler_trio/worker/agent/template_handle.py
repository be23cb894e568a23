"""The agent's end of its template: starting it, asking it for processors, hearing how they end, taking it down."""

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Final

import trio

from scaler_trio.process import lineage
from scaler_trio.process.logs import close_logs
from scaler_trio.worker.errors import WorkerFailed
from scaler_trio.worker.processor.template import REQUEST, SIGNAL, START, Template
from scaler_trio.worker.settings import WorkerSettings

STOP_S: Final = 2.0
"""How long a template may take to kill its children before it is killed itself."""


class TemplateHandle:
    """A running template. Ownership: who started it calls ``stop``, or ``kill`` where nothing can be awaited."""

    def __init__(self, control: socket.socket, pid: int, process: "subprocess.Popen[bytes] | None") -> None:
        control.setblocking(False)
        self._control = control
        self._pid = pid
        self._process = process
        self._rest = b""
        self._is_reaped = False

    @classmethod
    def begin(cls, settings: WorkerSettings) -> "TemplateHandle":
        """Fork it if this process may fork, as one that a launcher forked may; else spawn it.

        Within a Trio run it is spawned: user code in the copies would find itself inside of that run.
        """
        may_fork = not trio.lowlevel.in_trio_run() and lineage.unsafe_threads() is None
        return cls.fork(settings) if may_fork else cls.spawn(settings)

    @classmethod
    def fork(cls, settings: WorkerSettings) -> "TemplateHandle":
        """Fork it from this process, which must have one thread: 4 ms, and it shares our memory."""
        ours, its = socket.socketpair()
        parent = os.getpid()
        pid = os.fork()
        if pid:
            its.close()
            return cls(ours, pid, None)
        try:
            fd = its.detach()
            close_logs()  # properly: what is closed behind its back would write to whoever has its number next
            os.closerange(3, fd)
            os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            Template(socket.socket(fileno=fd), configuration(settings, parent)).serve()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    @classmethod
    def spawn(cls, settings: WorkerSettings) -> "TemplateHandle":
        """Start it as a fresh interpreter: possible anywhere, takes 0.2 s during which the agent goes on."""
        ours, its = socket.socketpair()
        with its:
            text = json.dumps(configuration(settings, os.getpid()))
            arguments = [sys.executable, "-m", "scaler_trio.worker.processor.template", text, str(its.fileno())]
            process = subprocess.Popen(arguments, pass_fds=(its.fileno(),), stdin=subprocess.DEVNULL)
        return cls(ours, process.pid, process)

    def start(self, number: int, descriptors: Sequence[int], *, is_nested: bool = False) -> None:
        """Ask for a processor; ``descriptors`` are its socket, page, stdout, stderr. A notice follows.

        ``is_nested``: its tasks will most likely submit tasks of their own.
        """
        self._request(START, number, int(is_nested), descriptors)

    def signal(self, number: int, which: signal.Signals) -> None:
        """Send a signal to a processor, SIGKILL to its whole group; nothing happens if it has ended."""
        self._request(SIGNAL, number, int(which))

    async def notices(self) -> list[dict[str, Any]]:
        """The next notices, at least one; an empty list means that the template has ended."""
        while True:
            try:
                data = self._control.recv(64 * 1024)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._control)
                continue
            except OSError:
                return []
            if not data:
                return []
            *lines, self._rest = (self._rest + data).split(b"\n")
            if lines:
                return [json.loads(line) for line in lines]

    async def stop(self) -> None:
        """Take it down with everything it has started. Bounded by ``STOP_S``; cancelled, it kills at once."""
        if self._is_reaped:
            return
        try:
            self._control.shutdown(socket.SHUT_WR)
            with trio.move_on_after(STOP_S):
                while await self.notices():
                    pass
                self._reap()
        except OSError:
            pass  # its end is closed already
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill it if it still runs, and reap it. Its processors die with it, by the kernel's hand. Idempotent."""
        if not self._is_reaped:
            if self._process is not None:
                self._process.kill()
            else:
                os.kill(self._pid, signal.SIGKILL)
            self._reap()
        self._control.close()

    def _reap(self) -> None:
        # Waits only for an exit that has begun: its descriptors are closed, or it was killed.
        if self._process is not None:
            self._process.wait()
        else:
            os.waitpid(self._pid, 0)
        self._is_reaped = True

    def _request(self, operation: int, number: int, argument: int, descriptors: Sequence[int] = ()) -> None:
        # Requests are rare, 12 bytes each, and the template does nothing but serve them: the buffer holds thousands.
        request = REQUEST.pack(operation, number, argument)
        try:
            if descriptors:
                socket.send_fds(self._control, [request], descriptors)
            else:
                self._control.send(request)
        except BlockingIOError as error:
            raise WorkerFailed(f"the template process {self._pid} does not answer: is it stopped?") from error
        except OSError:
            pass  # it has ended; whoever reads the notices learns of it


def configuration(settings: WorkerSettings, parent: int) -> dict[str, Any]:
    """What a template needs to know, as JSON would carry it."""
    return {
        "parent": parent,
        "threads": settings.threads_per_slot,
        "path": sys.path,
        "preload": settings.preload,
        "start_method": settings.start_method,
        "access": settings.object_access,
        "name": settings.name,
        "log": settings.log.as_json(),
    }
