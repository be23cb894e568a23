"""Settings and checks that hold for every test: Hypothesis profiles, a private runtime directory, and no leaks."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.kit import leaks

# Locally few examples, so that a save-and-run loop stays short; in CI more, and the same ones every time.
hypothesis.settings.register_profile("fast", max_examples=25, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "fast"))

# Started in the background of a script, all of this would ignore Ctrl-C, which some tests are about.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REAL_PROCESSES = [Path(__file__).parent / name for name in ("e2e", "chaos", "integrations")]


@pytest.fixture(scope="session", autouse=True)
def _no_leaks_after_the_session() -> Iterator[None]:
    """Gives the session a runtime directory of its own and fails it when anything outlives it."""
    # Directly under /tmp: pytest's own temporary paths are too long for Unix sockets (108 bytes).
    runtime_dir = Path(tempfile.mkdtemp(prefix="st-", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime_dir))
        patch.setenv(leaks.MARKER, str(os.getpid()))
        before = leaks.snapshot()
        yield
        left = leaks.wait_for_no_leaks(before)
    shutil.rmtree(runtime_dir)
    if left:
        pytest.fail("the test session left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def _no_leaks_after_a_test_with_real_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """The same after each test that starts real processes, so that the culprit is named.

    What fixtures of a wider scope started is already in the snapshot, because pytest sets those up first.
    """
    if not any(request.path.is_relative_to(folder) for folder in REAL_PROCESSES):
        yield
        return
    before = leaks.snapshot()
    yield
    if left := leaks.wait_for_no_leaks(before):
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)
