"""``make demo``'s script, whole: the first thing that a newcomer sees."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = Path(__file__).parent.parent.parent / "examples" / "stdlib_census.py"
LIMIT_S = 50.0
"""Twenty seconds on an idle machine of two cores."""


@pytest.mark.slow
def test_the_demo_ends_soon_and_with_the_same_result_as_the_serial_run() -> None:
    started = time.monotonic()
    done = subprocess.run([sys.executable, str(DEMO)], capture_output=True, text=True, timeout=55, check=False)
    took_s = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    assert "same result" in done.stdout
    assert re.search(r"^  [\d,]+ modules, [\d,]+ lines$", done.stdout, re.MULTILINE)
    assert took_s < LIMIT_S, f"{took_s:.0f} s\n{done.stdout}"
