"""What an editor knows of a result: `typed_calls.py` under mypy and for real, and wrong uses that mypy refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import mypy.api
import pytest
import trio

from scaler_trio import Client, SchedulerClusterCombo, connect
from tests.e2e import typed_calls

ROOT = Path(__file__).parent.parent.parent

WRONG = {
    "client.submit(half, 3).result().upper()": "attr-defined",
    "text: str = client.submit(half, 3).result()": "assignment",
    "future: ScalerFuture[str] = client.submit(half, 3)": "arg-type",
    "client.submit()": "call-overload",
    "client.submit(3)": "call-overload",
    "client.map(half)[0].upper()": "attr-defined",
    "client.map(3, [1])": "call-overload",
    "client.map(half, 3)": "call-overload",
    "numbers: list[float] = client.map(half, [1], return_exceptions=True)": "assignment",
    "words: list[str] = client.starmap(half, [(1,)])": "arg-type",
    "next(client.imap(half, [1])).upper()": "attr-defined",
    "client.fetch(b'id')": "arg-type",
    "client.fetch(client.send_object([1])).upper()": "attr-defined",
    "reference: ObjectReference[str] = client.send_object(1)": "arg-type",
    "client.get({}, [], block=False)['a'].upper()": "attr-defined",
    "client.options(prioritiy=1)": "call-arg",
    "client.options(priority='high')": "arg-type",
    "client.executor().submit(half, 1).result().upper()": "attr-defined",
}
"""Lines, and the code of mypy's complaint about each."""

HEAD = """\
from scaler_trio import Client, ObjectReference, ScalerFuture
def half(number: int) -> float: ...  # type: ignore[empty-body]
def use(client: Client) -> None:
"""


def run_mypy(path: Path) -> tuple[str, int]:
    report, trouble, status = mypy.api.run(
        ["--config-file", str(ROOT / "pyproject.toml"), "--show-error-codes", "--no-pretty", str(path)]
    )
    assert not trouble
    return report, status


@pytest.mark.slow
def test_mypy_knows_what_each_call_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    report, status = run_mypy(Path(typed_calls.__file__))
    assert status == 0, report


@pytest.mark.slow
def test_mypy_refuses_wrong_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "wrong.py"
    path.write_text(HEAD + "".join(f"    {line}\n" for line in WRONG))
    report, _ = run_mypy(path)
    codes: dict[int, str] = {}
    for line, code in re.findall(r"wrong\.py:(\d+): error: .*\[([a-z-]+)\]$", report, re.MULTILINE):
        codes.setdefault(int(line), code)
    found = {line: codes.get(number, "") for number, line in enumerate(WRONG, HEAD.count("\n") + 1)}
    wrong = {line: code for line, code in found.items() if code != WRONG[line]}
    assert not wrong, report


@pytest.mark.parametrize(
    "check",
    [
        typed_calls.check_submit,
        typed_calls.check_futures,
        typed_calls.check_references,
        typed_calls.check_maps,
        typed_calls.check_graphs,
        typed_calls.check_executor,
    ],
)
def test_each_call_returns_what_its_type_says(check: Callable[[Client], None], client: Client) -> None:
    check(client)


def test_so_does_each_call_of_an_async_client(cluster: SchedulerClusterCombo) -> None:
    async def main() -> None:
        async with connect(cluster.get_address()) as client:
            await typed_calls.check_async(client)

    trio.run(main)
