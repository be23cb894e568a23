from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from scaler_trio import actors

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parents[2] / "docs" / "explain" / "actors.md"


def test_the_example_of_the_page_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    example, expected = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", text, re.DOTALL).groups()  # type: ignore[union-attr]
    exec(compile(example, str(PAGE), "exec"), {"__name__": "example"})
    assert capsys.readouterr().out == expected


def test_every_public_name_is_sorted_and_there() -> None:
    assert sorted(actors.__all__, key=str) == actors.__all__
    assert all(hasattr(actors, name) for name in actors.__all__)
