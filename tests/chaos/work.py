"""What the workers run in these tests: importable, and light, for every worker imports it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path


def spin(i: int) -> int:
    """About 50 µs of work, however busy the machine is."""
    end = time.perf_counter_ns() + 50_000
    while time.perf_counter_ns() < end:
        pass
    return i * i


def nap(i: int, seconds: float = 0.01) -> int:
    time.sleep(seconds)
    return i * i


def square(i: int) -> int:
    return i * i


def blob(size: int) -> bytes:
    return b"x" * size


def die(how: str) -> None:
    """End this processor, after some words."""
    for number in range(3):
        print(f"line {number} before {how}")
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segv":
        ctypes.string_at(0)
    sys.exit("still here")


def die_at(i: int, deadly: int, how: str) -> int:
    if i == deadly:
        die(how)
    return i * i


def kill_the_worker_at(i: int, deadly: int) -> int:
    """Kill the agent: the parent of the template which forked this processor."""
    if i == deadly:
        status = Path(f"/proc/{os.getppid()}/stat").read_text()
        os.kill(int(status.rpartition(")")[2].split()[1]), signal.SIGKILL)
        time.sleep(60)
    return i * i


def append(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)


def mark_and_nap(path: str, seconds: float) -> None:
    """Say that it runs, then sleep; say so again if it was allowed to finish."""
    append(path, "started\n")
    try:
        time.sleep(seconds)
    except BaseException as error:
        append(path, f"interrupted by {type(error).__name__}\n")
        raise
    append(path, "finished\n")
