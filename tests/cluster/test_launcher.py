"""The launcher alone, with services that are small functions: forks, restarts, signals, an end that leaves nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from scaler_trio.cluster.launcher import Launcher
from scaler_trio.cluster.services import Service
from scaler_trio.process.logs import LogSettings, configure_logging
from tests.kit.processes import alive, title
from tests.kit.waiting import wait_until


class Running:
    """A launcher in a process of its own, forked from this one."""

    def __init__(self, services: list[Service], log: Path) -> None:
        self.log = log
        self.life_read, self.life_write = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            code = 99
            try:
                os.close(self.life_write)
                descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
                sys.stdout = sys.stderr = os.fdopen(os.dup(descriptor), "w", buffering=1)
                configure_logging(LogSettings(), "launcher")
                launcher = Launcher(services, close_in_child=[self.life_read])
                code = launcher.run({self.life_read: lambda: True})
            finally:
                os._exit(code)
        os.close(self.life_read)
        self.process = psutil.Process(self.pid)
        self.code: int | None = None

    def services(self) -> list[psutil.Process]:
        return alive(self.process.children())

    def lines(self, text: str) -> int:
        return self.log.read_text().count(text) if self.log.exists() else 0

    def wait_for(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, lambda: self.log.read_text() if self.log.exists() else "it has printed nothing")

    def end(self) -> int:
        """By closing the pipe that it watches."""
        os.close(self.life_write)
        self.life_write = -1
        return self.wait()

    def wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def clean_up(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        if self.life_write >= 0:
            os.close(self.life_write)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*services: Service) -> Running:
        started.append(Running(list(services), tmp_path / "log"))
        return started[-1]

    yield start
    for running in started:
        running.clean_up()


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def patient() -> int:
    say("patient")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        signal.pause()


def stubborn() -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("stubborn")
    while True:
        signal.pause()


def short() -> int:
    say("short")
    return 3


def broken() -> int:
    raise RuntimeError("out of order")


def service(run: Callable[[], int], *, restart: bool = False) -> Service:
    return Service(run.__name__, f"test_{run.__name__}", run, restart=restart)


def test_services_run_until_the_watched_pipe_ends(launch: Callable[..., Running]) -> None:
    running = launch(service(patient), service(patient))
    running.wait_for(lambda: running.lines("patient") == 2)
    services = running.services()
    assert [title(process) for process in services] == ["test_patient", "test_patient"]
    started = time.monotonic()
    assert running.end() == 0
    assert time.monotonic() - started < 1.0
    assert not any(process.is_running() for process in services)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_of_it(launch: Callable[..., Running], number: signal.Signals) -> None:
    running = launch(service(patient))
    running.wait_for(lambda: running.lines("patient") == 1)
    services = running.services()
    os.kill(running.pid, number)
    assert running.wait() == 0
    assert not any(process.is_running() for process in services)


def test_a_signal_that_comes_while_services_are_forked_is_not_lost(launch: Callable[..., Running]) -> None:
    for delay_s in (0.0, 0.001, 0.002, 0.004, 0.008, 0.016):
        running = launch(*[service(patient) for _ in range(8)])
        time.sleep(delay_s)
        started = time.monotonic()
        os.kill(running.pid, signal.SIGTERM)
        running.wait()
        assert time.monotonic() - started < 2.0, "a service never got the signal and was killed in the end"


def test_a_service_that_does_not_listen_is_killed(launch: Callable[..., Running]) -> None:
    running = launch(service(stubborn))
    running.wait_for(lambda: running.lines("stubborn") == 1)
    services = running.services()
    started = time.monotonic()
    assert running.end() == 0
    assert 2.5 < time.monotonic() - started < 6.0
    assert not services[0].is_running()


def test_a_service_that_must_not_end_ends_everything_with_its_reason(launch: Callable[..., Running]) -> None:
    running = launch(service(patient), service(short))
    assert running.wait() == 1
    assert running.lines("short ended with exit code 3; everything is stopped") == 1


def test_a_service_that_may_end_is_started_again_and_again_with_growing_pauses(launch: Callable[..., Running]) -> None:
    running = launch(service(short, restart=True))
    running.wait_for(lambda: running.lines("short\n") >= 4)
    for pause in ("0.05", "0.1", "0.2"):
        assert running.lines(f"short ended with exit code 3; another one starts in {pause} s") == 1
    assert running.end() == 0


def test_a_service_that_is_killed_is_replaced_and_the_signal_is_named(launch: Callable[..., Running]) -> None:
    running = launch(service(patient, restart=True))
    running.wait_for(lambda: running.lines("patient\n") == 1)
    running.services()[0].kill()
    running.wait_for(lambda: running.lines("patient\n") == 2)
    assert running.lines("patient ended by signal 9 (SIGKILL); another one starts in") == 1
    assert running.end() == 0


def test_a_service_that_raises_shows_its_traceback_and_never_returns_into_the_launcher(
    launch: Callable[..., Running],
) -> None:
    running = launch(service(broken))
    assert running.wait() == 1
    assert running.lines("RuntimeError: out of order") == 1
    assert running.lines("broken ended with exit code 70") == 1


def test_services_die_with_a_launcher_that_is_killed(launch: Callable[..., Running]) -> None:
    running = launch(service(patient), service(stubborn))
    running.wait_for(lambda: running.lines("patient") + running.lines("stubborn") == 2)
    services = running.services()
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    _, alive = psutil.wait_procs(services, timeout=5)
    assert not alive


def test_services_do_not_inherit_the_pipe_that_the_launcher_watches(launch: Callable[..., Running]) -> None:
    """Else a second launcher's services could keep the first one alive."""

    def list_pipes() -> int:
        names = [name for name in os.listdir("/proc/self/fd") if int(name) > 2]
        pipes = sorted(filter(lambda target: target.startswith("pipe:"), map(_target, names)))
        say(f"pipes {pipes}")
        return patient()

    running = launch(Service("lister", "test_lister", list_pipes))
    running.wait_for(lambda: running.lines("pipes [") == 1)
    watched = os.readlink(f"/proc/self/fd/{running.life_write}")
    assert watched.startswith("pipe:")
    assert running.lines(watched) == 0, running.log.read_text()
    assert running.end() == 0


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""  # the descriptor by which the directory was listed
