"""Ten thousand single tasks: right values, one copy of what they share, and memory that does not grow with them."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from scaler_trio import CannotPickle, Client, SchedulerClusterCombo
from tests.kit.processes import ClusterProcesses, private_bytes

MEGABYTE = 1_000_000
TASKS = 10_000


def look(array: Any, index: int) -> float:
    return float(array[index])


def size(text: bytes) -> int:
    return len(text)


def memory_files_bytes(cluster: SchedulerClusterCombo) -> int:
    """Bytes in memory files of its object storage server."""
    files = Path(f"/proc/{ClusterProcesses.of(cluster.get_address()).objects.pid}/fd").iterdir()
    return sum(os.stat(file).st_blocks * 512 for file in files if "memfd:" in os.readlink(file))


def append_and_copy(items: list[int], value: int) -> list[int]:
    items.append(value)
    return list(items)


def test_ten_thousand_submits_and_a_map_of_as_many(client: Client) -> None:
    futures = [client.submit(divmod, n, 7) for n in range(TASKS)]
    assert [future.result(30) for future in futures] == [divmod(n, 7) for n in range(TASKS)]
    assert client.map(divmod, range(TASKS), [7] * TASKS) == [divmod(n, 7) for n in range(TASKS)]


def share_one_array(megabytes: int, tasks: int) -> None:
    with SchedulerClusterCombo(n_workers=2, object_memory_bytes=3 * megabytes * MEGABYTE) as cluster:
        with Client(cluster.get_address()) as client:
            array = np.arange(megabytes * MEGABYTE // 8, dtype=float)
            reference = client.send_object(array)
            futures = [client.submit(look, reference, n) for n in range(tasks)]
            assert [future.result(60) for future in futures] == [float(n) for n in range(tasks)]
            assert client.map(look, [array] * tasks, range(tasks)) == [float(n) for n in range(tasks)]
            # Once for each of the two: a reference is a promise of its own.
            assert memory_files_bytes(cluster) < 2.2 * megabytes * MEGABYTE


def test_an_array_that_two_thousand_tasks_use_is_stored_once() -> None:
    share_one_array(20, 1_000)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(180)
def test_500_megabytes_that_ten_thousand_tasks_use_are_stored_once() -> None:
    share_one_array(500, TASKS)


def test_a_function_that_captures_a_large_array_is_refused_with_the_way_out(client: Client) -> None:
    array = np.zeros(5_000_000)
    with pytest.raises(CannotPickle, match=r"captures too much.*pass large values as arguments"):
        client.submit(functools.partial(look, array), 1)
    assert client.submit(look, array, 1).result(10) == 0.0


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(180)
def test_bytes_of_more_than_512_megabytes_go_there_and_back() -> None:
    with SchedulerClusterCombo(n_workers=1, object_memory_bytes=3_000_000_000) as cluster:
        with Client(cluster.get_address()) as client:
            text = b"x" * (600 * MEGABYTE)
            assert client.submit(size, text).result(60) == len(text)
            assert client.submit(bytes, 600 * MEGABYTE).result(60) == bytes(600 * MEGABYTE)


@pytest.mark.timeout(120)
def test_different_arguments_of_many_tasks_stay_nowhere(cluster: SchedulerClusterCombo) -> None:
    processes = ClusterProcesses.of(cluster.get_address())
    own = psutil.Process()
    with Client(cluster.get_address()) as client:

        def work(count: int, bytes_each: int) -> None:
            for start in range(0, count, 1000):
                futures = [client.submit(size, b"%d" % n + bytes(bytes_each)) for n in range(start, start + 1000)]
                assert all(future.result(30) > bytes_each for future in futures)

        work(5_000, 2_000)  # what is made once is there
        watched = {"client": own, "scheduler": processes.scheduler, "objects": processes.objects}
        watched |= {f"processor {process.pid}": process for process in processes.processors()}
        before = {name: private_bytes(process) for name, process in watched.items()}
        work(30_000, 2_000)
        grown = {name: (private_bytes(process) - before[name]) / MEGABYTE for name, process in watched.items()}
    assert max(grown.values()) < 20, f"60 MB of arguments passed through; grown by megabytes: {grown}"


def test_large_different_arguments_leave_the_storage_when_nobody_uses_them() -> None:
    with SchedulerClusterCombo(n_workers=1, object_memory_bytes=60 * MEGABYTE) as cluster:
        with Client(cluster.get_address()) as client:
            for n in range(150):
                assert client.submit(size, b"%3d" % n + bytes(MEGABYTE)).result(10) == MEGABYTE + 3
            assert memory_files_bytes(cluster) < 60 * MEGABYTE


def test_what_a_task_changes_in_its_arguments_no_other_task_sees(client: Client) -> None:
    items = [0] * 50_000
    expected = [*items, 7]
    reference = client.send_object(items)
    assert all(client.submit(append_and_copy, items, 7).result(10) == expected for _ in range(4))
    assert all(client.submit(append_and_copy, reference, 7).result(10) == expected for _ in range(4))
    assert client.map(append_and_copy, [items] * 20, [7] * 20) == [expected] * 20
    assert client.starmap(append_and_copy, [([1, 2], n) for n in range(50)]) == [[1, 2, n] for n in range(50)]
    graph: dict[str, Any] = {"items": [1, 2], "n": 3} | {str(n): (append_and_copy, "items", "n") for n in range(20)}
    graph |= {"made": (list, "items"), "a": (append_and_copy, "made", "n"), "b": (append_and_copy, "made", "n")}
    values = client.get(graph, [*map(str, range(20)), "a", "b"])
    assert set(map(tuple, values.values())) == {(1, 2, 3)}
    assert items == [0] * 50_000
