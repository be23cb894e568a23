"""``scaler_scheduler``: run a scheduler."""

from functools import partial
from pathlib import Path
from typing import Literal

from cyclopts import App

from scaler_trio.cli.command import announce, run
from scaler_trio.cli.tokens import listening_token
from scaler_trio.cluster.services import configure_logging, run_service
from scaler_trio.config.tokens import TokenFile, leave_token
from scaler_trio.net import Address
from scaler_trio.scheduler.server import serve_scheduler
from scaler_trio.scheduler.settings import SchedulerSettings
from scaler_trio.scheduler.tuning import Tuning
from scaler_trio.worker.lineage import set_title

app = App(name="scaler_scheduler", help="Run a scheduler.")


@app.default
def scheduler(
    bind_address: str,
    /,
    *,
    object_storage_address: str | None = None,
    advertised_object_storage_address: str | None = None,
    token_file: Path | None = None,
    worker_timeout_seconds: float = 10.0,
    client_grace_seconds: float = 30.0,
    logging_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO",
) -> int:
    """Run a scheduler until SIGTERM or SIGINT.

    Parameters
    ----------
    bind_address
        Where to listen: tcp://host:port. Port 0 takes a free one; the real one is printed.
    object_storage_address
        Where the object storage server listens. Without one, values over 64 KiB cannot travel.
    advertised_object_storage_address
        What clients and workers are told instead, if they see it under another address.
    token_file
        File with the secret that every peer must know; or set SCALER_TOKEN. On the loopback address one is made.
    worker_timeout_seconds
        Silence after which a worker counts as lost.
    client_grace_seconds
        How long a client whose connection was lost may come back before its tasks are cancelled.
    logging_level
        Least level of what is logged on standard error.
    """
    configure_logging(logging_level)
    address = Address.parse(bind_address)
    objects = Address.parse(object_storage_address) if object_storage_address else None
    advertised = Address.parse(advertised_object_storage_address) if advertised_object_storage_address else None
    token = listening_token(address, token_file, objects)
    settings = SchedulerSettings(
        address,
        token,
        objects,
        advertised,
        worker_timeout_s=worker_timeout_seconds,
        tuning=Tuning(client_grace_s=client_grace_seconds),
    )
    set_title("scaler_scheduler")
    left: list[TokenFile] = []

    try:
        return run_service(
            partial(
                serve_scheduler,
                settings,
                ready=announce("scheduler", lambda real: left.append(leave_token(real, token))),
            )
        )
    finally:
        for file in left:
            file.remove()


def main() -> None:
    """The command's entry point."""
    run(app)
