"""Several clients at once, several threads on one client, clients inside tasks and tasks that wait for tasks."""

from __future__ import annotations

import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from scaler_trio import Client, ClientClosed, ObjectReference, SchedulerClusterCombo
from tests.kit.waiting import wait_until


def square(value: int) -> int:
    return value * value


def sum_of_squares_by(client: Client, count: int) -> int:
    return sum(client.map(square, range(count)))


def sum_of_squares_inside(count: int) -> int:
    with Client() as client:
        return sum(client.map(square, range(count)))


def fibonacci(n: int) -> int:
    if n < 2:
        return n
    with Client() as client:
        left, right = client.submit(fibonacci, n - 1), client.submit(fibonacci, n - 2)
        return int(left.result() + right.result())


def test_clients_share_the_workers_and_get_their_own_results(cluster: SchedulerClusterCombo) -> None:
    def work(number: int) -> bool:
        with Client(cluster.get_address()) as client:
            expected = [number * 1000 + n for n in range(5000)]
            return client.map(abs, expected) == expected and client.submit(square, number).result() == number**2

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(16)))


def test_threads_of_one_client_do_not_disturb_each_other(client: Client) -> None:
    def work(number: int) -> bool:
        futures = [client.submit(square, number * 100 + n) for n in range(300)]
        mapped = client.map(square, range(number, number + 500))
        right = [(number * 100 + n) ** 2 for n in range(300)]
        return [f.result() for f in futures] == right and mapped == [n * n for n in range(number, number + 500)]

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(work, range(12)))


def appear_and_sleep(path: Path) -> None:
    path.touch()
    time.sleep(0.02)


def test_a_long_map_does_not_keep_another_client_waiting(cluster: SchedulerClusterCombo, tmp_path: Path) -> None:
    started_path = tmp_path / "started"
    with Client(cluster.get_address()) as busy, Client(cluster.get_address()) as other:
        mapping = threading.Thread(target=busy.map, args=(appear_and_sleep, [started_path] * 120))
        mapping.start()
        try:
            wait_until(started_path.exists, "the map to run")
            started = time.monotonic()
            assert other.submit(square, 3).result(timeout=10) == 9
            waited_s = time.monotonic() - started
        finally:
            mapping.join()
    assert waited_s < 1.0


def test_a_client_that_was_pickled_connects_anew_without_carrying_the_token(
    cluster: SchedulerClusterCombo, client: Client
) -> None:
    data = pickle.dumps(client)
    assert cluster.token.encode() not in data
    with pickle.loads(data) as copy:
        assert copy.map(square, range(3)) == [0, 1, 4]
        assert copy.address == client.address


def test_a_client_as_argument_of_a_task_works_inside_it(client: Client) -> None:
    assert client.submit(sum_of_squares_by, client, 100).result(timeout=20) == sum(n * n for n in range(100))


def test_a_client_made_inside_a_task_finds_the_tasks_own_scheduler(client: Client) -> None:
    assert client.submit(sum_of_squares_inside, 50).result(timeout=20) == sum(n * n for n in range(50))


def test_a_closed_client_says_so(cluster: SchedulerClusterCombo) -> None:
    client = Client(cluster.get_address())
    future = client.submit(time.sleep, 20)
    client.close()
    client.close()
    with pytest.raises(ClientClosed):
        client.submit(square, 1)
    with pytest.raises(ClientClosed):
        client.map(square, [1])
    assert future.cancelled()


CALLS: dict[str, Callable[[Client], object]] = {
    "submit": lambda client: client.submit(square, 1),
    "submit_verbose": lambda client: client.submit_verbose(square, (1,)),
    "map": lambda client: client.map(square, [1]),
    "starmap": lambda client: client.starmap(pow, [(1, 2)]),
    "imap": lambda client: list(client.imap(square, [1])),
    "get": lambda client: client.get({"a": (square, 1)}, ["a"]),
    "send_object": lambda client: client.send_object(bytes(100_000)),
    "fetch": lambda client: client.fetch(ObjectReference(bytes(16), 1)),
    "options": lambda client: client.options(priority=1).submit(square, 1),
    "executor": lambda client: client.executor().submit(square, 1).result(5),
    "clear": lambda client: client.clear(),
    "shutdown": lambda client: client.shutdown(),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_of_a_closed_client_says_so(cluster: SchedulerClusterCombo, name: str) -> None:
    client = Client(cluster.get_address())
    client.close()
    with pytest.raises((ClientClosed, BrokenExecutor), match="closed"):
        CALLS[name](client)


def test_a_client_in_a_forked_child_says_whose_it_is(client: Client) -> None:
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forking with threads, which is the point
        child = os.fork()
    if not child:
        try:
            try:
                client.submit(square, 1)
            except ClientClosed as error:
                os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert "forked" in pipe.read()
    assert client.submit(square, 4).result() == 16
