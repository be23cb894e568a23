"""The processor: a child process whose main thread runs user code in a plain loop.

Forked from the template (``become``), or a fresh interpreter started by it (``python -m
scaler_trio.worker.processor.process``).
"""

import faulthandler
import io
import json
import os
import signal
import socket
import sys
import traceback
from typing import Final, NoReturn

from scaler_trio.config import enclosing
from scaler_trio.process import lineage
from scaler_trio.process.logs import LogSettings, configure_logging
from scaler_trio.worker import channel
from scaler_trio.worker.control_page import ControlPage
from scaler_trio.worker.processor.loop import AgentGone, ProcessorLoop
from scaler_trio.worker.processor.preload import PreloadFailed, run_preload
from scaler_trio.worker.processor.results import flush_output
from scaler_trio.worker.processor.store import ObjectStore

INTERRUPT: Final = signal.SIGURG
"""Soft cancel. By default it is ignored, so that one which arrives late, or in a subprocess, harms nobody."""

SOCKET_FD: Final = 3
PAGE_FD: Final = 4

EXIT_INTERNAL: Final = 70
"""Exit status when the processor itself is at fault, not the user's code."""


def become(socket_fd: int, page_fd: int) -> NoReturn:
    """Turn this process, which has its group, its death signal and its stdout and stderr, into a processor.

    Ownership: takes both descriptors. Never returns: no clean-up of the process that it was forked from may run.
    """
    status = EXIT_INTERNAL
    pid = os.getpid()
    try:
        _open_standard_streams()
        faulthandler.enable()  # where a fault in compiled code happened is among the last lines that it prints
        signal.signal(signal.SIGINT, signal.default_int_handler)
        page = ControlPage(page_fd)
        sock = socket.socket(fileno=socket_fd)
        loop = ProcessorLoop(page, sock, ObjectStore())
        enclosing.set_waits(loop.waits)
        os.register_at_fork(after_in_child=lambda: _be_a_copy(page))
        signal.signal(INTERRUPT, loop.on_interrupt)
        sock.send(channel.READY)
        loop.run()
    except AgentGone:
        status = 0
    except BaseException:
        if os.getpid() == pid:  # else user code forked and came back here: its result is its parent's
            traceback.print_exc()
    finally:
        flush_output()
        os._exit(status)


def _be_a_copy(page: ControlPage) -> None:
    """User code has forked us: a copy must not commit results, nor speak for the task."""
    page.release()
    enclosing.set_waits(None)


def _open_standard_streams() -> None:
    # What is inherited may be closed, a test's capture, or block-buffered, which would lose the lines before a crash.
    sys.stdin = open(os.devnull)  # noqa: SIM115 (lives as long as the process)
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), errors="replace", line_buffering=True)  # noqa: SIM115
    sys.stderr = io.TextIOWrapper(open(2, "wb", closefd=False), errors="backslashreplace", line_buffering=True)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def main() -> NoReturn:
    """A fresh interpreter: ``argv[1]`` is the template's configuration, descriptors 3 and 4 are socket and page."""
    configuration = json.loads(sys.argv[1])
    lineage.die_with_parent(configuration["parent"])
    lineage.set_title("scaler_processor")
    lineage.be_killed_first()
    lineage.limit_library_threads(configuration["threads"])
    sys.path[:] = configuration["path"]
    configure_logging(LogSettings.from_json(configuration["log"]), configuration["name"])
    try:
        run_preload(configuration["preload"])
    except PreloadFailed as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(1)
    become(SOCKET_FD, PAGE_FD)


if __name__ == "__main__":
    main()
