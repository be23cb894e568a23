"""``scaler_scheduler``: run a scheduler."""

from functools import partial
from pathlib import Path
from typing import Literal

from cyclopts import App

from scaler_trio.cli.command import announce, run
from scaler_trio.cli.tokens import listening_token
from scaler_trio.cluster.services import configure_logging, run_command
from scaler_trio.net import Address
from scaler_trio.scheduler.core.tuning import Tuning
from scaler_trio.scheduler.server import serve_scheduler
from scaler_trio.scheduler.settings import SchedulerSettings
from scaler_trio.worker.lineage import set_title

HELP = """Run a scheduler, which clients and workers connect to.

Example: scaler_scheduler tcp://127.0.0.1:2345 --object-storage-address tcp://127.0.0.1:2346
"""

app = App(name="scaler_scheduler", help=HELP)


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
    protected: bool = True,
    logging_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO",
) -> int:
    """Run a scheduler until SIGTERM or SIGINT, or until a client shuts it down.

    Parameters
    ----------
    bind_address
        Where to listen: tcp://host:port. Port 0 takes a free one; the real one is printed.
    object_storage_address
        Where the object storage server listens. Without one, values over 64 KiB cannot travel.
    advertised_object_storage_address
        What clients and workers are told instead, if they see it under another address.
    token_file
        File with the secret that every peer must know; or set SCALER_TOKEN. On the loopback address one is made, which
        services and clients of the same user find.
    worker_timeout_seconds
        Silence after which a worker counts as lost.
    client_grace_seconds
        How long a client whose connection was lost may come back before its tasks are cancelled.
    protected
        Refuse to be shut down by clients; --no-protected lets any client end the whole cluster.
    logging_level
        Least level of what is logged on standard error.
    """
    configure_logging(logging_level)
    address = Address.parse(bind_address)
    objects = Address.parse(object_storage_address) if object_storage_address else None
    if objects is not None and not objects.port:
        raise ValueError(f"--object-storage-address is {objects}; write the port that the server has printed")
    advertised = Address.parse(advertised_object_storage_address) if advertised_object_storage_address else None
    set_title("scaler_scheduler")
    with listening_token(address, token_file) as held:
        settings = SchedulerSettings(
            address,
            held.token,
            objects,
            advertised,
            worker_timeout_s=worker_timeout_seconds,
            protected=protected,
            tuning=Tuning(client_grace_s=client_grace_seconds),
        )
        return run_command(partial(serve_scheduler, settings, ready=announce("scheduler", held.leave)))


def main() -> None:
    """The command's entry point."""
    run(app)
