"""Files of services that were killed before they could clean up: recognised by locks that nobody holds any more."""

from contextlib import suppress

from scaler_trio.config.runtime import runtime_path
from scaler_trio.config.tokens import sweep_tokens
from scaler_trio.objects.directories import sweep_directory
from scaler_trio.objects.spill import default_parent


def sweep_leftovers() -> None:
    """Remove tokens, sockets and spilled objects of this user's dead services; those of living ones stay."""
    sweep_tokens()
    for parent in (runtime_path(), default_parent()):
        with suppress(OSError):  # whoever starts a service there next tries again, and says what is wrong
            sweep_directory(parent, "")
