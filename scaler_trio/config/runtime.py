"""Where this user's services keep what lives as long as they do: sockets and tokens, in one private directory."""

import os
import tempfile
from pathlib import Path


def runtime_path() -> Path:
    """The directory, which need not exist: below ``XDG_RUNTIME_DIR``, else below the temporary directory."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"scaler-trio-{os.getuid()}"
