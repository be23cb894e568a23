"""What an operator allows workers: memory, time, and how they tidy up. Real tasks that try to have more."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from scaler_trio import Client
from scaler_trio.errors import ProcessorDiedError, TaskTimeout
from tests.kit.processes import PROCESSOR, below, private_bytes
from tests.kit.services import Command, free_ports
from tests.kit.waiting import wait_until

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEGABYTE = 1_000_000


@contextmanager
def workers(*flags: str) -> Iterator[tuple[Client, Command]]:
    with Command("scaler_object_storage_server", "tcp://127.0.0.1:0") as objects:
        arguments = ["tcp://127.0.0.1:0", "--object-storage-address", objects.address]
        with Command("scaler_scheduler", *arguments) as scheduler:
            arguments = [scheduler.address, "--mode", "fixed", "--max-task-concurrency", "1", *flags]
            with Command("scaler_worker_manager", "baremetal_native", *arguments) as manager:
                with Client(scheduler.address) as client:
                    client.submit(abs, -1).result(20)
                    yield client, manager


def take(megabytes: int, seconds: float) -> int:
    memory = bytearray(megabytes * MEGABYTE)
    memory[::4096] = b"x" * len(memory[::4096])
    time.sleep(seconds)
    return len(memory)


def test_a_task_that_takes_more_memory_than_its_worker_may_fails_and_objects_that_it_maps_do_not_count() -> None:
    with workers("--per-worker-memory-bytes", str(300 * MEGABYTE)) as (client, _):
        assert client.submit(take, 100, 0.5).result(20) == 100 * MEGABYTE
        with pytest.raises(ProcessorDiedError) as failed:
            client.options(crash_limit=1).submit(take, 600, 20.0).result(20)
        assert "of private memory; this worker may use 300 MB (per_worker_memory_bytes)" in str(failed.value)
        assert client.submit(read, np.ones(600 * MEGABYTE // 8), 1.0).result(30) == 600 * MEGABYTE // 8


def read(data: NDArray[np.float64], seconds: float) -> float:
    found = float(data.sum())
    time.sleep(seconds)
    return found


def score() -> int:
    """What the kernel kills first when memory runs out."""
    return int(Path("/proc/self/oom_score_adj").read_text())


def test_no_task_runs_longer_than_the_operator_allows() -> None:
    with workers("--task-timeout-seconds", "0.5") as (client, _):
        started = time.monotonic()
        with pytest.raises(TaskTimeout, match="than any task may run on its worker"):
            client.submit(time.sleep, 30.0).result(20)
        assert time.monotonic() - started < 5.0
        with pytest.raises(TaskTimeout):
            client.options(timeout=20.0).map(time.sleep, [0.0, 30.0])
        assert client.submit(score).result(20) == 500


class Cycle:
    """Garbage that only the collector finds; it leaves a file when it goes."""

    def __init__(self, path: str) -> None:
        self.me = self
        self.path = path

    def __del__(self) -> None:
        Path(self.path).touch()


def leave_a_cycle(path: str) -> None:
    gc.disable()  # or Python itself would collect it
    Cycle(path)


def fragment(megabytes: int) -> None:
    """Fill the heap with small pieces, and free all but one at its end, which keeps it from shrinking by itself."""
    import ctypes

    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    pieces = [libc.malloc(1_000) for _ in range(megabytes * 1_000)]
    for piece in pieces:
        ctypes.memset(piece, 1, 1_000)
    for piece in pieces[:-1]:
        libc.free(ctypes.c_void_p(piece))


def test_garbage_is_collected_and_memory_given_back_though_nothing_runs_any_more(tmp_path: Path) -> None:
    path = tmp_path / "collected"
    flags = ["--garbage-collect-interval-seconds", "1", "--trim-memory-threshold-bytes", str(100 * MEGABYTE)]
    with workers(*flags) as (client, manager):
        client.submit(leave_a_cycle, str(path)).result(20)
        client.submit(fragment, 200).result(20)
        (processor,) = below(manager.process.pid, PROCESSOR)
        assert private_bytes(processor) > 180 * MEGABYTE
        wait_until(path.exists, "the cycle to be collected")
        wait_until(
            lambda: private_bytes(processor) < 100 * MEGABYTE, lambda: f"{private_bytes(processor)} bytes to shrink"
        )
    path.unlink()
    with workers("--garbage-collect-interval-seconds", "0") as (client, manager):
        client.submit(leave_a_cycle, str(path)).result(20)
        client.submit(fragment, 200).result(20)
        client.map(time.sleep, [0.1] * 20)
        (processor,) = below(manager.process.pid, PROCESSOR)
        assert private_bytes(processor) > 180 * MEGABYTE, "without an interval nothing is given back"
        assert not path.exists()


def test_cores_of_their_own() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one core")
    with Command("scaler_scheduler", "tcp://127.0.0.1:0") as scheduler:
        arguments = [scheduler.address, "--mode", "fixed", "--max-task-concurrency", "2", "--cpu-affinity"]
        with Command("scaler_worker_manager", "baremetal_native", *arguments), Client(scheduler.address) as client:
            found = wait_until(lambda: len(seen := set(client.map(cores, [0.05] * 8))) == 2 and seen, "two workers")
            first, second = found
            assert len(first) == len(second) == 1
            assert first != second


def cores(seconds: float) -> frozenset[int]:
    time.sleep(seconds)
    return frozenset(os.sched_getaffinity(0))


def test_a_worker_that_finds_no_scheduler_gives_up() -> None:
    arguments = [f"tcp://127.0.0.1:{free_ports(1)[0]}", "--mode", "fixed", "--max-task-concurrency", "1"]
    arguments += ["--death-timeout-seconds", "0.5"]
    environment = {"SCALER_TOKEN": "t" * 32}
    with Command("scaler_worker_manager", "baremetal_native", *arguments, environment=environment) as manager:
        manager.wait_for("'native-0' found no scheduler for 0.5 s")
        manager.wait_for("native-0 ended with exit code 1; another one starts in")
