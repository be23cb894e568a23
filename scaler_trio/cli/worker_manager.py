"""``scaler_worker_manager``: provide workers, as many as the scheduler wants, or a fixed number."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from attrs import frozen
from cyclopts import Parameter
from cyclopts.validators import Number

from scaler_trio.cli.command import make_app, run
from scaler_trio.cli.flags import BytesOrNone, LoggingFlags, Seconds, SecondsOrNone, SourceFlags, Target
from scaler_trio.cli.tokens import connecting_token
from scaler_trio.managers.core.pace import Pace
from scaler_trio.managers.manager import WorkerManager
from scaler_trio.managers.native.provisioner import NativeProvisioner, core_groups
from scaler_trio.managers.provisioner import Provisioner
from scaler_trio.managers.settings import NAME_BYTES, ManagerSettings
from scaler_trio.net import Address
from scaler_trio.process.lineage import set_title
from scaler_trio.process.logs import configure_logging
from scaler_trio.process.memory import available_bytes
from scaler_trio.process.running import run_command
from scaler_trio.worker.settings import WorkerSettings

HELP = """Provide workers: as many as the scheduler wants, or a fixed number.

Example: scaler_worker_manager baremetal_native tcp://127.0.0.1:2345 --max-task-concurrency 4
"""

app = make_app("scaler_worker_manager", HELP)


def _is_name(_: object, value: str) -> None:
    if not 0 < len(value.encode()) <= NAME_BYTES:
        raise ValueError(f"It must have 1 to {NAME_BYTES} bytes.")


@Parameter(name="*")
@frozen(kw_only=True)
class ManagerFlags:
    """What every kind of worker manager is told."""

    worker_manager_id: Annotated[str, Parameter(validator=_is_name)] = "native"
    """Name of this manager: policies know it by that, and it is the first part of its workers' names."""

    max_task_concurrency: Annotated[int | None, Parameter(name=("--max-task-concurrency", "--num-of-workers"))] = None
    """How many tasks may run at the same time; by default one per core, -1 for any number (dynamic only)."""

    worker_scheduler_address: Target | None = None
    """Where workers find the scheduler, if that is another address than for this manager."""

    object_storage_address: Target | None = None
    """Where the object storage server listens for these workers; by default as the scheduler says."""

    token_file: Path | None = None
    """File with the scheduler's secret; or set SCALER_TOKEN. That of a local scheduler is found without."""


@Parameter(name="*")
@frozen(kw_only=True)
class WorkerFlags:
    """What workers are told, whoever starts them."""

    slots_per_worker: Annotated[int, Parameter(validator=Number(gte=1, lte=4096))] = 1
    """How many tasks each worker runs at the same time."""

    per_worker_capabilities: str = ""
    """What each worker offers: name,name=amount,..."""

    per_worker_memory_bytes: BytesOrNone | None = None
    """Private memory that the tasks of a worker may use, beyond which the largest of them fails; 0 for any. By default
    an equal share of what this machine, container or unit of systemd has, where the number of workers is known."""

    preload: str = ""
    """module or module:function, run once before the first task of each worker."""

    death_timeout_seconds: Seconds = 300.0
    """How long workers look for a scheduler before they give up."""

    task_timeout_seconds: SecondsOrNone = 0.0
    """How long a task may run on these workers, whatever its client allows; 0 for any time."""

    garbage_collect_interval_seconds: SecondsOrNone = 30.0
    """Processors collect garbage about so often, between tasks; 0 leaves it to Python."""

    trim_memory_threshold_bytes: BytesOrNone = 1 << 30
    """A processor with more resident memory gives back what it does not use when it collects garbage; 0 for never."""


