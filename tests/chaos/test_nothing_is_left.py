"""However the program that owns a cluster ends, the cluster ends with it, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from scaler_trio import Client, SchedulerClusterCombo
from scaler_trio.config.runtime import runtime_path
from scaler_trio.config.tokens import find_token
from scaler_trio.errors import ConnectionFailed
from tests.kit.processes import LAUNCHER, ClusterProcesses, below, is_alive, kill, title, wait_gone
from tests.kit.waiting import wait_until

GONE_S = 5.0

PROCESSES = 9
"""Launcher, scheduler, object storage server, and three for each of two workers."""

BEGIN = """
import os, signal, sys
from scaler_trio import Client, SchedulerClusterCombo
from tests.chaos.work import nap, square
cluster = SchedulerClusterCombo(n_workers=2)
client = Client(cluster.get_address())
array = client.send_object(bytes(2_000_000))
assert client.map(square, range(100)) == [i * i for i in range(100)]
task = client.submit(nap, 0, 30.0)
def say(*words): print(*words, flush=True)
"""


def files() -> list[Path]:
    """What lies in the runtime directory: tokens, sockets, directories for them."""
    return sorted(runtime_path().rglob("*"))


@contextmanager
def an_owner(program: str) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A program that owns a busy cluster and has just said `ready`; all processes below it."""
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN + program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            # One worker may have done all of it while the other one was still starting its processor.
            wait_until(lambda: len(below(process.pid)) >= PROCESSES, "both workers to be complete")
            yield process, below(process.pid)
        finally:
            process.kill()


def assert_gone(processes: list[psutil.Process], before: list[Path], what: str) -> None:
    started = time.perf_counter()
    wait_gone(processes, timeout_s=GONE_S)
    wait_until(lambda: files() == before, f"the files {before}; there are {files()}", timeout_s=GONE_S)
    print(f"{what}: all gone after {time.perf_counter() - started:.2f} s")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_cluster_ends_with_an_owner_that_is_ended_by(number: signal.Signals) -> None:
    before = files()
    with an_owner("say('ready'); signal.pause()") as (process, processes):
        assert len(processes) >= 9
        assert len(files()) > len(before)
        process.send_signal(number)
        process.wait(GONE_S)
        assert_gone(processes, before, number.name)


@pytest.mark.parametrize("end", ["sys.exit(3)", "os._exit(3)", "sys.excepthook = lambda *_: 0; 1 / 0"])
def test_a_cluster_ends_with_an_owner_that_forgets_it_and_ends_by(end: str) -> None:
    before = files()
    with an_owner(f"say('ready'); sys.stdin.readline(); {end}") as (process, processes):
        process.communicate("go\n")
        assert_gone(processes, before, end)


def test_files_of_a_cluster_whose_owner_and_launcher_were_killed_are_swept_by_the_next_start() -> None:
    before = files()
    with an_owner("say('ready'); signal.pause()") as (process, processes):
        launcher = next(p for p in processes if p in below(process.pid, LAUNCHER))
        # Nobody may see the other go: the one would clean up after the other.
        process.send_signal(signal.SIGSTOP)
        launcher.suspend()
        kill(psutil.Process(process.pid), launcher)
        wait_gone(processes, timeout_s=GONE_S)
        process.wait(GONE_S)
    left = files()
    assert len(left) > len(before)
    with SchedulerClusterCombo(n_workers=0):
        assert not set(files()) & (set(left) - set(before))  # other clusters may be running
    assert files() == before


def test_an_owner_cleans_up_after_a_launcher_that_was_killed() -> None:
    before = files()
    with SchedulerClusterCombo(n_workers=1) as cluster:
        processes = ClusterProcesses.of(cluster.get_address())
        everything = processes.everything()
        kill(processes.launcher)
        wait_gone(everything)
        assert files() != before
    assert files() == before
    with pytest.raises(ConnectionFailed):
        Client(cluster.get_address(), token=cluster.token, timeout=0.3)


def test_a_token_goes_with_its_cluster_and_not_with_another_one() -> None:
    with SchedulerClusterCombo(n_workers=0) as one, SchedulerClusterCombo(n_workers=0) as other:
        assert find_token(one.get_address()) == one.token.encode()
        other.shutdown()
        assert find_token(other.get_address()) is None
        assert find_token(one.get_address()) == one.token.encode()


