"""The commands as real processes, with what they print."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil

from tests.kit.waiting import wait_until

BIN = Path(sys.executable).parent
START_S = 20.0
STOP_S = 10.0


class Command:
    """One running command. ``stop`` it, or leave its ``with`` block."""

    def __init__(
        self, name: str, *arguments: str, environment: dict[str, str] | None = None, before: Sequence[str] = ()
    ) -> None:
        """Start it; ``before`` is a command that runs it, as ``unshare`` does."""
        self.name = name
        self.output: list[str] = []
        self.process = subprocess.Popen(
            [*before, str(BIN / name), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(os.environ, **(environment or {})),
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, pattern: str, timeout_s: float = START_S) -> re.Match[str]:
        """The first line of its output that matches."""
        return wait_until(lambda: self._search(pattern), lambda: f"{pattern!r} in {self.shown()}", timeout_s=timeout_s)

    @property
    def address(self) -> str:
        """What it says that it listens at."""
        return self.wait_for(r" at (tcp://\S+)$")[1]

    def shown(self) -> str:
        """All that it has printed."""
        return f"{self.name}:\n" + "".join(self.output)

    def family(self) -> list[psutil.Process]:
        """It and all its descendants."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and wait for that; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended; its exit code."""
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it did not end within {STOP_S:g} s; {self.shown()}") from None
        self._reader.join()
        return code

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.output.extend(lines)

    def _search(self, pattern: str) -> re.Match[str] | None:
        found = next(filter(None, (re.search(pattern, line.rstrip("\n")) for line in list(self.output))), None)
        if found is None and self.process.poll() is not None:
            raise AssertionError(f"it ended with {self.process.returncode}; {self.shown()}")
        return found


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback address that nobody listens at."""
    with ExitStack() as servers:
        found = [servers.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(count)]
        return [server.getsockname()[1] for server in found]


@contextmanager
def three_services(
    *flags: str, host: str = "127.0.0.1", workers: int = 1, environment: dict[str, str] | None = None
) -> Iterator[tuple[Command, Command, Command]]:
    """An object storage server, a scheduler and a worker manager; ``flags`` go to each of them."""
    with Command("scaler_object_storage_server", f"tcp://{host}:0", *flags, environment=environment) as objects:
        arguments = [f"tcp://{host}:0", "--object-storage-address", objects.address, *flags]
        with Command("scaler_scheduler", *arguments, environment=environment) as scheduler:
            arguments = ["baremetal_native", scheduler.address, "--mode", "fixed"]
            arguments += ["--max-task-concurrency", str(workers), *flags]
            with Command("scaler_worker_manager", *arguments, environment=environment) as manager:
                yield objects, scheduler, manager
