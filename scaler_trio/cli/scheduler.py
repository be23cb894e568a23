"""``scaler_scheduler``: run a scheduler."""

from functools import partial
from pathlib import Path

from attrs import frozen
from cyclopts import Parameter

from scaler_trio.cli.command import announce, make_app, run
from scaler_trio.cli.flags import LoggingFlags, Place, Seconds, SecondsOrNone, SourceFlags, Target
from scaler_trio.cli.tokens import listening_token
from scaler_trio.net import Address
from scaler_trio.process.lineage import set_title
from scaler_trio.process.logs import configure_logging
from scaler_trio.process.running import run_command
from scaler_trio.scheduler.core.tuning import Tuning
from scaler_trio.scheduler.policy.loading import DEFAULT_CONTENT, DEFAULT_ENGINE, load_policy
from scaler_trio.scheduler.server import serve_scheduler
from scaler_trio.scheduler.settings import SchedulerSettings

NAME = "scaler_scheduler"
HELP = """Run a scheduler, which clients, workers and worker managers connect to.

Example: scaler_scheduler tcp://127.0.0.1:2345 --object-storage-address tcp://127.0.0.1:2346
"""

app = make_app(NAME, HELP)


@Parameter(name="*")
@frozen(kw_only=True)
class SchedulerFlags:
    """What a scheduler is told."""

    object_storage_address: Target | None = None
    """Where the object storage server listens: tcp://host:port. Without one, values over 64 KiB cannot travel."""

    advertised_object_storage_address: Target | None = None
    """What clients and workers are told instead, if they see it under another address."""

    advertised_address: Place | None = None
    """Under which address others see this scheduler, if not as it listens: behind NAT, or with 0.0.0.0. It is what is
    printed, written to the port file, and shown by scaler status; port 0 stands for the port that was taken."""

    monitor_address: Target | None = None
    """Another address to listen at, where only monitors are let in; they may use the scheduler's own address too."""

    port_file: Path | None = None
    """File to write the real address to, once peers can connect."""

    token_file: Path | None = None
    """File with the secret that every peer must know; or set SCALER_TOKEN. On the loopback address one is made, which
    services and clients of the same user find."""

    worker_timeout_seconds: Seconds = 10.0
    """Silence after which a worker counts as lost and its work goes to others."""

    client_timeout_seconds: SecondsOrNone = 30.0
    """How long a client whose connection was lost may come back before its tasks are cancelled."""

    protected: bool = True
    """Whether clients may not shut the cluster down."""

    policy_engine_type: str = DEFAULT_ENGINE
    """What decides how many units worker managers run: simple, waterfall_v1, or module:Class of your own."""

    policy_content: str = DEFAULT_CONTENT
    """What the policy is told: allocate=even_load|capability; scaling=no|vanilla|capability for simple, lines
    priority,worker_manager_id[,max_concurrency] for waterfall_v1."""


@app.default
def scheduler(
    bind_address: Place,
    *,
    flags: SchedulerFlags = SchedulerFlags(),
    logs: LoggingFlags = LoggingFlags(),
    source: SourceFlags = SourceFlags(),
) -> int:
    """Run a scheduler until SIGTERM or SIGINT, or until a client shuts it down.

    Parameters
    ----------
    bind_address
        Where to listen: tcp://host:port. Port 0 takes a free one; the real one is printed.
    """
    configure_logging(logs.settings(), NAME)
    address = Address.parse(bind_address)
    policy = load_policy(flags.policy_engine_type, flags.policy_content)
    monitor_address = _address(flags.monitor_address)
    set_title(NAME)
    # Whoever is reached from elsewhere needs a token that was told, on either address.
    widest = monitor_address if monitor_address is not None and address.is_loopback else address
    with listening_token(widest, flags.token_file) as held:
        settings = SchedulerSettings(
            address,
            held.token,
            _address(flags.object_storage_address),
            _address(flags.advertised_object_storage_address),
            worker_timeout_s=flags.worker_timeout_seconds,
            protected=flags.protected,
            policy=policy,
            policy_in_words=" ".join(f"{flags.policy_engine_type} {flags.policy_content}".split()),
            advertised_address=_address(flags.advertised_address),
            monitor_address=monitor_address,
            tuning=Tuning(client_grace_s=flags.client_timeout_seconds),
        )
        if monitor_address is not None:
            held.leave(monitor_address)
        ready = announce("scheduler", held.leave, flags.port_file, settings.advertised_address)
        return run_command(partial(serve_scheduler, settings, ready=ready))


def _address(text: str | None) -> Address | None:
    return Address.parse(text) if text is not None else None


def main() -> None:
    """The command's entry point."""
    run(app, "scheduler")
