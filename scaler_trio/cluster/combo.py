"""``SchedulerClusterCombo``: a whole cluster on this machine, for as long as a ``with`` block or a program lasts."""

import logging
import weakref
from collections.abc import Mapping
from types import TracebackType

from scaler_trio.cluster.launch import Launch


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
        worker_timeout_s: float = 10.0,
        client_grace_s: float = 30.0,
        protected: bool = True,
        token: str | None = None,
        logging_level: str = "WARNING",
    ) -> None:
        """Start the cluster; it accepts clients when this returns.

        Args:
            n_workers: workers, each of which runs one task at a time; a worker that dies is replaced. 0 is allowed.
            address: where the scheduler listens, ``tcp://host:port``; by default a free port on the loopback address.
            object_storage_address: where the object storage server listens; by default beside the scheduler.
            per_worker_capabilities: name to amount, -1 for just the name; see ``Client.options``.
            object_memory_bytes: limit of objects in memory; by default 30 % of what this machine or container has.
            preload: ``module`` or ``module:function``, run once before the first task of each worker.
            worker_manager_id: the first part of the workers' names.
            worker_timeout_s: silence after which a worker counts as lost and its work goes to others.
            client_grace_s: how long a client whose connection was lost may come back before its tasks are cancelled.
            protected: whether ``client.shutdown()`` is refused.
            token: the secret that clients need; by default a random one, which clients of the same user find.
            logging_level: of the services, on standard error.

        Raises:
            ConnectionFailed: the address cannot be listened at, or the services do not start.
            ValueError: not an address, or a number out of range.
        """
        wanted_workers: object = n_workers
        if not isinstance(wanted_workers, int) or wanted_workers < 0:
            raise ValueError(f"n_workers is {n_workers!r}; it must be a whole number, and not negative")
        if not isinstance(logging.getLevelName(logging_level.upper()), int):
            raise ValueError(f"logging_level is {logging_level!r}; it must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
        capabilities: object = per_worker_capabilities or {}
        if not isinstance(capabilities, Mapping):
            raise ValueError(f"per_worker_capabilities is {capabilities!r}; it must be a mapping of names to amounts")
        if worker_timeout_s <= 0:
            raise ValueError(f"worker_timeout_s is {worker_timeout_s}; it must be positive")
        if client_grace_s < 0:
            raise ValueError(f"client_grace_s is {client_grace_s}; it cannot be negative")
        launch = Launch()
        try:
            # Only now, while the launcher is doing the same: these imports take a third of a second.
            from scaler_trio.config.tokens import make_token, parse_token
            from scaler_trio.net import Address

            wanted = Address.parse(address) if address is not None else Address("127.0.0.1", 0)
            objects = Address.parse(object_storage_address) if object_storage_address else Address(wanted.host, 0)
            self._token = parse_token(token, "token=") if token is not None else make_token()
            report = launch.order(
                {
                    "address": str(wanted),
                    "object_storage_address": str(objects),
                    "token": self._token.decode(),
                    "n_workers": n_workers,
                    "capabilities": dict(capabilities),
                    "object_memory_bytes": object_memory_bytes,
                    "preload": preload,
                    "manager": worker_manager_id,
                    "worker_timeout_s": worker_timeout_s,
                    "client_grace_s": client_grace_s,
                    "protected": bool(protected),
                    "log_level": logging_level,
                }
            )
        except BaseException:  # a Ctrl-C, above all
            launch.finish()
            raise
        self._n_workers = n_workers
        self._address = report["address"]
        self._object_storage_address = report["object_storage_address"]
        self._launch = launch
        self._finalizer = weakref.finalize(self, launch.finish)

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
        return f"<SchedulerClusterCombo at {self._address}, {self._standing()}>"

    def _repr_html_(self) -> str:
        """For notebooks; without the token, as notebooks are passed on."""
        from scaler_trio.config.display import table

        return table(
            "SchedulerClusterCombo",
            {
                "scheduler": self._address,
                "object storage": self._object_storage_address,
                "state": self._standing(),
                "workers": self._n_workers,
            },
        )

    def _standing(self) -> str:
        if not self._finalizer.alive:
            return "shut down"
        return "running" if self._launch.is_running else "ended unexpectedly"
