"""``scaler_top`` and ``scaler_gui``: their names are taken, and say what serves until they exist."""

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """The entry point of both commands."""
    name = os.path.basename(sys.argv[0])
    sys.stderr.write(
        f"{name}: there is no dashboard yet; the scheduler's log tells of workers and capacity, and "
        "future.explain() of a task\n"
    )
    sys.exit(1)
