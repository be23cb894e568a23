"""`shutdown` by a client: refused by a protected scheduler, the end of everything of an unprotected one."""

from __future__ import annotations

import time

import pytest

import scaler_trio
from scaler_trio import Client, ClientClosed, ConnectionLost, ProtectedError, SchedulerClusterCombo
from tests.kit.processes import ClusterProcesses, wait_gone
from tests.kit.services import Command
from tests.kit.waiting import in_background, wait_until


def test_a_protected_scheduler_refuses_and_goes_on(cluster: SchedulerClusterCombo, client: Client) -> None:
    asking = Client(cluster.get_address())
    future = asking.submit(time.sleep, 30)
    with pytest.raises(ProtectedError, match="protected mode") as caught:
        asking.shutdown()
    assert isinstance(caught.value, ValueError)
    assert future.cancelled()
    with pytest.raises(ClientClosed):
        asking.submit(abs, 1)
    with pytest.raises(ClientClosed):
        asking.shutdown()
    assert client.map(abs, [-1, -2]) == [1, 2]


def test_nothing_is_left_of_a_cluster_that_is_not_protected(capfd: pytest.CaptureFixture[str]) -> None:
    with SchedulerClusterCombo(n_workers=2, protected=False) as cluster:
        asking, other = Client(cluster.get_address()), Client(cluster.get_address())
        asking.map(abs, range(100))
        everything = ClusterProcesses.of(cluster.get_address()).everything()
        waiting = in_background(other.submit(time.sleep, 30).result)
        mapping = in_background(other.map, time.sleep, [30, 30])
        started = time.perf_counter()
        asking.shutdown()
        assert time.perf_counter() - started < 2
        for future in (waiting, mapping):
            with pytest.raises(ConnectionLost, match=r"was shut down: client .* asked for it"):
                future.result(5)
        with pytest.raises(ConnectionLost, match="was shut down"):
            other.submit(abs, 1)
        other.close()
        wait_gone(everything)
        print(f"gone after {time.perf_counter() - started:.2f} s")
    assert "ended" not in capfd.readouterr().err, "a shutdown is nothing to warn of"


def test_three_services_end_all_with_exit_code_0() -> None:
    with Command("scaler_object_storage_server", "tcp://127.0.0.1:0") as objects:
        arguments = ["tcp://127.0.0.1:0", "--object-storage-address", objects.address, "--no-protected"]
        with Command("scaler_scheduler", *arguments) as scheduler:
            arguments = ["baremetal_native", scheduler.address, "--mode", "fixed", "--max-task-concurrency", "2"]
            with Command("scaler_worker_manager", *arguments) as manager:
                client = Client(scheduler.address)
                assert client.submit(len, bytes(1_000_000)).result() == 1_000_000
                wait_until(lambda: len(set(client.map(process_id, [0.05] * 8))) == 2, "both workers to work")
                client.shutdown()
                assert [service.wait() for service in (scheduler, objects, manager)] == [0, 0, 0]


def process_id(seconds: float) -> int:
    import os

    time.sleep(seconds)
    return os.getpid()


def test_the_error_is_public() -> None:
    assert "ProtectedError" in scaler_trio.__all__
