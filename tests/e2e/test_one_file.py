"""``scaler FILE``: a whole cluster as one command, and what becomes of it when parts of it, or it itself, are ended."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from scaler_trio import Client
from tests.kit.processes import OBJECTS, SCHEDULER, WORKER, alive, below, kill
from tests.kit.services import Command, free_ports
from tests.kit.waiting import wait_until

MANAGER = "scaler_worker_manager"


def write(path: Path) -> tuple[Path, str]:
    """A file with two worker managers; and the scheduler's address."""
    scheduler, objects = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    path.write_text(f"""
[object_storage_server]
bind_address = "{objects}"

[scheduler]
bind_address = "{scheduler}"
object_storage_address = "{objects}"

[[worker_manager]]
type = "baremetal_native"
worker_manager_id = "always"
scheduler_address = "{scheduler}"
mode = "fixed"
max_task_concurrency = 1

[[worker_manager]]
type = "baremetal_native"
worker_manager_id = "elastic"
scheduler_address = "{scheduler}"
max_task_concurrency = 2
""")
    return path, scheduler


@contextmanager
def running(folder: Path) -> Iterator[tuple[Command, Client]]:
    path, address = write(folder / "cluster.toml")
    with Command("scaler", str(path)) as command:
        command.wait_for("all 4 services run")
        with Client(address) as client:
            yield command, client


def runtime_files() -> set[str]:
    folder = Path(os.environ["XDG_RUNTIME_DIR"]) / f"scaler-trio-{os.getuid()}"
    return {path.name for path in folder.glob("*")} if folder.exists() else set()


def test_one_file_is_a_cluster_that_ends_without_a_trace(tmp_path: Path) -> None:
    before = runtime_files()
    with running(tmp_path) as (command, client):
        assert client.map(abs, range(-1000, 0)) == list(range(1000, 0, -1))
        assert client.submit(len, bytes(200_000)).result(20) == 200_000
        family = command.family()
        assert command.stop() == 0, command.shown()
    assert alive(family) == []
    assert runtime_files() == before
    assert "Traceback" not in command.shown()
    for name in ("object_storage_server", "scheduler", "always", "elastic"):
        assert any(line.startswith(f"[{name}] ") for line in command.output), name


@pytest.mark.parametrize("title", [OBJECTS, SCHEDULER, MANAGER])
def test_a_service_that_is_killed_is_started_again_and_work_goes_on(tmp_path: Path, title: str) -> None:
    with running(tmp_path) as (command, client):
        client.map(abs, range(10))
        future = client.submit(time.sleep, 1.0)
        kill(below(command.process.pid, title)[0])
        command.wait_for(r"ended by signal 9 \(SIGKILL\); it is started again in 0.2 s")
        assert future.result(timeout=30) is None
        assert client.map(abs, [-1, -2]) == [1, 2]
        assert command.stop() == 0


def test_a_service_that_fails_again_and_again_ends_all_with_its_exit_code(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "cluster.toml")
    with Command("scaler", str(path)) as command:
        command.wait_for("all 4 services run")
        family = command.family()
        ended: set[int] = set()
        while command.process.poll() is None:
            for process in below(command.process.pid, SCHEDULER):
                if process.pid not in ended:
                    ended.add(process.pid)
                    family.append(process)
                    kill(process)
            time.sleep(0.01)
        assert command.wait() == 128 + signal.SIGKILL
        assert "6 times within 60 s; everything is stopped" in command.shown()
        assert alive(family) == []


def test_a_port_that_is_taken_is_told_and_ends_all(tmp_path: Path) -> None:
    path, address = write(tmp_path / "cluster.toml")
    with Command("scaler_scheduler", address) as other:
        assert other.address == address
        with Command("scaler", str(path)) as command:
            wait_until(lambda: command.process.poll() is not None, command.shown, timeout_s=60)
            assert command.wait() == 1
            assert f"cannot listen at {address}: Address already in use" in command.shown()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_at_any_moment_of_the_start_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    before = runtime_files()
    everyone: list[psutil.Process] = []
    for _ in range(4):
        path, _ = write(tmp_path / "cluster.toml")
        with Command("scaler", str(path)) as command:
            time.sleep(random.uniform(0.0, 1.5))  # the moment is what is varied here
            family = command.family()
            everyone += [*family, *[process for one in family for process in below(one.pid)]]
            command.process.send_signal(number)
            command.process.wait(20)
            assert "Traceback" not in command.shown()
    wait_until(lambda: not alive(everyone), lambda: f"{alive(everyone)} to end", timeout_s=20)
    wait_until(lambda: runtime_files() <= before, lambda: f"{runtime_files() - before} to go")


ROUNDS = 50


@pytest.mark.long
def test_sigterm_to_any_single_process_leaves_nothing_and_unaffected_work_completes(tmp_path: Path) -> None:
    with running(tmp_path) as (command, client):
        seen: list[psutil.Process] = []
        for _ in range(ROUNDS):
            futures = [client.submit(time.sleep, 0.02) for _ in range(20)]
            time.sleep(random.uniform(0.0, 0.2))
            victims = psutil.Process(command.process.pid).children(recursive=True)
            victim = random.choice(victims)
            seen += victims
            victim.terminate()
            for future in futures:
                future.result(timeout=60)
            wait_until(lambda: len(below(command.process.pid, MANAGER)) == 2, command.shown, timeout_s=30)
            if command.process.poll() is not None:
                break
        print(f"{len({p.pid for p in seen})} processes were there in {ROUNDS} rounds")
        assert below(command.process.pid, WORKER)
        assert command.stop() == 0, command.shown()
    wait_until(lambda: not alive(seen), "everything to end", timeout_s=10)
