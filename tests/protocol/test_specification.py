from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path

import attrs
import pytest

import scaler_protocol
from scaler_protocol import MESSAGE_CLASSES, ErrorCode, fields, limits
from scaler_protocol import messages as m

FOLDER = Path(__file__).parents[2] / "protocol"
README = (FOLDER / "README.md").read_text()


def test_the_specification_says_what_the_code_says() -> None:
    generate = runpy.run_path(str(FOLDER / "generate_spec.py"))["generated"]
    assert generate(README) == README, "run: python protocol/generate_spec.py"


@pytest.mark.parametrize("cls", MESSAGE_CLASSES.values(), ids=lambda cls: cls.__name__)
def test_every_message_has_a_row_and_a_block_with_its_fields_in_order(cls: type) -> None:
    assert re.search(rf"^\| \[`{cls.__name__}`\]\(#{cls.__name__.lower()}\) \| {fields.kind_of(cls)} \|", README, re.M)
    block = README.split(f"#### {cls.__name__}\n")[1].split("####")[0].split("<!--")[0]
    named = re.findall(r"^\| `(\w+)`", block, re.M) + re.findall(r"`(\w+)`", block.partition("Segments, in order:")[2])
    assert [name for name in named if name in attrs.fields_dict(cls)] == [a.name for a in attrs.fields(cls)]


def test_every_error_code_and_every_limit_is_documented() -> None:
    for code in ErrorCode:
        assert f"| {code:d} | `{code.name}` |" in README
    for name, value in vars(limits).items():
        if name.isupper() and name not in ("KIB", "MIB"):
            row = README.split(f"| `{name}` | {value:,} | ")[1].splitlines()[0]
            assert len(row) > len("reason"), f"{name} needs the reason for its number"


def test_the_documented_label_is_the_one_in_use() -> None:
    assert '"scaler-trio handshake 1"' in README
    assert scaler_protocol.handshake._LABEL == b"scaler-trio handshake 1"
    assert "The label is 23 ASCII bytes" in README
    assert len(scaler_protocol.handshake._LABEL) == 23


def test_kinds_are_unique_and_within_a_byte() -> None:
    classes = [cls for _, cls in inspect.getmembers(m, inspect.isclass) if fields.KIND_ATTRIBUTE in vars(cls)]
    assert len({fields.kind_of(cls) for cls in classes}) == len(classes) == len(MESSAGE_CLASSES)
    assert all(0 < kind < 256 for kind in MESSAGE_CLASSES)


def test_every_public_name_exists_and_is_sorted() -> None:
    assert all(hasattr(scaler_protocol, name) for name in scaler_protocol.__all__)
    assert scaler_protocol.__all__ == sorted(scaler_protocol.__all__, key=lambda name: (not name.isupper(), name))
