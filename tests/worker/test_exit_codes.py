"""With what code the process of a worker ends: 0 when it was told to, 1 when it could not work, and in one line why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from scaler_trio import Client, SchedulerClusterCombo
from tests.kit.processes import ClusterProcesses, alive, kill
from tests.kit.remote import ROOT
from tests.kit.services import free_ports
from tests.kit.waiting import wait_until

PROGRAM = """
import sys
from functools import partial
from scaler_trio.process.logs import LogSettings, configure_logging
from scaler_trio.process.running import run_service
from scaler_trio.worker.agent.agent import run_worker
from scaler_trio.worker.settings import WorkerSettings
from scaler_trio.worker.agent.template_handle import TemplateHandle

configure_logging(LogSettings("INFO"), "test")
_, address, token, death_timeout, preload = sys.argv
settings = WorkerSettings(address, token=token.encode(), death_timeout_s=float(death_timeout), preload=preload)
sys.exit(run_service(partial(run_worker, settings, TemplateHandle.begin(settings))))
"""
TOKEN = "of-a-cluster-of-these-tests"


@contextmanager
def worker(
    address: str, token: str = TOKEN, *, death_timeout_s: float = 30.0, preload: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own."""
    arguments = [sys.executable, "-c", PROGRAM, address, token, str(death_timeout_s), preload]
    with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def end_of(process: subprocess.Popen[str], timeout_s: float = 10.0) -> tuple[int, str]:
    """Its exit code and what it wrote, once it has ended."""
    _, words = process.communicate(timeout=timeout_s)
    return process.returncode, words


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("is_busy", [False, True])
def test_a_signal_ends_it_well_and_its_processes_with_it(number: signal.Signals, is_busy: bool) -> None:
    with SchedulerClusterCombo(n_workers=0, token=TOKEN) as cluster, worker(cluster.get_address()) as process:
        with Client(cluster.get_address()) as client:
            assert client.submit(os.getpid).result(20) > 0
            if is_busy:
                future = client.submit(time.sleep, 30)
                own = psutil.Process(process.pid)
                wait_until(lambda: not future.done() and own.children(recursive=True), "it to be busy")
            family = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            code, words = end_of(process)
    assert code == 0, words
    wait_until(lambda: not alive(family), "its processes to end")


def test_a_scheduler_that_was_killed_and_stays_away_is_a_failure_after_the_death_timeout() -> None:
    (port,) = free_ports(1)
    with SchedulerClusterCombo(n_workers=0, address=f"tcp://127.0.0.1:{port}", token=TOKEN) as cluster:
        with worker(cluster.get_address(), death_timeout_s=1.0) as process:
            with Client(cluster.get_address()) as client:
                assert client.submit(os.getpid).result(20) > 0
            kill(ClusterProcesses.of(cluster.get_address()).scheduler)
            code, words = end_of(process)
    assert (code, "found no scheduler for 1 s" in words) == (1, True), words


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"death_timeout_s": 0.5}, "found no scheduler for 0.5 s: no scheduler listens at tcp://127.0.0.1:1 "),
        ({"preload": "no_such_module_at_all"}, "No module named 'no_such_module_at_all'"),
    ],
)
def test_one_that_never_worked_fails_and_says_why_in_one_line(settings: dict[str, object], expected: str) -> None:
    with worker("tcp://127.0.0.1:1", **settings) as process:  # type: ignore[arg-type]
        code, words = end_of(process)
    assert code == 1
    assert expected in words.splitlines()[-1], words


def test_one_with_a_wrong_token_fails_at_once() -> None:
    with SchedulerClusterCombo(n_workers=0, token=TOKEN) as cluster:
        with worker(cluster.get_address(), "another-token-of-the-tests") as process:
            code, words = end_of(process)
    assert (code, "token" in words) == (1, True), words
