"""Tasks that wait for tasks of their own: on few slots, to any depth, and whatever happens to those that wait."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ALL_COMPLETED, as_completed, wait
from pathlib import Path
from typing import Any

import pytest
import trio

from scaler_trio import Client, ProcessorDiedError, SchedulerClusterCombo, TaskCancelled, TaskTimeout
from scaler_trio.errors import NestingLimitError
from tests.kit.processes import ClusterProcesses
from tests.kit.waiting import wait_until
from tests.kit.workers import worker

PATIENCE_S = 30.0
WAITING_LIMIT = 64
"""Of one slot, as docs/guides/nested.md says."""


@pytest.fixture(scope="module")
def one_slot() -> Iterator[SchedulerClusterCombo]:
    """One worker with one slot: whoever waits and keeps it, waits for ever."""
    with SchedulerClusterCombo(n_workers=1) as running:
        with Client(running.get_address()) as client:
            client.submit(fibonacci, 4).result(timeout=PATIENCE_S)
        yield running


@pytest.fixture
def narrow(one_slot: SchedulerClusterCombo) -> Iterator[Client]:
    with Client(one_slot.get_address()) as connected:
        yield connected


def square(value: int) -> int:
    return value * value


def sleep_and_touch(seconds: float, path: Path) -> None:
    time.sleep(seconds)
    path.touch()


def touch_and_sleep(path: Path, seconds: float) -> None:
    path.touch()
    time.sleep(seconds)


def fibonacci(n: int) -> int:
    if n < 2:
        return n
    with Client() as client:
        left, right = client.submit(fibonacci, n - 1), client.submit(fibonacci, n - 2)
        return int(left.result() + right.result())


def sum_of_children(number: int) -> int:
    with Client() as client:
        return sum([future.result() for future in [client.submit(square, number + n) for n in range(5)]])


def factorial(client: Client, n: int) -> int:
    return 1 if n < 2 else n * int(client.submit(factorial, client, n - 1).result())


def by_map(n: int) -> int:
    with Client() as client:
        return sum(client.map(square, range(n)))


def map_of_maps(n: int) -> int:
    with Client() as client:
        return sum(client.map(by_map, range(n)))


def by_graph(n: int) -> int:
    graph = {"a": n, "b": (square, "a"), "c": (square, "b"), "d": (max, "b", "c")}
    with Client() as client:
        return int(client.get(graph, ["d"])["d"])


def by_wait(n: int) -> int:
    with Client() as client:
        futures = [client.submit(square, i) for i in range(n)]
        assert not wait(futures, return_when=ALL_COMPLETED).not_done
        return sum([future.result() for future in futures])


def by_as_completed(n: int) -> int:
    with Client() as client:
        return sum([future.result() for future in as_completed([client.submit(square, i) for i in range(n)])])


def by_trio(n: int) -> int:
    async def main() -> int:
        with Client() as client:
            return sum([await client.submit(square, i) for i in range(n)])

    return trio.run(main)


def by_asyncio(n: int) -> int:
    async def main() -> int:
        with Client() as client:
            return sum(await asyncio.gather(*[client.submit(square, i) for i in range(n)]))

    return asyncio.run(main())


def by_threads(n: int) -> int:
    results: list[int] = []

    def ask(client: Client, value: int) -> None:
        results.append(client.submit(square, value).result())

    with Client() as client:
        threads = [threading.Thread(target=ask, args=(client, i)) for i in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sum(results)


def raise_while_a_child_runs(begun: Path, ended: Path) -> None:
    with Client() as client:
        future = client.submit(wait_as_a_child, begun, ended)
        wait_until(begun.exists, "the child to run on the other worker")
        assert not future.done()
        raise LookupError("the parent has enough")


def wait_as_a_child(begun: Path, ended: Path) -> None:
    begun.touch()
    time.sleep(20)
    ended.touch()


def wait_for_a_long_child(begun: Path, pid: Path | None = None) -> None:
    if pid is not None:
        pid.write_text(str(os.getpid()))
    Client().submit(touch_and_sleep, begun, 60).result()


def children_of_a_generation(begun: list[Path], seconds: float) -> None:
    with Client() as client:
        for future in [client.submit(touch_and_sleep, path, seconds) for path in begun]:
            future.result()


# ------------------------------------------------------------------------------------------------------ no dead-lock


def test_fibonacci_by_recursion_ends_on_one_slot_with_about_as_many_processes_as_it_is_deep(
    one_slot: SchedulerClusterCombo, narrow: Client
) -> None:
    processes = ClusterProcesses.of(one_slot.get_address())
    assert narrow.submit(fibonacci, 12).result(timeout=PATIENCE_S) == 144
    assert len(processes.processors()) <= 12 + 4, "deepest first: a level has one that waits"


def test_many_parents_that_wait_for_their_children_end_on_two_workers(client: Client) -> None:
    expected = [sum((number + n) ** 2 for n in range(5)) for number in range(200)]
    futures = [client.submit(sum_of_children, number) for number in range(200)]
    assert [future.result(timeout=PATIENCE_S) for future in futures] == expected
    assert client.map(sum_of_children, range(200), timeout=PATIENCE_S) == expected


def test_a_client_as_argument_recurses(narrow: Client) -> None:
    assert narrow.submit(factorial, narrow, 20).result(timeout=PATIENCE_S) == 2432902008176640000


def test_maps_within_maps_end_on_one_slot(narrow: Client) -> None:
    expected = [sum(sum(k * k for k in range(j)) for j in range(n)) for n in range(8)]
    assert narrow.map(map_of_maps, range(8), timeout=PATIENCE_S) == expected


@pytest.mark.parametrize("way", [by_map, by_wait, by_as_completed, by_trio, by_asyncio, by_threads])
def test_every_way_of_waiting_frees_the_slot(narrow: Client, way: Callable[[int], int]) -> None:
    assert narrow.submit(way, 6).result(timeout=PATIENCE_S) == 55


def test_a_graph_within_a_task(narrow: Client) -> None:
    assert narrow.submit(by_graph, 3).result(timeout=PATIENCE_S) == 81


def test_parents_of_a_graph_wait_for_their_children(narrow: Client) -> None:
    graph: dict[str, Any] = {f"p{i}": (sum_of_children, i) for i in range(4)}
    graph["all"] = (max, *graph)
    assert narrow.get(graph, ["all"])["all"] == sum((3 + n) ** 2 for n in range(5))


def test_tasks_of_one_processor_share_a_session(narrow: Client) -> None:
    def ask() -> int:
        with Client() as first, Client() as second:
            return len({id(first._session._base), id(second._session._base)})  # type: ignore[attr-defined]

    assert narrow.submit(ask).result(timeout=PATIENCE_S) == 1


def test_closing_a_client_within_a_task_cancels_what_it_submitted_and_nothing_else(narrow: Client) -> None:
    def ask() -> tuple[bool, int]:
        with Client() as other:
            kept = other.submit(square, 7)
            with Client() as closed:
                given_up = closed.submit(time.sleep, 60)
            return given_up.cancelled(), kept.result()

    assert narrow.submit(ask).result(timeout=PATIENCE_S) == (True, 49)


# ------------------------------------------------------------------------------------------------------- what ends how


def test_a_parent_that_raises_while_a_child_runs_takes_it_along(client: Client, tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    with pytest.raises(LookupError, match="has enough"):
        client.submit(raise_while_a_child_runs, begun, ended).result(timeout=PATIENCE_S)
    assert client.map(square, range(4), timeout=5) == [0, 1, 4, 9], "both workers are free again"
    assert not ended.exists()


def test_the_cancel_of_a_parent_takes_its_children(narrow: Client, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    parent = narrow.submit(wait_for_a_long_child, begun)
    wait_until(begun.exists, "the child to run")
    parent.cancel()
    with pytest.raises(TaskCancelled):
        parent.result()
    assert narrow.submit(square, 5).result(timeout=5) == 25, "the child does not keep the slot for its minute"


def test_the_timeout_of_a_parent_takes_its_children(narrow: Client, tmp_path: Path) -> None:
    parent = narrow.options(timeout=0.5).submit(wait_for_a_long_child, tmp_path / "begun")
    with pytest.raises(TaskTimeout):
        parent.result(timeout=PATIENCE_S)
    assert narrow.submit(square, 6).result(timeout=5) == 36


def test_a_killed_processor_of_a_parent_is_told_and_its_children_go(narrow: Client, tmp_path: Path) -> None:
    begun, pid = tmp_path / "begun", tmp_path / "pid"
    parent = narrow.options(crash_limit=1).submit(wait_for_a_long_child, begun, pid)
    wait_until(begun.exists, "the child to run")
    os.kill(int(pid.read_text()), signal.SIGKILL)
    with pytest.raises(ProcessorDiedError, match="SIGKILL"):
        parent.result(timeout=PATIENCE_S)
    assert narrow.submit(square, 7).result(timeout=5) == 49


def test_a_client_that_goes_takes_all_generations_along(one_slot: SchedulerClusterCombo, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with Client(one_slot.get_address()) as leaving:
        leaving.submit(children_of_a_generation, [begun], 60.0)
        wait_until(begun.exists, "the child to run")
    with Client(one_slot.get_address()) as other:
        assert other.submit(square, 8).result(timeout=5) == 64


@pytest.mark.slow
def test_a_recursion_without_an_end_ends_with_an_error() -> None:
    def without_end(own: Any, n: int) -> int:  # by value: that each of 200 processes imports this module takes longer
        with Client() as client:
            return int(client.submit(own, own, n + 1).result())

    with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
        with pytest.raises(NestingLimitError, match="200"):
            client.submit(without_end, without_end, 0).result(timeout=50)
        assert client.submit(square, 9).result(timeout=5) == 81


@pytest.mark.slow
def test_tasks_that_wait_take_bounded_memory_however_many_there_are(tmp_path: Path) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    started.mkdir()

    def hold() -> None:
        while not gate.exists():
            time.sleep(0.01)

    def parent(n: int) -> int:  # by value: a processor that imports this module has all that tests need in memory
        with Client() as client:
            child = client.options(capabilities={"gate": 1}).submit(abs, -n)
            (started / str(n)).touch()
            return int(child.result())

    def waiting() -> int:
        return len(os.listdir(started))

    with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
        with worker(cluster, slots=1, gate=1):
            holder = client.options(capabilities={"gate": 1}).submit(hold)
            wait_until(lambda: "it runs" in holder.explain(), holder.explain)
            futures = [client.submit(parent, n) for n in range(200)]
            wait_until(lambda: waiting() >= WAITING_LIMIT, waiting, timeout_s=PATIENCE_S)
            processors = ClusterProcesses.of(cluster.get_address()).processors()
            # One more would start within milliseconds: the slot is free, and 136 are ready.
            ends_at = time.monotonic() + 2
            while time.monotonic() < ends_at:
                assert waiting() == WAITING_LIMIT
                time.sleep(0.05)
            megabytes = [process.memory_full_info().pss / 1e6 for process in processors]
            print(f"{len(megabytes)} processors, {sum(megabytes):.0f} MB in all, {max(megabytes):.1f} MB at most")
            assert len(processors) <= WAITING_LIMIT + 2
            assert sum(megabytes) < 14 * (WAITING_LIMIT + 2)
            assert not any(future.done() for future in futures)
            gate.touch()
            assert [future.result(timeout=PATIENCE_S) for future in futures] == list(range(200))


def test_spares_end_when_nobody_needs_them() -> None:
    with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
        assert client.submit(fibonacci, 8).result(timeout=PATIENCE_S) == 21
        processes = ClusterProcesses.of(cluster.get_address())
        wait_until(lambda: len(processes.processors()) <= 2, lambda: processes.processors())
        assert client.submit(fibonacci, 8).result(timeout=PATIENCE_S) == 21


def leave_work_behind(path: str) -> str:
    """Its client stays open, so that what it submitted goes on, and nobody waits for it."""
    global left_open
    left_open = Client()
    left_open.submit(time.sleep, 0.5)  # on this processor, so that the other goes to one of those that resume
    left_open.submit(touch_later, path)
    return "left"


def touch_later(path: str) -> None:
    time.sleep(5)
    Path(path).touch()


def through_two(path: str) -> str:
    return Client().submit(lambda: Client().submit(leave_work_behind, path).result()).result()


def test_what_a_task_leaves_behind_goes_on_although_its_processor_is_a_spare(tmp_path: Path) -> None:
    """Spares are ended after two seconds; this one is what keeps the work wanted."""
    path = tmp_path / "done"
    with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
        assert client.submit(through_two, str(path)).result(timeout=PATIENCE_S) == "left"
        wait_until(path.exists, "the work to be done", timeout_s=20)


def submit_and_leave(folder: str, number: int, seconds: float) -> None:
    """The first items of a run leave work behind and end; the last one stays, until it is cancelled."""
    global left_open
    left_open = Client()
    left_open.submit(touch_after, f"{folder}/{number}", 1.0)
    Path(f"{folder}/runs-{number}").touch()
    time.sleep(seconds)


def touch_after(path: str, seconds: float) -> None:
    time.sleep(seconds)
    Path(path).touch()


def test_a_cancel_takes_along_what_this_task_has_submitted_and_nothing_of_its_neighbours(tmp_path: Path) -> None:
    with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
        # All of one session; the slow one is the last that submits.
        quick = [client.submit(submit_and_leave, str(tmp_path), number, 0.0) for number in range(4)]
        slow = client.submit(submit_and_leave, str(tmp_path), 4, 60.0)
        wait(quick, PATIENCE_S)
        wait_until((tmp_path / "runs-4").exists, "the slow one to run")
        slow.cancel()

        def done() -> list[str]:
            return sorted(path.name for path in tmp_path.glob("[0-9]"))

        wait_until(lambda: len(done()) == 4, done, timeout_s=20)
        assert client.submit(square, 3).result(timeout=PATIENCE_S) == 9
        assert done() == ["0", "1", "2", "3"]
