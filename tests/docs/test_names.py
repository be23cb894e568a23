"""The reference has every public name and command, and nothing else; links lead somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import scaler_trio

ROOT = Path(__file__).parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "protocol" / "README.md"]


def test_the_reference_has_exactly_the_public_names() -> None:
    text = (ROOT / "docs" / "reference" / "api.md").read_text().partition("## Variables")[0]
    documented = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(documented) == sorted(scaler_trio.__all__)


def test_every_public_name_can_be_imported_and_has_a_docstring() -> None:
    for name in scaler_trio.__all__:
        assert getattr(scaler_trio, name).__doc__, name
    assert set(scaler_trio.__all__) <= set(dir(scaler_trio))
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        scaler_trio.Clinet  # type: ignore[attr-defined]  # noqa: B018


def test_every_public_method_has_a_docstring() -> None:
    for name in ("AsyncClient", "Client", "ScalerFuture", "SchedulerClusterCombo"):
        members = vars(getattr(scaler_trio, name))
        missing = [member for member, value in members.items() if member[0] != "_" and not value.__doc__]
        assert [member for member in missing if callable(members[member])] == [], name


def test_every_command_is_in_the_guide() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    guide = (ROOT / "docs" / "guides" / "services.md").read_text()
    assert [name for name in scripts if name not in guide] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_page_lead_to_files_that_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_every_page_is_in_the_index() -> None:
    docs = ROOT / "docs"
    index = (docs / "index.md").read_text()
    pages = [str(path.relative_to(docs)) for path in docs.rglob("*.md") if path.name != "index.md"]
    assert [page for page in pages if f"({page})" not in index] == []
