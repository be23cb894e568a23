"""The long variants of these tests run only when they are asked for: `make test ARGS='tests/chaos -m slow'`."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is marked slow here, unless the command line says which marks it wants."""
    if config.option.markexpr:
        return
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="long; run it with -m slow"))
