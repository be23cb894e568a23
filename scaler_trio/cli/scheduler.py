"""``scaler_scheduler``: run a scheduler."""

from functools import partial
from pathlib import Path

from scaler_trio.cli.command import Config, Level, Place, Seconds, SecondsOrNone, announce, make_app, run
from scaler_trio.cli.tokens import listening_token
from scaler_trio.net import Address
from scaler_trio.process.lineage import set_title
from scaler_trio.process.running import configure_logging, run_command
from scaler_trio.scheduler.core.tuning import Tuning
from scaler_trio.scheduler.policy.loading import load_policy
from scaler_trio.scheduler.server import serve_scheduler
from scaler_trio.scheduler.settings import SchedulerSettings

HELP = """Run a scheduler, which clients and workers connect to.

Example: scaler_scheduler tcp://127.0.0.1:2345 --object-storage-address tcp://127.0.0.1:2346
"""

app = make_app("scaler_scheduler", HELP)


@app.default
def scheduler(
    bind_address: Place,
    *,
    object_storage_address: Place | None = None,
    advertised_object_storage_address: Place | None = None,
    port_file: Path | None = None,
    token_file: Path | None = None,
    worker_timeout_seconds: Seconds = 10.0,
    client_timeout_seconds: SecondsOrNone = 30.0,
    protected: bool = True,
    policy_engine_type: str = "simple",
    policy_content: str = "allocate=even_load; scaling=vanilla",
    logging_level: Level = "INFO",
    config: Config = None,
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
    port_file
        File to write the real address to, once peers can connect.
    token_file
        File with the secret that every peer must know; or set SCALER_TOKEN. On the loopback address one is made, which
        services and clients of the same user find.
    worker_timeout_seconds
        Silence after which a worker counts as lost.
    client_timeout_seconds
        How long a client whose connection was lost may come back before its tasks are cancelled.
    protected
        Refuse to be shut down by clients; --no-protected lets any client end the whole cluster.
    policy_engine_type
        What decides how many workers each manager provides: simple, waterfall_v1, or module:Class of your own.
    policy_content
        What that is told. simple: allocate=even_load|capability; scaling=no|vanilla|capability. waterfall_v1: a line
        priority,worker_manager_id[,max_concurrency] for each manager.
    logging_level
        Least level of what is logged on standard error.
    config
        TOML file whose section of this command has what is not said here.
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
            policy=load_policy(policy_engine_type, policy_content),
            tuning=Tuning(client_grace_s=client_timeout_seconds),
        )
        return run_command(partial(serve_scheduler, settings, ready=announce("scheduler", held.leave, port_file)))


def main() -> None:
    """The command's entry point."""
    run(app, "scheduler")
