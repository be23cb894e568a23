"""What a worker is told when it starts: one frozen value, validated once."""

import os

from attrs import field, frozen, validators

from scaler_protocol import limits
from scaler_trio.process.logs import LogSettings

START_METHODS = ("auto", "fork", "spawn")


@frozen
class WorkerSettings:
    """Settings of one worker agent.

    Attributes:
        scheduler_address: where the scheduler listens, ``tcp://host:port``.
        token: the shared secret, or None where the cluster is insecure on purpose.
        name: for people; the session id is what identifies a worker.
        slots: how many processors, that is, items at one time.
        capabilities: (name, amount) pairs; -1 = just the name.
        manager: id of the worker manager that started it, "" = none.
        unit: what that manager calls it, "" = as its name.
        death_timeout_s: how long it looks for a scheduler before it exits.
        object_address: where the object storage server listens for us, "" = as the scheduler says.
        preload: ``module`` or ``module:function`` or ``module:function('literal', k=1)``, run once in the template.
        start_method: ``fork`` from the warm template, ``spawn`` a fresh interpreter, or ``auto``: fork unless
            ``preload`` leaves threads behind.
        latency_s: how long an assignment takes to start here, advertised to the scheduler.
        memory_bytes: private memory that its processors may use together before the largest is killed; 0 = any.
        task_timeout_s: how long any item may run here, whatever its client allows; 0 = as its client says.
        collect_s: a processor collects garbage about so often, between items; 0 = only as Python does.
        trim_bytes: a processor that has more resident memory at that time gives back to the system what it does not
            use; 0 = never.
        log: where what it logs goes, also that of user code.
        object_access: ``module:factory`` called with (address, token, session) for the connection of a processor to the
            object storage; the seam at which tests put a store of their own.
    """

    scheduler_address: str
    token: bytes | None = field(default=None, repr=False)
    name: str = field(default="worker", validator=validators.max_len(limits.NAME_BYTES))
    slots: int = field(default=1, validator=[validators.ge(1), validators.le(1 << 12)])
    capabilities: tuple[tuple[str, int], ...] = field(default=(), validator=validators.max_len(limits.CAPABILITIES))
    manager: str = field(default="", validator=validators.max_len(limits.NAME_BYTES))
    unit: str = field(default="", validator=validators.max_len(limits.NAME_BYTES))
    death_timeout_s: float = field(default=300.0, validator=validators.gt(0))
    object_address: str = ""
    preload: str = ""
    start_method: str = field(default="auto", validator=validators.in_(START_METHODS))
    latency_s: float = field(default=0.0, validator=validators.ge(0))
    memory_bytes: int = field(default=0, validator=validators.ge(0))
    task_timeout_s: float = field(default=0.0, validator=validators.ge(0))
    collect_s: float = field(default=30.0, validator=validators.ge(0))
    trim_bytes: int = field(default=1 << 30, validator=validators.ge(0))
    log: LogSettings = field(factory=LogSettings)
    object_access: str = "scaler_trio.objects.access:ObjectAccess"

    @property
    def threads_per_slot(self) -> int:
        """Threads that numerical libraries should use in one processor: the cores that this process may use ÷ slots."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // self.slots)
