"""Trio mode for this folder, and a bench around a scheduler core."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_trio.enable_trio_mode import *  # noqa: F403

from tests.kit.scheduler import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A core whose invariants hold after every event, and at the end."""
    bench = Bench()
    yield bench
    bench.core.check_invariants()