@Parameter(name="*")
@frozen(kw_only=True)
class NativeFlags:
    """What a manager of workers on its own machine is told."""

    mode: Literal["dynamic", "fixed"] = "dynamic"
    """dynamic: as many workers as the scheduler's policy wants; fixed: as many as may be, all the time."""

    cpu_affinity: bool = False
    """Give each worker cores of its own, as many as it has slots."""

    unit_lease_seconds: SecondsOrNone = 30.0
    """How long workers go on after this manager was killed; one of its id that comes back meanwhile adopts them."""


@app.command(name="baremetal_native")
def baremetal_native(
    scheduler_address: Target,
    *,
    native: NativeFlags = NativeFlags(),
    flags: ManagerFlags = ManagerFlags(),
    workers: WorkerFlags = WorkerFlags(),
    logs: LoggingFlags = LoggingFlags(),
    source: SourceFlags = SourceFlags(),
) -> int:
    """Run workers on this machine until SIGTERM or SIGINT; one that dies is replaced.

    Parameters
    ----------
    scheduler_address
        Where the scheduler listens: tcp://host:port. A manager that comes before it waits for it.
    """
    log = logs.settings()
    configure_logging(log, flags.worker_manager_id)
    address = Address.parse(scheduler_address)
    is_fixed, slots = native.mode == "fixed", workers.slots_per_worker
    units = _units(flags.max_task_concurrency, slots, is_fixed=is_fixed)
    capabilities = parse_capabilities(workers.per_worker_capabilities)
    memory_bytes = workers.per_worker_memory_bytes
    if memory_bytes is None:
        memory_bytes = available_bytes() // units if units > 0 else 0
    set_title("scaler_worker_manager")
    token = connecting_token(address, flags.token_file)
    settings = ManagerSettings(
        str(address),
        token,
        flags.worker_manager_id,
        units,
        is_fixed,
        slots,
        capabilities,
        Pace(launch_s=workers.death_timeout_seconds),  # a worker that finds nobody gives up by itself
    )
    worker = WorkerSettings(
        scheduler_address=str(Address.parse(flags.worker_scheduler_address or scheduler_address)),
        token=token,
        slots=slots,
        capabilities=capabilities,
        manager=flags.worker_manager_id,
        death_timeout_s=workers.death_timeout_seconds,
        object_address=flags.object_storage_address or "",
        preload=workers.preload,
        memory_bytes=memory_bytes,
        task_timeout_s=workers.task_timeout_seconds,
        collect_s=workers.garbage_collect_interval_seconds,
        trim_bytes=workers.trim_memory_threshold_bytes,
        log=log,
    )
    cores = core_groups(_cores(), slots) if native.cpu_affinity else []
    provisioner = NativeProvisioner(worker, lease_s=native.unit_lease_seconds, cores=cores)
    return run_command(partial(_serve, settings, provisioner))


async def _serve(settings: ManagerSettings, provisioner: Provisioner) -> bool:
    return await WorkerManager(settings, provisioner).run()


def _units(concurrency: int | None, slots: int, *, is_fixed: bool) -> int:
    """How many workers make so many slots.

    Raises:
        ValueError: a number that makes no sense.
    """
    count = concurrency if concurrency is not None else max(slots, len(_cores()))
    if count == -1 and not is_fixed:
        return -1
    if count < slots:
        what = f"worker of {slots} slots" if slots > 1 else "worker"
        raise ValueError(f"--max-task-concurrency is {count}; at least 1 {what} is needed")
    return count // slots


def parse_capabilities(text: str) -> tuple[tuple[str, int], ...]:
    """Read ``name,name=amount``.

    Raises:
        ValueError: an empty name, or an amount that is no whole number.
    """
    found: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, amount = (word.strip() for word in part.partition("="))
        try:
            found[name] = int(amount) if equals else -1
        except ValueError:
            name = ""
        if not name:
            raise ValueError(f"{part!r} is not a capability; write name or name=amount, separated by commas")
    return tuple(found.items())


def _cores() -> list[int]:
    """Those that this process may use, which in a container are fewer than the machine has."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def main() -> None:
    """The command's entry point."""
    run(app, "worker_manager")
