"""Capacity follows work: real managers and workers, from nothing and back to nothing, under real faults."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from scaler_trio import Client
from tests.kit.processes import LAUNCHER, WORKER, alive, below, title
from tests.kit.services import START_S, Command
from tests.kit.waiting import wait_until

SETTLED_S = 20.0


@contextmanager
def scheduler_and_manager(*flags: str) -> Iterator[tuple[Command, Command]]:
    with Command("scaler_scheduler", "tcp://127.0.0.1:0") as scheduler:
        with Command("scaler_worker_manager", "baremetal_native", scheduler.address, *flags) as manager:
            manager.wait_for("connected to the scheduler")
            yield scheduler, manager


def workers(manager: Command) -> list[psutil.Process]:
    return below(manager.process.pid, WORKER)


def wait_workers(manager: Command, count: int) -> list[psutil.Process]:
    """Until there are so many."""
    return wait_until(
        lambda: (found := workers(manager), len(found) == count)[1] and (found or [manager]),  # type: ignore[return-value]
        lambda: f"{count} workers, not {len(workers(manager))}; {manager.shown()}",
        timeout_s=SETTLED_S,
    )


def test_eight_tasks_of_two_seconds_with_four_workers_from_nothing_and_back() -> None:
    with scheduler_and_manager("--max-task-concurrency", "4") as (scheduler, manager):
        with Client(scheduler.address) as client:
            assert workers(manager) == []
            started = time.perf_counter()
            client.map(time.sleep, [2.0] * 8)
            print(f"8 tasks of 2 s on up to 4 workers from nothing: {time.perf_counter() - started:.2f} s")
            assert len(workers(manager)) == 4
            wait_workers(manager, 0)
        assert "4 units wanted" in scheduler.shown()
        assert "were idle for" in scheduler.shown()


def test_nothing_that_runs_is_lost_when_it_scales_down(tmp_path: Path) -> None:
    with (
        scheduler_and_manager("--max-task-concurrency", "8") as (scheduler, manager),
        Client(scheduler.address) as client,
    ):
        client.map(time.sleep, [1.0] * 8)
        wait_workers(manager, 8)
        long = [client.submit(note_and_sleep, str(tmp_path / str(number)), 6.0) for number in range(7)]
        wait_until(lambda: len(workers(manager)) < 8, manager.shown, timeout_s=SETTLED_S)
        assert [future.result(timeout=30) for future in long] == [None] * 7
        assert [len((tmp_path / str(number)).read_text()) for number in range(7)] == [1] * 7
        wait_workers(manager, 0)


def note_and_sleep(path: str, seconds: float) -> None:
    with open(path, "a") as file:
        file.write("x")
    time.sleep(seconds)


@pytest.mark.parametrize("is_known", [False, True])
def test_a_short_burst_does_not_start_workers_that_would_come_too_late(is_known: bool) -> None:
    flags = ["--max-task-concurrency", "8", "--preload", "tests.kit.slow_start"]
    with scheduler_and_manager(*flags) as (scheduler, manager), Client(scheduler.address) as client:
        # From now on it is known that a start takes 3 s.
        client.submit(time.sleep if is_known else abs, 0.005).result(timeout=30)
        wait_workers(manager, 0)
        started = time.perf_counter()
        client.map(time.sleep, [0.005] * 200)
        print(f"200 tasks of 5 ms, of known length: {is_known}: {time.perf_counter() - started:.2f} s")
        wait_workers(manager, 0)
        asked = [line for line in scheduler.output if re.search("units? wanted", line)]
        assert [re.findall(r"(\d+) units? wanted", line)[0] for line in asked] == ["1", "0"] * 2, scheduler.shown()


def test_fixed_workers_are_kept_and_replaced() -> None:
    with scheduler_and_manager("--mode", "fixed", "--max-task-concurrency", "2") as (scheduler, manager):
        before = wait_workers(manager, 2)
        before[0].kill()
        wait_until(lambda: len(workers(manager)) == 2 and before[0] not in workers(manager), manager.shown)
        with Client(scheduler.address) as client:
            assert client.map(abs, [-1, -2, -3]) == [1, 2, 3]
        manager.wait_for(r"native-\d ended by signal 9 \(SIGKILL\); another one starts in")


def launchers_of(address: str) -> list[psutil.Process]:
    """Launchers whose manager may be gone: those that have a worker connected to this scheduler."""
    port = int(address.rpartition(":")[2])
    found = []
    for process in psutil.process_iter():
        if title(process) == LAUNCHER:
            for worker in below(process.pid, WORKER):
                if any(c.raddr and c.raddr.port == port for c in worker.net_connections("tcp")):
                    found.append(process)
                    break
    return found


def test_units_of_a_killed_manager_serve_on_and_are_adopted_by_the_next_one() -> None:
    flags = ["--mode", "fixed", "--max-task-concurrency", "2"]
    with Command("scaler_scheduler", "tcp://127.0.0.1:0") as scheduler, Client(scheduler.address) as client:
        arguments = ["baremetal_native", scheduler.address, *flags]
        with Command("scaler_worker_manager", *arguments) as manager:
            units = wait_workers(manager, 2)
            client.map(abs, range(10))
            future = client.submit(time.sleep, 1.0)
            manager.process.kill()
            manager.process.wait()
            assert client.map(abs, range(-10, 0)) == list(range(10, 0, -1))
            with Command("scaler_worker_manager", *arguments) as successor:
                successor.wait_for("2 units of an earlier manager taken over")
                assert future.result(timeout=10) is None
                assert alive(units) == units
                units[0].kill()  # it is the successor's now
                successor.wait_for(r"native-\d ended by signal 9 \(SIGKILL\)")
                client.map(abs, range(10))
                (launcher,) = launchers_of(scheduler.address)
                family = [launcher, *below(launcher.pid)]
                assert successor.stop() == 0
                assert alive(family) == []


def test_units_of_a_manager_that_does_not_come_back_end_with_their_lease() -> None:
    flags = ["--mode", "fixed", "--max-task-concurrency", "1", "--unit-lease-seconds", "1"]
    with scheduler_and_manager(*flags) as (_, manager):
        wait_workers(manager, 1)
        family = manager.family()[1:]
        manager.process.kill()
        wait_until(lambda: not alive(family), "all units to end", timeout_s=10)
        manager.wait_for("no worker manager for 1 s: 1 unit is ended")


def test_a_second_manager_of_the_same_id_is_refused_in_one_sentence() -> None:
    with scheduler_and_manager("--mode", "fixed", "--max-task-concurrency", "1") as (scheduler, manager):
        wait_workers(manager, 1)
        with Command("scaler_worker_manager", "baremetal_native", scheduler.address) as second:
            assert second.wait() == 1
            assert "another worker manager 'native' of this user runs on this machine" in second.shown()
            assert "Traceback" not in second.shown()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_launcher_that_ends_is_started_again_with_its_units(number: signal.Signals) -> None:
    with scheduler_and_manager("--mode", "fixed", "--max-task-concurrency", "2") as (scheduler, manager):
        wait_workers(manager, 2)
        with Client(scheduler.address) as client:
            future = client.submit(time.sleep, 0.5)
            (launcher,) = below(manager.process.pid, LAUNCHER)
            launcher.send_signal(number)
            assert future.result(timeout=START_S) is None
            wait_workers(manager, 2)
        assert manager.stop() == 0


def test_two_tiers_take_over_from_each_other() -> None:
    policy = "1,first,2\n2,second,2"
    arguments = ["--policy-engine-type", "waterfall_v1", "--policy-content", policy]
    with Command("scaler_scheduler", "tcp://127.0.0.1:0", *arguments) as scheduler, Client(scheduler.address) as client:
        flags = ["--max-task-concurrency", "2", "--unit-lease-seconds", "0.5"]

        def tier(name: str) -> Command:
            arguments = ["baremetal_native", scheduler.address, *flags, "--worker-manager-id", name]
            return Command("scaler_worker_manager", *arguments)

        def two_at_a_time(until: Callable[[], bool]) -> None:
            deadline = time.monotonic() + SETTLED_S
            while not until():
                assert time.monotonic() < deadline, scheduler.shown()
                for future in [client.submit(time.sleep, 0.2) for _ in range(2)]:
                    future.result(timeout=30)

        with tier("first") as first, tier("second") as second:
            first.wait_for("connected")
            second.wait_for("connected")
            two_at_a_time(lambda: len(workers(first)) == 2)
            assert workers(second) == [], "the first tier suffices"
            first.process.kill()
            killed_at = time.perf_counter()
            two_at_a_time(lambda: len(workers(second)) == 2)
            print(f"the second tier serves {time.perf_counter() - killed_at:.2f} s after the first was killed")
            first.process.wait()
            with tier("first") as again:
                again.wait_for("connected")
                returned_at = time.perf_counter()
                two_at_a_time(lambda: len(workers(again)) == 2 and not workers(second))
                print(f"handed back {time.perf_counter() - returned_at:.2f} s after the first returned")
