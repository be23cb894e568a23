"""What a cancel and a time-out do, and when the slot is free again."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from scaler_trio import Client, TaskTimeout
from tests.kit.waiting import wait_until

SLOT_BACK_S = 2.0
"""Within this a slot is free again, whatever the task on it does."""


def touch_and_sleep(path: str, seconds: float) -> None:
    Path(path).touch()
    time.sleep(seconds)


def clean_up_when_stopped(path: str) -> None:
    try:
        touch_and_sleep(path, 60)
    finally:
        Path(path + ".cleaned").touch()


def refuse_to_stop(path: str) -> None:
    Path(path).touch()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


def wait_for_file(path: Path) -> None:
    wait_until(path.exists, f"{path.name} to exist")


def wait_for_both_slots(client: Client) -> float:
    """Until both workers run something again; seconds."""
    started = time.monotonic()
    futures = [client.submit(time.sleep, 0.05) for _ in range(2)]
    for future in futures:
        future.result(20)
    return time.monotonic() - started


def test_a_running_task_is_interrupted_softly_and_cleans_up(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    future = client.submit(clean_up_when_stopped, str(path))
    wait_for_file(path)
    future.cancel()
    wait_for_file(tmp_path / "runs.cleaned")
    assert wait_for_both_slots(client) < SLOT_BACK_S


def test_a_task_that_refuses_to_stop_is_killed_and_its_slot_is_back_in_time(client: Client, tmp_path: Path) -> None:
    paths = [tmp_path / "1", tmp_path / "2"]
    futures = [client.submit(refuse_to_stop, str(path)) for path in paths]
    for path in paths:
        wait_for_file(path)
    for future in futures:
        future.cancel()
    assert wait_for_both_slots(client) < SLOT_BACK_S


def test_a_queued_task_that_is_cancelled_never_runs(client: Client, tmp_path: Path) -> None:
    busy = [client.submit(touch_and_sleep, str(tmp_path / str(n)), 60) for n in range(2)]
    for n in range(2):
        wait_for_file(tmp_path / str(n))
    queued = [client.submit(touch_and_sleep, str(tmp_path / f"queued {n}"), 0) for n in range(50)]
    for future in queued:
        assert future.cancel()
        assert future.cancelled()
    for future in busy:
        future.cancel()
    wait_for_both_slots(client)
    assert not list(tmp_path.glob("queued*"))


def test_the_time_that_a_task_waits_does_not_count(client: Client) -> None:
    busy = [client.submit(time.sleep, 0.8) for _ in range(2)]
    assert client.options(timeout=0.4).submit(abs, -1).result(20) == 1
    for future in busy:
        future.result(20)


def test_a_task_out_of_time_that_refuses_to_stop_says_so_and_its_slot_is_back_in_time(
    client: Client, tmp_path: Path
) -> None:
    limited = client.options(timeout=0.3, name="endless")
    futures = [limited.submit(refuse_to_stop, str(tmp_path / str(n))) for n in range(2)]
    started = time.monotonic()
    for future in futures:
        with pytest.raises(TaskTimeout, match="endless: it ran longer than its timeout"):
            future.result(20)
    wait_for_both_slots(client)
    assert time.monotonic() - started < 0.3 + SLOT_BACK_S


def test_a_task_with_a_time_out_may_be_retried_after_what_it_raises_but_not_after_its_time(
    client: Client, tmp_path: Path
) -> None:
    limited = client.options(timeout=0.3, max_retries=5)
    path = tmp_path / "runs"
    with pytest.raises(TaskTimeout):
        limited.submit(touch_and_sleep, str(path), 60).result(20)


def import_slowly(folder: str, started: str) -> str:
    sys.path.insert(0, folder)
    try:
        import half_imported  # type: ignore[import-not-found]
    finally:
        sys.path.remove(folder)
    assert started
    return str(half_imported.REST)


def test_a_cancel_within_an_import_leaves_no_half_of_a_module_behind(client: Client, tmp_path: Path) -> None:
    started = tmp_path / "started"
    inner = tmp_path / "half_imported"
    inner.mkdir()
    (inner / "part.py").write_text("NAME = 'whole'\n")
    (inner / "slow.py").write_text(f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(0.5)\n")
    (inner / "__init__.py").write_text("from .part import *\nfrom .slow import *\nREST = part.NAME\n")
    for _ in range(4):  # on both workers
        started.unlink(missing_ok=True)
        future = client.submit(import_slowly, str(tmp_path), str(started))
        wait_until(lambda: started.exists() or future.done(), "the import to begin")  # noqa: B023
        future.cancel()
    assert client.map(import_slowly, [str(tmp_path)] * 4, [str(started)] * 4) == ["whole"] * 4
