"""Retries with real processes: after which exceptions, how often, and what the user gets in the end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from scaler_trio import CannotPickle, Client, SchedulerClusterCombo
from tests.kit.processes import ClusterProcesses, is_alive
from tests.kit.waiting import wait_until


class Flaky(Exception):
    """Of this module, which workers import."""


def attempts_of(path: str) -> int:
    """Count this run; how many there were."""
    with Path(path).open("a") as file:
        file.write("x")
    return Path(path).stat().st_size


def succeed_at(path: str, wanted: int, error: type[Exception] = ConnectionError) -> int:
    attempt = attempts_of(path)
    if attempt < wanted:
        raise error(f"attempt {attempt}")
    return attempt


@pytest.fixture
def counter(tmp_path: Path) -> str:
    return str(tmp_path / "attempts")


def test_a_task_is_run_again_until_it_succeeds(client: Client, counter: str) -> None:
    assert client.options(max_retries=3).submit(succeed_at, counter, 3).result(20) == 3


def test_the_last_exception_is_raised_when_no_retry_is_left(client: Client, counter: str) -> None:
    future = client.options(max_retries=1).submit(succeed_at, counter, 9)
    with pytest.raises(ConnectionError, match="attempt 2") as caught:
        future.result(20)
    assert "succeed_at" in str(caught.value.__cause__)


def test_without_max_retries_an_exception_is_final(client: Client, counter: str) -> None:
    with pytest.raises(ConnectionError, match="attempt 1"):
        client.submit(succeed_at, counter, 2).result(20)


def test_only_after_the_exceptions_in_retry_on_a_task_is_run_again(client: Client, counter: str) -> None:
    picky = client.options(max_retries=5, retry_on=(Flaky, OSError))
    assert picky.submit(succeed_at, counter, 3, Flaky).result(20) == 3
    with pytest.raises(ValueError, match="attempt 4"):
        picky.submit(succeed_at, counter, 9, ValueError).result(20)


def test_an_exception_class_that_only_the_users_script_has_is_recognised(client: Client, counter: str) -> None:
    class Local(Exception):
        pass

    def fail_once(path: str) -> int:
        attempt = attempts_of(path)
        if attempt == 1:
            raise Local
        return attempt

    assert client.options(max_retries=1, retry_on=Local).submit(fail_once, counter).result(20) == 2


def test_rows_of_a_map_are_retried_one_by_one(client: Client, tmp_path: Path) -> None:
    def fail_once(number: int) -> int:
        if number % 10 == 0 and attempts_of(str(tmp_path / str(number))) == 1:
            raise ConnectionError(number)
        return number

    assert client.options(max_retries=1).map(fail_once, range(50)) == list(range(50))
    with pytest.raises(ZeroDivisionError):
        client.options(max_retries=1).map(lambda n: 1 // n, [1, 0, 2])


def test_nodes_of_a_graph_are_retried(client: Client, counter: str) -> None:
    graph = {"a": (succeed_at, "path", "times"), "path": counter, "times": 2, "b": (str, "a")}
    assert client.options(max_retries=1).get(graph, ["b"]) == {"b": "2"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"retry_on": OSError}, "max_retries, which is 0"),
        ({"max_retries": 1, "retry_on": "OSError"}, "it must be an exception class"),
        ({"max_retries": 1, "retry_on": ()}, "retry_on is empty"),
        ({"max_retries": -1}, "max_retries"),
    ],
)
def test_options_that_mean_nothing_are_refused(client: Client, options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        client.options(**options)


def test_the_options_of_a_client_that_can_not_travel_are_an_error_at_once(client: Client) -> None:
    def make() -> type[Exception]:
        import threading

        class Holder(Exception):
            lock = threading.Lock()

        return Holder

    with pytest.raises(CannotPickle, match="retry_on"):
        client.options(max_retries=1, retry_on=make())


def test_a_worker_that_is_told_to_end_is_no_crash_of_its_task(tmp_path: Path) -> None:
    runs, gate = tmp_path / "runs", tmp_path / "gate"

    def work() -> int:
        with runs.open("a") as lines:
            lines.write(f"{os.getpid()}\n")
        while not gate.exists():
            time.sleep(0.01)
        return os.getpid()

    with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
        future = client.options(crash_limit=1).submit(work)
        wait_until(runs.exists, "the task to run")
        processes = ClusterProcesses.of(cluster.get_address())
        (agent,) = processes.agents()
        agent.terminate()
        wait_until(lambda: not is_alive(agent), "the worker to end")
        gate.touch()
        assert future.result(20) == int(runs.read_text().split()[-1])
        assert len(runs.read_text().split()) == 2
