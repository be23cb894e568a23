"""What a task used, measured where it ran."""

from __future__ import annotations

import time

import pytest

from scaler_trio import Client, ProfilingInfo

MB = 1_000_000


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def allocate(size_bytes: int) -> int:
    return len(bytearray(size_bytes).replace(b"\0", b"\1"))


def fail() -> None:
    burn(0.05)
    raise ValueError("after some work")


def list_of(size: int) -> list[int]:
    return list(range(size))


@pytest.fixture
def measured(client: Client) -> Client:
    return client.options(profiling=True)


def test_a_busy_task_shows_its_cpu_time_and_a_sleeping_one_none(measured: Client) -> None:
    busy, lazy = measured.submit(burn, 0.1), measured.submit(time.sleep, 0.1)
    busy.result(20)
    lazy.result(20)
    assert 0.09 < (busy.profiling_info().cpu_time_s or 0) < 1
    assert (lazy.profiling_info().cpu_time_s or 0) < 0.05 < lazy.profiling_info().duration_s


def test_the_peak_is_that_of_this_task_and_not_of_those_before_it(measured: Client) -> None:
    peaks = []
    for size in (100 * MB, 1, 100 * MB, 1):
        future = measured.submit(allocate, size)
        future.result(20)
        peaks.append(future.profiling_info().peak_memory_bytes or 0)
    assert min(peaks[0], peaks[2]) > 100 * MB
    assert max(peaks[1], peaks[3]) < 100 * MB


def test_the_worker_is_named_and_waiting_counts_as_queue_time(measured: Client) -> None:
    first = [measured.submit(time.sleep, 0.3) for _ in range(2)]  # one for each worker
    last = measured.submit(abs, -1)
    last.result(20)
    infos = [future.profiling_info() for future in (*first, last)]
    assert all(info.worker for info in infos)
    assert (infos[2].queue_time_s or 0) > 0.15
    assert (infos[2].queue_time_s or 0) > (infos[0].queue_time_s or 0)


def test_a_failed_task_has_a_profile_too(measured: Client) -> None:
    future = measured.submit(fail)
    assert isinstance(future.exception(20), ValueError)
    assert (future.profiling_info().cpu_time_s or 0) > 0.04


def test_results_of_all_kinds_survive_being_measured(measured: Client) -> None:
    values = [None, 1, "text", [1, 2], b"x" * 300_000]
    futures = [measured.submit(list.copy, [value]) for value in values]
    assert [future.result(20) for future in futures] == [[value] for value in values]
    assert [measured.submit(list_of, n).result(20) for n in (0, 5)] == [[], [0, 1, 2, 3, 4]]
    assert all(future.profiling_info().worker for future in futures)


def test_nodes_of_a_graph_are_measured(measured: Client) -> None:
    future = measured.get({"a": (burn, 0.05), "b": (str, "a")}, ["a", "b"], block=False)["a"]
    future.result(20)
    assert (future.profiling_info().cpu_time_s or 0) > 0.04


def test_a_map_goes_on_without_profiles(measured: Client) -> None:
    assert measured.map(abs, range(-100, 0)) == list(range(100, 0, -1))


def test_without_the_option_the_duration_is_known_and_nothing_else(client: Client) -> None:
    future = client.submit(time.sleep, 0.05)
    future.result(20)
    info = future.profiling_info()
    assert info.duration_s > 0.04
    assert info == ProfilingInfo(info.duration_s)


def test_before_the_end_there_is_nothing_to_tell(client: Client) -> None:
    future = client.submit(time.sleep, 60)
    with pytest.raises(ValueError, match="has not ended"):
        future.profiling_info()
    future.cancel()
    assert future.profiling_info().cpu_time_s is None
