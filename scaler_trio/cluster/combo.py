"""``SchedulerClusterCombo``: a whole cluster on this machine, for as long as a ``with`` block or a program lasts."""

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Mapping
from types import TracebackType

from scaler_trio.config.tokens import make_token
from scaler_trio.errors import ConnectionFailed
from scaler_trio.net import Address

START_S = 30.0
STOP_S = 10.0
"""More than the launcher's own time for its services, after which it is killed, and they with it."""


class SchedulerClusterCombo:
    """A scheduler, an object storage server and ``n_workers`` workers, all on this machine.

    Works from a plain script without ``if __name__ == "__main__"``, from the REPL and from a notebook: no process of it
    is forked from, or imports, the caller's. It ends with ``shutdown()``, with its ``with`` block, with its garbage
    collection, and with the calling process, however that ends.

    Example:
        >>> from scaler_trio import Client, SchedulerClusterCombo
        >>> with SchedulerClusterCombo(n_workers=2) as cluster, Client(cluster.get_address()) as client:
        ...     client.map(abs, [-1, 2])
        [1, 2]
    """

    def __init__(
        self,
        n_workers: int = 2,
        address: str | None = None,
        *,
        object_storage_address: str | None = None,
        per_worker_capabilities: Mapping[str, int] | None = None,
        object_memory_bytes: int | None = None,
        preload: str = "",
        worker_manager_id: str = "combo",
        token: str | None = None,
        logging_level: str = "WARNING",
    ) -> None:
        """Start the cluster; it accepts clients when this returns.

        Args:
            n_workers: workers, each of which runs one task at a time; a worker that dies is replaced. 0 is allowed.
            address: where the scheduler listens, ``tcp://host:port``; by default a free port on the loopback address.
            object_storage_address: where the object storage server listens; by default beside the scheduler.
            per_worker_capabilities: name to amount, -1 for just the name; see ``client.options``.
            object_memory_bytes: limit of objects in memory; by default 30 % of what this machine or container has.
            preload: ``module`` or ``module:function``, run once before the first task of each worker.
            worker_manager_id: the first part of the workers' names.
            token: the secret that clients need; by default a random one, which clients of the same user find.
            logging_level: of the services, on standard error.

        Raises:
            ConnectionFailed: the address cannot be listened at, or the services do not start.
            ValueError: not an address, or a negative number of workers.
        """
        if n_workers < 0:
            raise ValueError(f"n_workers is {n_workers}; it cannot be negative")
        wanted = Address.parse(address) if address is not None else Address("127.0.0.1", 0)
        objects = Address.parse(object_storage_address) if object_storage_address else Address(wanted.host, 0)
        self._token = token.encode() if token is not None else make_token()
        self._owner = os.getpid()
        order = {
            "address": str(wanted),
            "object_storage_address": str(objects),
            "token": self._token.decode(),
            "n_workers": n_workers,
            "capabilities": dict(per_worker_capabilities or {}),
            "object_memory_bytes": object_memory_bytes,
            "preload": preload,
            "manager": worker_manager_id,
            "log_level": logging_level,
        }
        self._process, self._order_fd, report = _start(order)
        if "error" in report:
            self._finish(self._process, self._order_fd, self._owner)
            raise ConnectionFailed(report["error"])
        self._address = report["address"]
        self._object_storage_address = report["object_storage_address"]
        self._finalizer = weakref.finalize(self, self._finish, self._process, self._order_fd, self._owner)

    def get_address(self) -> str:
        """Where clients connect: ``tcp://host:port``."""
        return self._address

    @property
    def token(self) -> str:
        """The secret that clients need; those of the same user find it by themselves."""
        return self._token.decode()

    def shutdown(self) -> None:
        """Stop everything and wait until it is gone; idempotent. Unfinished tasks of connected clients are lost."""
        self._finalizer()

    def __enter__(self) -> "SchedulerClusterCombo":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        state = "running" if self._finalizer.alive else "shut down"
        return f"<SchedulerClusterCombo at {self._address}, {state}>"

    @staticmethod
    def _finish(process: "subprocess.Popen[bytes]", order_fd: int, owner: int) -> None:
        if os.getpid() != owner:
            return  # a fork of the process that started it: not its cluster
        os.close(order_fd)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()  # its services die with it
            process.wait()


def _start(order: dict[str, object]) -> tuple["subprocess.Popen[bytes]", int, dict[str, str]]:
    """Start the launcher and tell it what to run; its process, the pipe that keeps it alive, and its report."""
    order_read, order_write = os.pipe()
    report_read, report_write = os.pipe()
    code = f"import sys; sys.path[:] = {sys.path!r}; from scaler_trio.cluster.combo_process import run; run()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(order_read), str(report_write), str(os.getpid())],
        pass_fds=(order_read, report_write),
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C in the terminal is the caller's to handle
    )
    os.close(order_read)
    os.close(report_write)
    try:
        os.write(order_write, json.dumps(order).encode() + b"\n")
        with os.fdopen(report_read, "rb") as reports:
            line = reports.readline()
    except BaseException:
        os.close(order_write)
        process.kill()
        process.wait()
        raise
    if not line:
        return process, order_write, {"error": f"the cluster did not start: its launcher ended with {process.wait()}"}
    return process, order_write, json.loads(line)
