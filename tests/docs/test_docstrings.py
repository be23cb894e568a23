"""Every example in a docstring runs, and gives what it shows."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MODULES = sorted(
    ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
    for folder in (ROOT, ROOT / "protocol", ROOT / "tui")
    for package in ("scaler_trio", "scaler_protocol", "scaler_tui")
    for path in (folder / package).rglob("*.py")
    if ">>>" in path.read_text()
)


def test_there_are_some() -> None:
    assert "scaler_trio.cluster.combo" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name: str) -> None:
    module = importlib.import_module(name)
    tests = doctest.DocTestFinder().find(module)
    examples = sum(len(test.examples) for test in tests)
    assert examples, f"{inspect.getsourcefile(module)} has >>> where doctest does not find it"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    shown: list[str] = []
    for test in tests:
        runner.run(test, out=shown.append)
    assert not runner.failures, "".join(shown)
