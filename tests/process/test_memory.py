from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from scaler_trio.process.memory import available_bytes, limit_files, private_bytes


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/\n", ["memory.max"]),
        (
            "0::/system.slice/scaler.service\n",
            ["system.slice/scaler.service/memory.max", "system.slice/memory.max", "memory.max"],
        ),
        (
            "12:cpu,cpuacct:/a\n9:memory:/docker/1f\n0::/\n",
            [
                "memory/docker/1f/memory.limit_in_bytes",
                "memory/docker/memory.limit_in_bytes",
                "memory/memory.limit_in_bytes",
                "memory.max",
            ],
        ),
        ("", []),
    ],
)
def test_the_limits_of_all_groups_above_count(membership: str, files: list[str]) -> None:
    assert list(limit_files(membership)) == files


def test_what_is_available_is_at_most_what_the_machine_has() -> None:
    assert 0 < available_bytes() <= psutil.virtual_memory().total


def test_own_pages_are_private_and_shared_ones_are_not() -> None:
    program = (
        "import mmap, sys; own = bytearray(b'x') * 100_000_000; shared = mmap.mmap(-1, 200_000_000);"
        "shared.write(b'y' * 200_000_000); print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 100_000_000 < private_bytes(process.pid) < 190_000_000
        process.communicate()
    assert private_bytes(process.pid) == 0


def test_this_process_has_some() -> None:
    assert private_bytes(os.getpid()) > 1_000_000
