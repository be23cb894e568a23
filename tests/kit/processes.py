"""The processes of a cluster, found by what `ps` shows of them, and what may be done to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
from attrs import frozen

from tests.kit.waiting import wait_until

LAUNCHER = "scaler_launcher"
SCHEDULER = "scaler_scheduler"
OBJECTS = "scaler_object_storage_server"
WORKER = "scaler_worker"
PROCESSOR = "scaler_processor"


def title(process: psutil.Process) -> str:
    """The role that a process shows, without what setproctitle pads it with; "" if it is gone."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def below(pid: int, wanted: str = "") -> list[psutil.Process]:
    """Living descendants of `pid` that show this title (or any)."""
    try:
        found = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [process for process in found if is_alive(process) and wanted in ("", title(process))]


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those of them that still run."""
    return [process for process in processes if is_alive(process)]


def wait_gone(processes: list[psutil.Process], *, timeout_s: float = 5.0) -> None:
    """Until none of them is left."""
    wait_until(lambda: not alive(processes), f"{processes} to end", timeout_s=timeout_s)


def private_bytes(process: psutil.Process) -> int:
    """Its own memory; shared segments, of which the object storage has a gigabyte or so, do not count."""
    return int(process.memory_full_info().uss)


def open_sockets(process: psutil.Process) -> int:
    """How many sockets it has open."""
    count = 0
    for fd in os.scandir(f"/proc/{process.pid}/fd"):
        try:
            count += os.readlink(fd.path).startswith("socket:")
        except FileNotFoundError:
            pass  # closed meanwhile
    return count


@frozen
class ClusterProcesses:
    """The processes of one combo that this process has started."""

    launcher: psutil.Process

    @classmethod
    def of(cls, address: str) -> ClusterProcesses:
        """The one whose scheduler listens at `address`."""
        port = int(address.rpartition(":")[2])

        def find() -> ClusterProcesses | None:
            for process in below(os.getpid(), LAUNCHER):
                for child in below(process.pid, SCHEDULER):
                    if any(c.laddr.port == port and c.status == "LISTEN" for c in child.net_connections("tcp")):
                        return cls(process)
            return None

        found = wait_until(find, f"a launcher whose scheduler listens at port {port}")
        assert found is not None
        return found

    @property
    def scheduler(self) -> psutil.Process:
        (found,) = below(self.launcher.pid, SCHEDULER)
        return found

    @property
    def objects(self) -> psutil.Process:
        (found,) = below(self.launcher.pid, OBJECTS)
        return found

    def agents(self) -> list[psutil.Process]:
        return below(self.launcher.pid, WORKER)

    def processors(self) -> list[psutil.Process]:
        return below(self.launcher.pid, PROCESSOR)

    def everything(self) -> list[psutil.Process]:
        return [self.launcher, *below(self.launcher.pid)]

    def wait_ready(self, workers: int) -> None:
        """Until every worker has its processor."""
        wait_until(
            lambda: len(self.processors()) == workers == len(self.agents()),
            f"{workers} workers with a processor each",
        )


def kill(*processes: psutil.Process) -> None:
    """SIGKILL."""
    for process in processes:
        process.send_signal(signal.SIGKILL)


def stopped(process: psutil.Process) -> Iterator[None]:
    """SIGSTOP for as long as a `with` block of `contextlib.contextmanager(stopped)` lasts."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
