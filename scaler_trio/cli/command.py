"""What all commands share: how a command line is run, and how a wrong one is answered."""

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from cyclopts import App, CycloptsError

from scaler_trio.config.tokens import TokenError
from scaler_trio.net import AddressError, NetError

WRONG = 2
"""Exit code of a command line that cannot be run, as of the shell's own commands."""


def run(app: App) -> NoReturn:
    """Run the command of this process; a user's mistake is one sentence on standard error, and exit code 2."""
    try:
        code = app(exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _refuse(app, f"{' '.join(str(error).split()).rstrip('.')} (see {app.name[0]} --help)")
    except (AddressError, TokenError, NetError, ValueError) as error:
        _refuse(app, str(error))
    except KeyboardInterrupt:  # before a service handles signals itself
        code = 128 + signal.SIGINT
    sys.exit(code if isinstance(code, int) else 0)


def announce(what: str, tell: Callable[[object], None]) -> Callable[[object], None]:
    """A ``ready`` callback which passes on the address, and prints it, so that scripts and people can read it."""

    def ready(address: object) -> None:
        tell(address)
        sys.stdout.write(f"{what} at {address}\n")
        sys.stdout.flush()

    return ready


def _refuse(app: App, sentence: str) -> NoReturn:
    sys.stderr.write(f"{app.name[0]}: {sentence}\n")
    sys.exit(WRONG)
