"""``scaler_worker_manager``: provide workers, as many as the scheduler wants, or a fixed number."""

import os
from functools import partial
from pathlib import Path
from typing import Literal

from scaler_trio.cli.command import Config, Level, Place, Seconds, SecondsOrNone, make_app, run
from scaler_trio.cli.tokens import connecting_token
from scaler_trio.managers.core.pace import Pace
from scaler_trio.managers.manager import WorkerManager
from scaler_trio.managers.native.provisioner import NativeProvisioner, core_groups
from scaler_trio.managers.provisioner import Provisioner
from scaler_trio.managers.settings import ManagerSettings
from scaler_trio.net import Address
from scaler_trio.process.lineage import set_title
from scaler_trio.process.running import configure_logging, run_command
from scaler_trio.worker.settings import WorkerSettings

HELP = """Provide workers: as many as the scheduler wants, or a fixed number.

Example: scaler_worker_manager baremetal_native tcp://127.0.0.1:2345 --max-task-concurrency 4
"""

app = make_app("scaler_worker_manager", HELP)


@app.command(name="baremetal_native")
def baremetal_native(
    scheduler_address: Place,
    *,
    mode: Literal["dynamic", "fixed"] = "dynamic",
    worker_manager_id: str = "native",
    max_task_concurrency: int | None = None,
    slots_per_worker: int = 1,
    per_worker_capabilities: str = "",
    worker_scheduler_address: Place | None = None,
    object_storage_address: Place | None = None,
    preload: str = "",
    cpu_affinity: bool = False,
    death_timeout_seconds: Seconds = 300.0,
    unit_lease_seconds: SecondsOrNone = 30.0,
    token_file: Path | None = None,
    logging_level: Level = "INFO",
    config: Config = None,
) -> int:
    """Run workers on this machine until SIGTERM or SIGINT; one that dies is replaced.

    Parameters
    ----------
    scheduler_address
        Where the scheduler listens: tcp://host:port. A manager that comes before it waits for it.
    mode
        dynamic: as many workers as the scheduler's policy wants; fixed: as many as may be, all the time.
    worker_manager_id
        Name of this manager: policies know it by that, and it is the first part of its workers' names.
    max_task_concurrency
        How many tasks may run at the same time; by default one per core, -1 for any number (dynamic only).
    slots_per_worker
        How many of these each worker runs.
    per_worker_capabilities
        What each worker offers: name,name=amount,...
    worker_scheduler_address
        Where workers find the scheduler, if that is another address than for this manager.
    object_storage_address
        Where the object storage server listens for these workers; by default as the scheduler says.
    preload
        module or module:function, run once before the first task of each worker.
    cpu_affinity
        Give each worker cores of its own, as many as it has slots.
    death_timeout_seconds
        How long workers look for a scheduler before they give up.
    unit_lease_seconds
        How long workers go on after this manager was killed; one of the same id that comes back meanwhile adopts them.
    token_file
        File with the scheduler's secret; or set SCALER_TOKEN. That of a local scheduler is found without.
    logging_level
        Least level of what is logged on standard error.
    config
        TOML file whose section of this command has what is not said here.
    """
    configure_logging(logging_level)
    address = Address.parse(scheduler_address)
    for_workers = Address.parse(worker_scheduler_address) if worker_scheduler_address else address
    capabilities = parse_capabilities(per_worker_capabilities)
    units = _units(max_task_concurrency, slots_per_worker, is_fixed=mode == "fixed")
    set_title("scaler_worker_manager")
    token = connecting_token(address, token_file)
    worker = WorkerSettings(
        scheduler_address=str(for_workers),
        token=token,
        slots=slots_per_worker,
        capabilities=capabilities,
        manager=worker_manager_id,
        death_timeout_s=death_timeout_seconds,
        object_address=object_storage_address or "",
        preload=preload,
    )
    pace = Pace(launch_s=death_timeout_seconds)  # a worker that finds nobody gives up by itself
    settings = ManagerSettings(
        str(address), token, worker_manager_id, units, mode == "fixed", slots_per_worker, capabilities, pace
    )
    cores = core_groups(_cores(), slots_per_worker) if cpu_affinity else []
    provisioner = NativeProvisioner(worker, lease_s=unit_lease_seconds, cores=cores, logging_level=logging_level)
    return run_command(partial(_serve, settings, provisioner))


async def _serve(settings: ManagerSettings, provisioner: Provisioner) -> bool:
    return await WorkerManager(settings, provisioner).run()


def _units(concurrency: int | None, slots: int, *, is_fixed: bool) -> int:
    """How many workers make so many slots.

    Raises:
        ValueError: a number that makes no sense.
    """
    if slots < 1:
        raise ValueError(f"--slots-per-worker is {slots}; it must be at least 1")
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
