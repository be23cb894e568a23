"""The pages of commands say what the commands say; the commands and files that other pages show are good ones."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scaler_trio.cli import object_storage, scaler, scheduler, worker_manager
from scaler_trio.cli.command import configure
from scaler_trio.cli.scaler import checked
from tests.docs.test_examples import ROOT, blocks
from tests.kit.services import BIN

if TYPE_CHECKING:
    from cyclopts import App

APPS: dict[str, tuple[App, str]] = {
    "scaler": (scaler.app, ""),
    "scaler_scheduler": (scheduler.app, "scheduler"),
    "scaler_object_storage_server": (object_storage.app, "object_storage_server"),
    "scaler_worker_manager": (worker_manager.app, "worker_manager"),
}
GENERATED = dict(runpy.run_path(str(ROOT / "docs" / "generate_commands.py"))["pages"]())
PAGES = [str(path.relative_to(ROOT)) for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]]


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.stem)
def test_the_page_of_a_command_is_its_help(path: Path) -> None:
    assert path.read_text() == GENERATED[path], "run: python docs/generate_commands.py"
    assert path.stem in APPS


@pytest.mark.parametrize("command", [*APPS, "scaler_worker_manager baremetal_native", "scaler status", "scaler bench"])
def test_every_flag_that_the_installed_command_shows_is_on_its_page(command: str) -> None:
    name, *rest = command.split()
    shown = subprocess.run([str(BIN / name), *rest, "--help"], capture_output=True, text=True, check=True).stdout
    page = (ROOT / "docs" / "reference" / "commands" / f"{name}.md").read_text()
    # Long ones are broken over two lines in the help's table; what stands below it is an example.
    table = shown.partition("Each flag is also")[0]
    flags = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*(?![\w-])", table))
    assert {flag for flag in flags - {"--help", "--version"} if flag not in page} == set()


def shown_commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in (*blocks(page, "console"), *blocks(page, "sh")):
            text = block.replace("\\\n", " ")
            for line in re.findall(r'^(?:\$ )?((?:scaler\w*) (?:[^"\n]|"[^"]*")*)$', text, re.MULTILINE):
                if "[OPTIONS]" not in line and "COMMAND" not in line and not line.endswith(" FILE"):
                    yield page, line


@pytest.mark.parametrize(("page", "line"), sorted(set(shown_commands())))
def test_the_commands_of_a_page_can_be_run(page: str, line: str, tmp_path: Path) -> None:
    name, *arguments = shlex.split(line)
    if "cluster.toml" in arguments:
        path = tmp_path / "cluster.toml"
        path.write_text(blocks("docs/guides/one-file.md", "toml")[0])
        arguments = [str(path) if argument == "cluster.toml" else argument for argument in arguments]
    app, section = APPS[name]
    configure(app, section, arguments)
    app.parse_args(arguments, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")])
def test_the_files_of_a_page_have_no_mistakes(page: str, tmp_path: Path) -> None:
    for block in blocks(page, "toml"):
        path = tmp_path / "cluster.toml"
        path.write_text(block)
        assert checked(path)
