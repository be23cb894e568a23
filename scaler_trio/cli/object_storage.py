"""``scaler_object_storage_server``: run an object storage server."""

from functools import partial
from pathlib import Path

from attrs import frozen
from cyclopts import Parameter

from scaler_trio.cli.command import announce, make_app, run
from scaler_trio.cli.flags import Bytes, LoggingFlags, Place, SourceFlags
from scaler_trio.cli.tokens import listening_token
from scaler_trio.net import Address
from scaler_trio.objects.server import ObjectServerSettings, serve_objects
from scaler_trio.process.lineage import set_title
from scaler_trio.process.logs import configure_logging
from scaler_trio.process.running import run_command

NAME = "scaler_object_storage_server"
HELP = """Run an object storage server, which holds what is too large for a message.

Example: scaler_object_storage_server tcp://127.0.0.1:2346
"""

app = make_app(NAME, HELP)


@Parameter(name="*")
@frozen(kw_only=True)
class ObjectStorageFlags:
    """What an object storage server is told."""

    memory_bytes: Bytes | None = None
    """Limit of the objects in memory; by default 30 % of what this machine or container has."""

    spill_directory: Path | None = None
    """Where objects go that memory has no room for; by default below /var/tmp."""

    spill_bytes: Bytes | None = None
    """Limit of what is spilled; by default what the disk has free."""

    identity: str = "ObjectStorageServer"
    """Its name in logs."""

    port_file: Path | None = None
    """File to write the real address to, once clients can connect."""

    token_file: Path | None = None
    """File with the secret that every peer must know; or set SCALER_TOKEN. On the loopback address one is made, which
    services and clients of the same user find."""


@app.default
def object_storage_server(
    bind_address: Place,
    *,
    flags: ObjectStorageFlags = ObjectStorageFlags(),
    logs: LoggingFlags = LoggingFlags(),
    source: SourceFlags = SourceFlags(),
) -> int:
    """Run an object storage server until SIGTERM or SIGINT.

    Parameters
    ----------
    bind_address
        Where to listen: tcp://host:port. Port 0 takes a free one; the real one is printed.
    """
    configure_logging(logs.settings(), NAME)
    address = Address.parse(bind_address)
    set_title(NAME)
    with listening_token(address, flags.token_file) as held:
        settings = ObjectServerSettings(
            address=address,
            token=held.token,
            memory_bytes=flags.memory_bytes,
            spill_directory=flags.spill_directory,
            spill_bytes=flags.spill_bytes,
        )
        ready = announce("object storage server", held.leave, flags.port_file)
        return run_command(partial(serve_objects, settings, ready=ready))


def main() -> None:
    """The command's entry point."""
    run(app, "object_storage_server")