def test_a_fork_of_the_owner_does_not_end_the_cluster_and_does_not_keep_it() -> None:
    before = files()
    fork = """
child = os.fork()
if not child:  # ends like a program: with its atexit handlers and finalizers
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
lasting = os.fork()
if not lasting:
    signal.pause()
assert client.map(square, range(10)) == [i * i for i in range(10)]
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(square, range(10)) == [i * i for i in range(10)]
assert client.map(square, range(10)) == [i * i for i in range(10)]
say('ready')
say(lasting)
sys.stdin.readline()
if sys.argv[1:] == ["shutdown"]:
    cluster.shutdown()
    say('down')
    sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""
    for how in ("shutdown", "end"):
        program = fork.replace("sys.argv[1:]", repr([how]))
        with an_owner(program) as (process, processes):
            assert process.stdin is not None
            assert process.stdout is not None
            lasting = psutil.Process(int(process.stdout.readline()))
            try:
                cluster = [p for p in processes if p != lasting and is_alive(p)]
                process.stdin.write("go\n")
                process.stdin.flush()
                if how == "shutdown":
                    started = time.perf_counter()
                    assert process.stdout.readline() == "down\n"
                    assert time.perf_counter() - started < GONE_S
                assert_gone(cluster, before, f"a fork of the owner lives, {how}")
                assert is_alive(lasting)
            finally:
                lasting.kill()


# ------------------------------------------------------------------------------------------------------------ Ctrl-C

CENSUS = Path(__file__).parents[2] / "examples" / "stdlib_census.py"
PARTS = 4
LAST_S = 4.0
"""Interrupts come at any moment up to here: interpreter, cluster, map, graph, serial run."""


def interrupt_census(after_s: float) -> tuple[float, str]:
    """Run the demo on a terminal of its own and press Ctrl-C; how long it took to end, and what it had printed."""
    pid, terminal = os.forkpty()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-X", "faulthandler", str(CENSUS)])
    output = b""
    pressed: float | None = None
    stuck = ""
    started = time.monotonic()
    try:
        while True:
            now = time.monotonic()
            if pressed is None and now >= started + after_s:
                os.write(terminal, b"\x03")
                pressed = now
            if not stuck and now > started + after_s + 2 * GONE_S:
                stuck = f"it does not end, nor do {[title(process) for process in below(pid)]}"
                os.kill(pid, signal.SIGABRT)  # shows where every thread is
            wait_s = started + after_s - now if pressed is None else 1.0
            if select.select([terminal], [], [], max(0.0, wait_s))[0]:
                try:
                    output += os.read(terminal, 65536)
                except OSError:
                    break  # its last process has closed the terminal
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    assert not stuck, f"{stuck}: {output.decode(errors='replace')}"
    assert pressed is not None, "it had ended before"
    return time.monotonic() - pressed, output.decode(errors="replace").replace("\r\n", "\n")


def check_census(after_s: float) -> None:
    before = files()
    took_s, text = interrupt_census(after_s)
    print(f"Ctrl-C after {after_s:.2f} s: ended after {took_s:.2f} s; {text[-200:]!r}")
    assert took_s < GONE_S
    for bad in (r"Exception in thread", r"Exception ignored", r" ERROR ", r" WARNING ", r"\+-\+--"):
        assert not re.search(bad, text), text
    # What the standard library was in the middle of, an AttributeError of pathlib's, is its own business.
    assert text.count("Traceback (most recent call last)") <= 1 or "scaler_trio" not in text, text
    if "Traceback" in text:
        assert text.rstrip().endswith("KeyboardInterrupt"), text
    wait_until(lambda: files() == before, "the files to go", timeout_s=GONE_S)


@pytest.mark.parametrize("part", range(PARTS))
def test_ctrl_c_ends_the_demo_at_once_and_leaves_nothing(part: int) -> None:
    check_census((part + 0.5) * LAST_S / PARTS)


@pytest.mark.long
@pytest.mark.timeout(180)
def test_ctrl_c_ends_the_demo_at_twenty_more_moments() -> None:
    for moment in range(20):
        check_census(0.1 + (moment + os.urandom(1)[0] / 256) * LAST_S / 20)
