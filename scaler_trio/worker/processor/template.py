"""The template: a warm, threadless process that forks processors, signals them, and reports how each one ended.

It owns its children, so it alone may signal them: until it has reaped one, that pid cannot be anybody else's. When the
agent goes, however it goes, the template kills every process group that it started and ends.
"""

import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import traceback
import warnings
from typing import Any, Final, NoReturn

from scaler_trio.process import lineage
from scaler_trio.process.logs import LogSettings, configure_logging
from scaler_trio.worker.processor import process as processor
from scaler_trio.worker.processor.preload import PreloadFailed, run_preload

REQUEST: Final = struct.Struct("<III")  # operation, number of the processor, argument
CLIENT: Final = "scaler_trio.client.client"
"""What a task imports that submits tasks of its own."""

START: Final = 1  # with four descriptors: socket, page, stdout, stderr
SIGNAL: Final = 2  # the argument is a signal; SIGKILL goes to the whole group
DESCRIPTORS: Final = 4

_SAFE_FD: Final = 10
"""Descriptors are moved up to here before they are put into their places, so that no place is overwritten too early."""


class Template:
    """Serves one agent over ``control``; notices are lines of JSON."""

    def __init__(self, control: socket.socket, configuration: dict[str, Any]) -> None:
        self._control = control
        self._configuration = configuration
        self._forks = True
        self._pids: dict[int, int] = {}  # number to pid, of children not yet reaped
        self._is_ending = False

    def serve(self) -> NoReturn:
        """Prepare, then serve until the agent is gone."""
        agent = self._configuration["parent"]
        lineage.die_with_parent(agent)
        lineage.set_title("scaler_template")
        configure_logging(LogSettings.from_json(self._configuration["log"]), self._configuration["name"])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C at the terminal is the agent's to handle
        wakeup, wakeup_end = os.pipe()
        os.set_blocking(wakeup_end, False)
        os.set_blocking(wakeup, False)
        try:
            self._prepare()
        except PreloadFailed as error:
            self._notify({"failed": str(error)})
            os._exit(1)
        signal.set_wakeup_fd(wakeup_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        # From now on there are children to take along, which a SIGKILL would not let us do.
        lineage.die_with_parent(agent, signal.SIGTERM)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        while not self._is_ending:
            ready = dict(poll.poll())
            if wakeup in ready:
                os.read(wakeup, 4096)
            self._reap()
            if self._control.fileno() in ready:
                self._on_request(wakeup, wakeup_end)
        self._end()

    def _prepare(self) -> None:
        lineage.limit_library_threads(self._configuration["threads"])
        method = self._configuration["start_method"]
        if method == "spawn":
            self._forks = False
        else:
            run_preload(self._configuration["preload"])
            reason = lineage.unsafe_threads() if method == "auto" else None
            if reason is not None:
                self._forks = False
                self._notify(
                    {"warning": f"processors start as fresh interpreters, which is slower: after preload {reason}"}
                )
        if self._forks:
            try:
                # Every processor that meets a large value needs it; importing it here costs each of them nothing.
                importlib.import_module(self._configuration["access"].partition(":")[0])
            except ImportError:
                pass  # whoever needs it says so, in the task that does
            gc.collect()
            gc.freeze()
        self._notify({"ready": "fork" if self._forks else "spawn"})

    # ------------------------------------------------------------------------------------------------------ children

    def _on_request(self, *ours: int) -> None:
        try:
            request, descriptors, _, _ = socket.recv_fds(self._control, REQUEST.size, DESCRIPTORS)
        except ConnectionError:
            request, descriptors = b"", []
        if len(request) < REQUEST.size:
            self._is_ending = True
            return
        operation, number, argument = REQUEST.unpack(request)
        if operation == START:
            if argument and self._forks and CLIENT not in sys.modules:
                # It takes 0.2 s, which nobody spends who does not need it; once here, every processor has it.
                importlib.import_module(CLIENT)
                gc.freeze()
            try:
                pid = self._fork(descriptors, ours) if self._forks else self._spawn(descriptors)
            except OSError as error:
                self._notify({"exited": number, "error": f"no process could be started: {error.strerror or error}"})
            else:
                self._pids[number] = pid
                self._notify({"started": number, "pid": pid})
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
        elif number in self._pids:
            _signal(self._pids[number], argument)

    def _fork(self, descriptors: list[int], ours: tuple[int, ...]) -> int:
        template = os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 counts the threads that we have judged harmless
            pid = os.fork()
        if pid:
            try:
                os.setpgid(pid, pid)  # both sides do it, so that it holds for whoever comes first
            except OSError:
                pass  # it has ended already
            return pid
        try:
            os.setpgid(0, 0)
            lineage.die_with_parent(template)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._control.close()
            socket_fd, page_fd, output_fd, error_fd = descriptors
            null_fd = os.open(os.devnull, os.O_RDONLY)
            for source, place in ((null_fd, 0), (output_fd, 1), (error_fd, 2)):
                os.dup2(source, place)
            for descriptor in (*ours, null_fd, output_fd, error_fd):
                os.close(descriptor)
            lineage.set_title("scaler_processor")
            lineage.be_killed_first()
            lineage.reseed()
            processor.become(socket_fd, page_fd)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(processor.EXIT_INTERNAL)

    def _spawn(self, descriptors: list[int]) -> int:
        # Not os.fork and exec: between the two, a child of a process with threads may find any lock taken.
        configuration = {**self._configuration, "parent": os.getpid()}
        moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _SAFE_FD) for descriptor in descriptors]
        null_fd = fcntl.fcntl(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), fcntl.F_DUPFD_CLOEXEC, _SAFE_FD)
        places = (processor.SOCKET_FD, processor.PAGE_FD, 1, 2)
        actions = [(os.POSIX_SPAWN_DUP2, source, place) for source, place in zip(moved, places, strict=True)]
        actions.append((os.POSIX_SPAWN_DUP2, null_fd, 0))
        try:
            return os.posix_spawn(
                sys.executable,
                [sys.executable, "-m", "scaler_trio.worker.processor.process", json.dumps(configuration)],
                os.environ,
                file_actions=actions,
                setpgroup=0,
                setsigmask=[],
                setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGCHLD],
            )
        finally:
            for descriptor in (*moved, null_fd):
                os.close(descriptor)

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            _signal(ended.si_pid, signal.SIGKILL)  # what it has left in its group, while its pid is still its own
            pid, status, usage = os.wait4(ended.si_pid, 0)
            number = next((number for number, child in self._pids.items() if child == pid), None)
            if number is not None:
                del self._pids[number]
                self._notify(
                    {
                        "exited": number,
                        "status": os.waitstatus_to_exitcode(status),
                        "peak_bytes": usage.ru_maxrss * 1024,
                        "cpu_s": usage.ru_utime + usage.ru_stime,
                    }
                )

    def _notify(self, notice: dict[str, Any]) -> None:
        try:
            self._control.sendall(json.dumps(notice).encode() + b"\n")
        except OSError:
            self._is_ending = True

    # ---------------------------------------------------------------------------------------------------- the end

    def _on_terminate(self, number: int, frame: object) -> None:
        self._is_ending = True

    def _end(self) -> NoReturn:
        for pid in self._pids.values():
            _signal(pid, signal.SIGKILL)
        for pid in self._pids.values():
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass
        os._exit(0)


def _signal(pid: int, number: int) -> None:
    try:
        if number == signal.SIGKILL:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        # Gone, or a group that holds nothing but the zombie, or not yet a group of its own: then the process itself.
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def main() -> NoReturn:
    """A fresh interpreter: ``argv[1]`` is the configuration, ``argv[2]`` the descriptor of the control socket."""
    configuration = json.loads(sys.argv[1])
    sys.path[:] = configuration["path"]
    Template(socket.socket(fileno=int(sys.argv[2])), configuration).serve()


if __name__ == "__main__":
    main()
