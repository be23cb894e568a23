"""Every Python example of README and documentation runs against a real cluster, and so do the terminals it shows."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from scaler_trio import Client, SchedulerClusterCombo
from tests.kit.services import Command, free_ports

ROOT = Path(__file__).parent.parent.parent
NOT_RUN = {
    "docs/explain/actors.md",  # tests/actors/test_docs.py runs it and compares what it prints
    "docs/explain/objects.md",  # names of our own interfaces; tests/objects uses them
}
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if "```python" in path.read_text() and str(path.relative_to(ROOT)) not in NOT_RUN
)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def cluster() -> Iterator[SchedulerClusterCombo]:
    with SchedulerClusterCombo(n_workers=2) as running:
        yield running


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run_one_after_the_other(page: str, cluster: SchedulerClusterCombo) -> None:
    with Client(cluster.get_address()) as client:
        # What the text around an example takes for granted; an example may make its own.
        names: dict[str, Any] = {"__name__": "example", "client": client, "math": math}
        for example in blocks(page, "python"):
            code = example.replace("tcp://127.0.0.1:2345", cluster.get_address())
            exec(compile(code, page, "exec"), names)
            if "closed" in repr(names["client"]):
                names["client"] = client


def test_the_readmes_example_prints_what_it_promises(cluster: SchedulerClusterCombo) -> None:
    example = next(block for block in blocks("README.md", "python") if "SchedulerClusterCombo" in block)
    assert len(example.splitlines()) <= 16
    shown = StringIO()
    with redirect_stdout(shown):
        exec(compile(example, "README.md", "exec"), {"__name__": "example"})
    assert shown.getvalue().splitlines() == [
        str([math.sqrt(n) for n in range(10)]),
        str(2**100),
        "ValueError('math domain error')",
        str({"c": math.e}),
    ]


@pytest.mark.parametrize("page", ["README.md", "docs/guides/services.md"])
def test_the_three_terminals_of_a_page_serve_its_client(page: str) -> None:
    (terminals,) = [block for block in blocks(page, "sh") if "scaler_scheduler" in block]
    ports = {f"127.0.0.1:{shown}": f"127.0.0.1:{real}" for shown, real in zip((2345, 2346), free_ports(2), strict=True)}
    client = next(block for block in blocks(page, "python") if "tcp://127.0.0.1:2345" in block)
    for shown, real in ports.items():
        terminals = terminals.replace(shown, real)
        client = client.replace(shown, real)
    with ExitStack() as running:
        commands = [running.enter_context(Command(*shlex.split(line))) for line in terminals.splitlines()]
        try:
            exec(compile(client.replace('")', '", timeout=20)', 1), page, "exec"), {"__name__": "example"})
        except BaseException as error:
            for command in commands:
                error.add_note(command.shown())
            raise
