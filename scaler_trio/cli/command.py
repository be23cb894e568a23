"""What all commands share: where their settings come from, and how a wrong one is answered.

Flags come before the environment (``SCALER_…``), that before the file of ``--config``, and that before defaults.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, NoReturn

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Env

from scaler_trio.cli import settings_file
from scaler_trio.config.tokens import TokenError
from scaler_trio.net import Address, AddressError, NetError
from scaler_trio.process.lineage import die_with_parent
from scaler_trio.process.notify import notify

WRONG: Final = 2
"""Exit code of a command line that cannot be run, as of the shell's own commands."""

PARENT: Final = "SCALER_TRIO_PARENT"
"""Process id of the supervisor that started this process, which then ends with it."""

EPILOGUE: Final = """Each flag is also a key of the settings file and a variable of the environment:
--worker-timeout-seconds is worker_timeout_seconds there and SCALER_WORKER_TIMEOUT_SECONDS here. What is on the command
line goes before the environment, and that before the file."""


def make_app(name: str, text: str, *, epilogue: str = EPILOGUE) -> App:
    """A command; ``epilogue`` stands below its help."""
    app = App(
        name=name,
        help=text,
        help_epilogue=epilogue,
        version=version("scaler-trio"),
        help_format="markdown",
        default_parameter=Parameter(show_env_var=False),
    )
    app.register_install_completion_command(help="Complete this command's flags in your shell from now on.")
    return app


def run(app: App, section: str) -> NoReturn:
    """Run the command of this process; a user's mistake is one sentence on standard error, and exit code 2.

    Args:
        app: the command.
        section: of the settings file.
    """
    if (parent := os.environ.pop(PARENT, "")).isdigit():
        die_with_parent(int(parent), signal.SIGTERM)
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # modules of the user's, as policies are
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `start` had switched it off
    try:
        configure(app, section, sys.argv[1:])
        code = app(exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _refuse(app, f"{sentence(error)} (see {app.name[0]} --help)")
    except (AddressError, TokenError, NetError, ValueError) as error:
        _refuse(app, str(error))
    except KeyboardInterrupt:  # before a service handles signals itself
        code = 128 + signal.SIGINT
    sys.exit(code if isinstance(code, int) else 0)


def configure(app: App, section: str, arguments: Sequence[str]) -> None:
    """Have the app look into the environment, and into the file that the arguments name."""
    path = _config_path(arguments) if section else None
    app.config = (Env("SCALER_", command=False), *([settings_file.source(path, section)] if path else []))


def sentence(error: CycloptsError) -> str:
    """What is wrong, in one line."""
    return " ".join(str(error).split()).rstrip(".")


def announce(
    what: str, tell: Callable[[object], None], port_file: Path | None = None, advertised: Address | None = None
) -> Callable[[Address], None]:
    """A ``ready`` callback which passes on the address, and prints it, so that scripts and people can read it.

    ``advertised`` takes its place where others see another one; its port 0 is the port that was taken.
    """

    def ready(address: Address) -> None:
        tell(address)
        if advertised is not None:
            address = advertised.with_port_of(address)
        if port_file is not None:
            part = port_file.with_name(f".{port_file.name}.{os.getpid()}")
            part.write_text(f"{address}\n")
            part.rename(port_file)  # a reader sees all of it or nothing
        sys.stdout.write(f"{what} at {address}\n")
        sys.stdout.flush()
        notify("READY=1")

    return ready


def _config_path(arguments: Sequence[str]) -> Path | None:
    for at, argument in enumerate(arguments):
        if argument in ("--config", "-c") and at + 1 < len(arguments):
            return Path(arguments[at + 1])
        if argument.startswith("--config="):
            return Path(argument.removeprefix("--config="))
    return Path(found) if (found := os.environ.get("SCALER_CONFIG")) else None


def _refuse(app: App, text: str) -> NoReturn:
    sys.stderr.write(f"{app.name[0]}: {text}\n")
    sys.exit(WRONG)
