"""Programs as users write them, run in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

SCRIPT_S = 40.0
"""Less than a test's own limit, so that a script that hangs is shown with what it has printed."""


def run_script(
    folder: Path, source: str, *arguments: str, name: str = "script.py", timeout_s: float = SCRIPT_S
) -> subprocess.CompletedProcess[str]:
    """Save ``source`` below ``folder`` and run it there; it must succeed."""
    path = folder / name
    path.write_text(textwrap.dedent(source))
    return run_python(folder, str(path), *arguments, timeout_s=timeout_s)


def run_python(
    folder: Path, *arguments: str, text: str | None = None, timeout_s: float = SCRIPT_S
) -> subprocess.CompletedProcess[str]:
    """Run the interpreter in ``folder`` with ``text`` as its input; it must succeed."""
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        shown = "\n".join(str(part) for part in (error.stdout, error.stderr) if part)
        raise AssertionError(f"{arguments[:2]} did not end within {timeout_s:g} s; it had printed:\n{shown}") from None
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
