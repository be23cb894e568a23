"""The leak check is trusted by every other test, so it has to be seen catching each kind of leak."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.kit import leaks

SLEEP = "import time; time.sleep(60)"
SERVICE = f"import setproctitle; setproctitle.setproctitle('scaler_worker'); print('ready', flush=True); {SLEEP}"
# A parent that dies at once and leaves its child, in a session of its own, to init.
LEAVE_AN_ORPHAN = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.read(1)
print(child.pid, flush=True)
"""


@contextmanager
def child(*argv: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_child_that_is_left_is_named_by_its_command_line() -> None:
    before = leaks.snapshot()
    with child(sys.executable, "-c", SLEEP) as process:
        (left,) = leaks.wait_for_no_leaks(before, grace_s=0.1)
        assert left == f"process {process.pid}: {sys.executable} -c {SLEEP}"
    assert leaks.find_leaks(before) == []


def test_an_orphaned_service_is_found_though_its_title_overwrote_its_environment() -> None:
    before = leaks.snapshot()
    output = subprocess.run([sys.executable, "-c", LEAVE_AN_ORPHAN, SERVICE], stdout=subprocess.PIPE, check=True).stdout
    orphan = int(output)
    try:
        assert leaks.find_leaks(before) == [f"process {orphan}: scaler_worker"]
    finally:
        os.kill(orphan, signal.SIGKILL)
    assert leaks.wait_for_no_leaks(before) == []


def test_an_orphan_without_a_title_is_found_by_the_marker_of_the_session() -> None:
    before = leaks.snapshot()
    plain = f"print('ready', flush=True); {SLEEP}"
    output = subprocess.run([sys.executable, "-c", LEAVE_AN_ORPHAN, plain], stdout=subprocess.PIPE, check=True).stdout
    orphan = int(output)
    try:
        (left,) = leaks.find_leaks(before)
        assert left.startswith(f"process {orphan}: ")
    finally:
        os.kill(orphan, signal.SIGKILL)
    assert leaks.wait_for_no_leaks(before) == []


def test_a_process_started_by_a_cluster_of_a_wider_fixture_is_no_leak_of_this_test() -> None:
    replace_a_worker = f"import subprocess, sys; input(); subprocess.run([sys.executable, '-c', {SLEEP!r}])"
    with subprocess.Popen([sys.executable, "-c", replace_a_worker], stdin=subprocess.PIPE, process_group=0) as cluster:
        try:
            before = leaks.snapshot()
            assert cluster.stdin is not None
            cluster.stdin.write(b"go\n")
            cluster.stdin.flush()
            assert leaks.wait_for_no_leaks(before, grace_s=0.2) == []
        finally:
            os.killpg(cluster.pid, signal.SIGKILL)


@pytest.mark.skipif(not leaks.SHARED_MEMORY.is_dir(), reason="shared memory is not a file system here")
def test_a_shared_memory_file_that_is_left_is_named() -> None:
    before = leaks.snapshot()
    path = leaks.SHARED_MEMORY / f"scaler-test-{uuid.uuid4().hex}"
    path.write_bytes(b"left")
    try:
        assert leaks.wait_for_no_leaks(before, grace_s=0.1) == [f"file {path}"]
    finally:
        path.unlink()
    assert leaks.find_leaks(before) == []


def test_a_file_in_the_runtime_directory_that_is_left_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    before = leaks.snapshot()
    path = tmp_path / f"scaler-trio-{os.getuid()}" / "tokens" / "127.0.0.1-6378"
    path.parent.mkdir(parents=True)
    path.write_text("secret")
    assert leaks.wait_for_no_leaks(before, grace_s=0.1) == [f"file {path}"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["scaler_scheduler"], True),
        (["/usr/bin/python3", "/somewhere/bin/scaler_scheduler", "--port", "0"], True),
        (["python", "-m", "scaler_trio.cli.scheduler"], True),
        (["python", "/somewhere/bin/mypy", "scaler_trio"], False),
        (["bash", "-c", "ls scaler_trio"], False),
        ([], False),
    ],
)
def test_services_are_told_from_what_only_mentions_them(
    argv: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks, "_argv", lambda process: argv)
    assert leaks._is_service(psutil.Process()) is expected
