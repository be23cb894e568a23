"""Programs for ``multiprocessing``, ``concurrent.futures`` and Ray run with other imports and constructions.

Each does so as a script, line by line at the prompt, and as a notebook. What is compared is the text of the programs in
``ports``, so that nothing else can have been changed; the originals run as well, where what they need is installed.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.kit.scripts import run_python

PORTS = Path(__file__).parent / "ports"

EXPECTED = {
    "multiprocessing": ["[0, 1, 4, 9, 16, 25]", "[8, 9]", "[0, 1, 4, 9]", "[1, 2, 4, 8]"],
    "concurrent_futures": [
        "[0, 1, 4, 9, 16, 25]",
        "[(0, 0), (1, 1), (2, 4), (3, 9)]",
        "ValueError('no 7')",
    ],
    "ray": ["[0, 1, 4, 9, 16, 25]", "4970", "4 2"],
}

CONSTRUCTION = ("import", "from", "with", "ray.init(", "ray = RayStyle(", "cluster = SchedulerClusterCombo(")


def text(program: str, side: str) -> str:
    return (PORTS / f"{program}_{side}.py").read_text()


@pytest.mark.parametrize("program", EXPECTED)
def test_only_imports_and_construction_differ(program: str) -> None:
    before, after = text(program, "before").splitlines(), text(program, "after").splitlines()
    changed = [line[2:].strip() for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert any(changed)
    assert all(not line or line.startswith(CONSTRUCTION) for line in changed), changed


@pytest.mark.parametrize("program", [name for name in EXPECTED if name != "ray"])
def test_the_original(program: str, tmp_path: Path) -> None:
    assert run_python(tmp_path, str(PORTS / f"{program}_before.py")).stdout.splitlines() == EXPECTED[program]


@pytest.mark.parametrize("program", EXPECTED)
def test_the_port_as_a_script(program: str, tmp_path: Path) -> None:
    done = run_python(tmp_path, str(PORTS / f"{program}_after.py"))
    assert done.stdout.splitlines() == EXPECTED[program]
    assert done.stderr == ""


@pytest.mark.parametrize("program", EXPECTED)
def test_the_port_at_the_prompt(program: str, tmp_path: Path) -> None:
    """The prompt ends a block at an empty line, so one goes after each, as a person types it."""
    lines: list[str] = []
    for line in filter(str.strip, text(program, "after").splitlines()):
        if lines and lines[-1][0] == " " and line[0] != " ":
            lines.append("")
        lines.append(line)
    done = run_python(tmp_path, "-i", "-q", text="\n".join([*lines, "", ""]))
    assert [line for line in done.stdout.splitlines() if line] == EXPECTED[program]
    assert "Traceback" not in done.stderr, done.stderr


def run_notebook(*cells: str) -> list[str]:
    """Run the cells in a kernel of its own; what they print, and their values as text."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=40, kernel_name="python3").execute()
    found: list[str] = []
    for cell in notebook.cells:
        for output in cell.outputs:
            found += (output.text if output.output_type == "stream" else output.data["text/plain"]).splitlines()
    return found


@pytest.mark.parametrize("program", EXPECTED)
def test_the_port_as_a_notebook(program: str) -> None:
    blocks = [block for block in text(program, "after").split("\n\n") if block.strip()]
    assert run_notebook(*blocks) == EXPECTED[program]


def test_what_people_do_in_notebooks() -> None:
    """Classes of a cell, a cell that is run again after a change, progress, and awaiting in a cell."""
    start = "from scaler_trio import Client, SchedulerClusterCombo\ncluster = SchedulerClusterCombo(1)\n"
    shown = run_notebook(
        start + "client = Client(cluster.get_address())",
        "class Point:\n    def __init__(self, x):\n        self.x = x",
        "def shift(point):\n    return Point(point.x + by)",
        "by = 1\n[point.x for point in client.map(shift, [Point(1), Point(2)])]",
        "by = 5\n[point.x for point in client.map(shift, [Point(1), Point(2)])]",
        "future = client.submit(shift, Point(10))\n(await future).x",
        "client.map(abs, [-1, -2], progress=True)",
        "client.close()\ncluster.shutdown()",
    )
    assert shown[:3] == ["[2, 3]", "[6, 7]", "15"]
    assert shown[-1] == "[1, 2]"
