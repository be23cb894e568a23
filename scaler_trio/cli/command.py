"""What all commands share: how a command line is run, and how a wrong one is answered."""

import sys
from collections.abc import Callable
from typing import NoReturn

from cyclopts import App

from scaler_trio.config.tokens import TokenError
from scaler_trio.net import AddressError, NetError


def run(app: App) -> NoReturn:
    """Run the command of this process; a user's mistake is one sentence on standard error, and exit code 2."""
    try:
        code = app()
    except (AddressError, TokenError, NetError, ValueError) as error:
        sys.stderr.write(f"{app.name[0]}: {error}\n")
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def announce(what: str, tell: Callable[[str], None] | None = None) -> Callable[[object], None]:
    """A ``ready`` callback which prints the address, so that scripts and people can read it."""

    def ready(address: object) -> None:
        sys.stdout.write(f"{what} at {address}\n")
        sys.stdout.flush()
        if tell is not None:
            tell(str(address))

    return ready
