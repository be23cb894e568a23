"""A whole cluster on this machine, for as long as a ``with`` block or a program lasts.

``SchedulerClusterCombo`` has a fixed number of workers, ``LocalCluster`` as many as there is work for.
"""

import os
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TypedDict, Unpack

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
        max_workers: int = 0,
        per_worker_memory_bytes: int = 0,
        task_timeout_s: float = 0.0,
        policy_engine_type: str = "simple",
        policy_content: str = "allocate=even_load; scaling=vanilla",
        worker_manager_id: str = "combo",
        worker_timeout_s: float = 10.0,
        client_grace_s: float = 30.0,
        protected: bool = True,
        token: str | None = None,
        logging_level: str = "WARNING",
        logging_paths: Sequence[str] = ("-",),
        logging_format: str = "text",
    ) -> None:
        """Start the cluster; it accepts clients when this returns.

        Args:
            n_workers: workers, each of which runs one task at a time; a worker that dies is replaced. 0 is allowed.
            address: where the scheduler listens, ``tcp://host:port``; by default a free port on the loopback address.
            object_storage_address: where the object storage server listens; by default beside the scheduler.
            per_worker_capabilities: name to amount, -1 for just the name; see ``Client.options``.
            object_memory_bytes: limit of objects in memory; by default 30 % of what this machine or container has.
            preload: ``module`` or ``module:function``, run once before the first task of each worker.
            max_workers: so many more that come with work and go without it.
            per_worker_memory_bytes: private memory of a worker's tasks, beyond which the largest fails; 0 = any.
            task_timeout_s: how long a task may run, whatever its client allows; 0 = any time.
            policy_engine_type: what decides how many of those ``max_workers``, and of connected worker managers', run.
            policy_content: what that is told, as ``scaler_scheduler --policy-content``.
            worker_manager_id: the first part of the workers' names.
            worker_timeout_s: silence after which a worker counts as lost and its work goes to others.
            client_grace_s: how long a client whose connection was lost may come back before its tasks are cancelled.
            protected: whether ``client.shutdown()`` is refused.
            token: the secret that clients need; by default a random one, which clients of the same user find.
            logging_level: of the services.
            logging_paths: files, or ``-`` for standard error.
            logging_format: ``text`` or ``json``.

        Raises:
            ConnectionFailed: the address cannot be listened at, or the services do not start.
            ValueError: not an address, or a number out of range.
        """
        counts: dict[str, object] = {
            "n_workers": n_workers,
            "max_workers": max_workers,
            "per_worker_memory_bytes": per_worker_memory_bytes,
        }
        for name, count in counts.items():
            if not isinstance(count, int) or count < 0:
                raise ValueError(f"{name} is {count!r}; it must be a whole number, and not negative")
        for name, seconds in {"client_grace_s": client_grace_s, "task_timeout_s": task_timeout_s}.items():
            if seconds < 0:
                raise ValueError(f"{name} is {seconds}; it cannot be negative")
        capabilities: object = per_worker_capabilities or {}
        if not isinstance(capabilities, Mapping):
            raise ValueError(f"per_worker_capabilities is {capabilities!r}; it must be a mapping of names to amounts")
        if worker_timeout_s <= 0:
            raise ValueError(f"worker_timeout_s is {worker_timeout_s}; it must be positive")
        launch = Launch()
        try:
            # Only now, while the launcher is doing the same: these imports take a third of a second.
            from scaler_trio.config.tokens import make_token, parse_token
            from scaler_trio.net import Address
            from scaler_trio.process.logs import LogSettings
            from scaler_trio.scheduler.policy.loading import load_policy

            log = LogSettings(logging_level.upper(), tuple(logging_paths), logging_format)
            load_policy(policy_engine_type, policy_content)
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
                    "max_workers": max_workers,
                    "memory_bytes": per_worker_memory_bytes,
                    "task_timeout_s": task_timeout_s,
                    "policy": [policy_engine_type, policy_content],
                    "manager": worker_manager_id,
                    "worker_timeout_s": worker_timeout_s,
                    "client_grace_s": client_grace_s,
                    "protected": bool(protected),
                    "log": log.as_json(),
                }
            )
        except BaseException:  # a Ctrl-C, above all
            launch.finish()
            raise
        self._workers = f"{n_workers}, up to {n_workers + max_workers}" if max_workers else str(n_workers)
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
                "workers": self._workers,
            },
        )

    def _standing(self) -> str:
        if not self._finalizer.alive:
            return "shut down"
        return "running" if self._launch.is_running else "ended unexpectedly"


class LocalCluster(SchedulerClusterCombo):
    """A cluster on this machine whose workers come with work, and go when there is none.

    Example:
        >>> from scaler_trio import Client, LocalCluster
        >>> with LocalCluster(max_workers=2) as cluster, Client(cluster.get_address()) as client:
        ...     client.map(abs, [-1, 2])
        [1, 2]
    """

    def __init__(
        self, max_workers: int | None = None, address: str | None = None, **options: Unpack["ClusterOptions"]
    ) -> None:
        """Start the cluster, without workers; it accepts clients when this returns.

        Args:
            max_workers: workers at most; by default one for each core that this process may use.
            address: where the scheduler listens, ``tcp://host:port``; by default a free port on the loopback address.
            options: as of ``SchedulerClusterCombo``.

        Raises:
            ConnectionFailed: the address cannot be listened at, or the services do not start.
            ValueError: not an address, or a number out of range.
        """
        most = max_workers if max_workers is not None else len(os.sched_getaffinity(0))
        if most == 0:
            raise ValueError("max_workers is 0; nothing would ever run")
        options.setdefault("worker_manager_id", "local")
        super().__init__(0, address, max_workers=most, **options)


class ClusterOptions(TypedDict, total=False):
    """What both kinds of cluster take; ``SchedulerClusterCombo`` says what each is."""

    object_storage_address: str | None
    per_worker_capabilities: Mapping[str, int] | None
    object_memory_bytes: int | None
    preload: str
    per_worker_memory_bytes: int
    task_timeout_s: float
    policy_engine_type: str
    policy_content: str
    worker_manager_id: str
    worker_timeout_s: float
    client_grace_s: float
    protected: bool
    token: str | None
    logging_level: str
    logging_paths: Sequence[str]
    logging_format: str
