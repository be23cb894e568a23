"""Starting a launcher from Python: one child process, told what to run, watched until it is gone.

It is a fresh interpreter, never a fork of the caller, and imports nothing of the caller's: hence no ``__main__`` guard.
What it is told goes through its standard input, because command lines are short and readable by everybody.
"""

import json
import os
import select
import subprocess
import sys
import time
from typing import Any

from scaler_trio.errors import ConnectionFailed

START_S = 30.0
"""From the order to the report: it takes half a second, or many on a machine that swaps."""

STOP_S = 10.0
"""More than the launcher's own time for its services, after which it is killed, and they with it."""

REPORT_BYTES = 64 * 1024

_PROGRAM = (  # without the collector, which finds nothing while modules are imported
    "import gc, json, sys; gc.disable(); sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from scaler_trio.cluster.combo_process import run; run()"
)


class Launch:
    """A launcher that was started. Ownership: call ``finish``; otherwise it ends with this process.

    Raises:
        ConnectionFailed: this Python cannot start another one.
    """

    def __init__(self) -> None:
        if not sys.executable or getattr(sys, "frozen", False):
            raise ConnectionFailed(
                f"a cluster is started with the Python interpreter, and {sys.executable or 'this program'!r} is an "
                "application of its own: start scaler_scheduler and workers elsewhere, and give Client their address"
            )
        self._owner = os.getpid()
        life_read, self._life_fd = os.pipe()
        self._report_fd, report_write = os.pipe()
        try:
            self._process = subprocess.Popen(
                # -P: the directory that the caller happens to be in is on its path only if it was on ours.
                [sys.executable, *_flags(), "-P", "-c", _PROGRAM, str(life_read), str(report_write), str(self._owner)],
                stdin=subprocess.PIPE,
                pass_fds=(life_read, report_write),
                start_new_session=True,  # a Ctrl-C in the terminal is the caller's to handle
            )
        except OSError as error:
            os.close(self._life_fd)
            os.close(self._report_fd)
            raise ConnectionFailed(f"no cluster could be started with {sys.executable}: {error}") from error
        finally:
            os.close(life_read)
            os.close(report_write)
        self._tell(_search_path())

    def order(self, order: dict[str, object]) -> dict[str, str]:
        """Tell it what to run; its report.

        Raises:
            ConnectionFailed: it failed, or said nothing for ``START_S``.
        """
        self._tell(order)
        self._close_stdin()
        deadline = time.monotonic() + START_S
        text = b""
        while not text.endswith(b"\n"):
            if not select.select([self._report_fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ConnectionFailed(f"the cluster did not start within {START_S:g} s; its processes are stopped")
            part = os.read(self._report_fd, REPORT_BYTES)
            if not part:
                raise ConnectionFailed(
                    f"the cluster did not start: its launcher ended with {self._process.wait()}; "
                    "what it wrote to standard error says why"
                )
            text += part
        report: dict[str, Any] = json.loads(text)
        if "error" in report:
            raise ConnectionFailed(report["error"])
        return report

    @property
    def is_running(self) -> bool:
        """Whether the launcher still lives; without it, nothing of the cluster does."""
        return self._process.poll() is None

    def finish(self) -> None:
        """Stop it, and wait until it is gone with all its services. Only once; in a forked child it does nothing."""
        if os.getpid() != self._owner:
            return  # a fork of the process that started it: not its cluster
        self._close_stdin()
        # Not by closing the pipe alone: a process that was forked from this one holds its end too.
        self._process.terminate()
        os.close(self._life_fd)
        os.close(self._report_fd)
        try:
            code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its services die with it
            code = self._process.wait()
        if code:
            from scaler_trio.cluster.leftovers import sweep_leftovers

            sweep_leftovers()

    def _tell(self, what: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended already; whoever reads its report learns how

    def _close_stdin(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # the same


def _flags() -> list[str]:
    """Interpreter options that change what code means, as ``multiprocessing`` passes them on: -O, -X, -W, …"""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return flags


def _search_path() -> list[str]:
    """Where modules are found here, independent of the current directory: what is beside the script, above all."""
    return [os.path.abspath(entry) for entry in sys.path]
