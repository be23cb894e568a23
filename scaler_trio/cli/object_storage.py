"""``scaler_object_storage_server``: run an object storage server."""

from functools import partial
from pathlib import Path

from scaler_trio.cli.command import Bytes, Config, Level, Place, announce, make_app, run
from scaler_trio.cli.tokens import listening_token
from scaler_trio.net import Address
from scaler_trio.objects.server import ObjectServerSettings, serve_objects
from scaler_trio.process.lineage import set_title
from scaler_trio.process.running import configure_logging, run_command

HELP = """Run an object storage server, which holds what is too large for a message.

Example: scaler_object_storage_server tcp://127.0.0.1:2346
"""

app = make_app("scaler_object_storage_server", HELP)


@app.default
def object_storage_server(
    bind_address: Place,
    *,
    memory_bytes: Bytes | None = None,
    spill_directory: Path | None = None,
    spill_bytes: Bytes | None = None,
    port_file: Path | None = None,
    token_file: Path | None = None,
    logging_level: Level = "INFO",
    config: Config = None,
) -> int:
    """Run an object storage server until SIGTERM or SIGINT.

    Parameters
    ----------
    bind_address
        Where to listen: tcp://host:port. Port 0 takes a free one; the real one is printed.
    memory_bytes
        Limit of the objects in memory; by default 30 % of what this machine or container has.
    spill_directory
        Where objects go that memory has no room for; by default below /var/tmp.
    spill_bytes
        Limit of what is spilled; by default what the disk has free.
    port_file
        File to write the real address to, once clients can connect.
    token_file
        File with the secret that every peer must know; or set SCALER_TOKEN. On the loopback address one is made, which
        services and clients of the same user find.
    logging_level
        Least level of what is logged on standard error.
    config
        TOML file whose section of this command has what is not said here.
    """
    configure_logging(logging_level)
    address = Address.parse(bind_address)
    set_title("scaler_object_storage_server")
    with listening_token(address, token_file) as held:
        settings = ObjectServerSettings(
            address=address,
            token=held.token,
            memory_bytes=memory_bytes,
            spill_directory=spill_directory,
            spill_bytes=spill_bytes,
        )
        ready = announce("object storage server", held.leave, port_file)
        return run_command(partial(serve_objects, settings, ready=ready))


def main() -> None:
    """The command's entry point."""
    run(app, "object_storage_server")
