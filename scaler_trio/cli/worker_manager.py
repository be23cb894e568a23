"""``scaler_worker_manager``: start workers and keep them."""

import os
from pathlib import Path
from typing import Literal

from cyclopts import App

from scaler_trio.cli.command import run
from scaler_trio.cli.tokens import connecting_token
from scaler_trio.cluster.launcher import Launcher
from scaler_trio.cluster.services import configure_logging, worker_services
from scaler_trio.net import Address
from scaler_trio.worker.lineage import set_title
from scaler_trio.worker.settings import WorkerSettings

HELP = """Start workers and keep them.

Example: scaler_worker_manager baremetal_native tcp://127.0.0.1:2345 --max-task-concurrency 4
"""

app = App(name="scaler_worker_manager", help=HELP)


@app.command(name="baremetal_native")
def baremetal_native(
    scheduler_address: str,
    /,
    *,
    mode: Literal["fixed"] = "fixed",
    worker_manager_id: str = "native",
    max_task_concurrency: int | None = None,
    per_worker_capabilities: str = "",
    object_storage_address: str | None = None,
    preload: str = "",
    death_timeout_seconds: float = 300.0,
    token_file: Path | None = None,
    logging_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO",
) -> int:
    """Run workers on this machine until SIGTERM or SIGINT; one that dies is replaced.

    Parameters
    ----------
    scheduler_address
        Where the scheduler listens: tcp://host:port. Workers that come before it wait for it.
    mode
        fixed: as many workers as asked for, all the time.
    worker_manager_id
        Name of this manager: the first part of its workers' names.
    max_task_concurrency
        How many workers; by default one per core.
    per_worker_capabilities
        What each worker offers: name,name=amount,...
    object_storage_address
        Where the object storage server listens for these workers; by default as the scheduler says.
    preload
        module or module:function, run once before the first task of each worker.
    death_timeout_seconds
        How long workers look for a scheduler before they give up.
    token_file
        File with the scheduler's secret; or set SCALER_TOKEN. That of a local scheduler is found without.
    logging_level
        Least level of what is logged on standard error.
    """
    configure_logging(logging_level)
    address = Address.parse(scheduler_address)
    capabilities = parse_capabilities(per_worker_capabilities)
    count = max_task_concurrency if max_task_concurrency is not None else _cores()
    if count < 1:
        raise ValueError(f"--max-task-concurrency is {count}; at least 1 worker is needed")
    set_title("scaler_worker_manager")
    token = connecting_token(address, token_file)
    settings = WorkerSettings(
        scheduler_address=str(address),
        token=token,
        capabilities=capabilities,
        manager=worker_manager_id,
        death_timeout_s=death_timeout_seconds,
        object_address=object_storage_address or "",
        preload=preload,
    )
    return Launcher(worker_services(settings, count)).run({})


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


def _cores() -> int:
    """Those that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """The command's entry point."""
    run(app)
