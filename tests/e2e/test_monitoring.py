"""``scaler status``, ``explain`` and ``bench`` against real clusters; a monitor that asks too much."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time

import pytest
import trio

from scaler_protocol import Identity, Role
from scaler_protocol import messages as m
from scaler_trio import Client, SchedulerClusterCombo
from scaler_trio.errors import ConnectionFailed
from scaler_trio.net import Address, ConnectionClosed, dial
from scaler_trio.scheduler.session import MONITOR_EVERY_S
from tests.kit.services import BIN, Command, free_ports, three_services
from tests.kit.waiting import wait_until


def scaler(*arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "120"} | ({"SCALER_TOKEN": token} if token else {})
    return subprocess.run(
        [str(BIN / "scaler"), *arguments], capture_output=True, text=True, timeout=50, check=False, env=environment
    )


def test_status_and_explain_tell_of_capacity_work_clients_and_events() -> None:
    with three_services(workers=1) as (objects, scheduler, _), Client(scheduler.address) as client:
        client.map(abs, range(10))
        reference = client.send_object(bytes(2_000_000))
        client.submit(len, reference).result(20)
        running = client.submit(time.sleep, 30.0)
        waits = client.submit(time.sleep, 30.0)

        def seen() -> dict[str, object]:
            done = scaler("status", scheduler.address, "--json")
            assert (done.returncode, done.stderr) == (0, "")
            found: dict[str, object] = json.loads(done.stdout)
            return found if found["running"] == 1 and found["objects_memory_bytes"] else {}

        found = wait_until(seen, "a status with the running task and the stored object")
        assert (found["workers"], found["slots"], found["queued"]) == (1, 1, 1)
        assert (found["storage_address"], found["is_storage_connected"]) == (objects.address, True)
        (manager,) = found["managers"]  # type: ignore[misc]
        assert {key: manager[key] for key in ("id", "kind", "desired", "launching", "connected", "draining")} == {
            "id": "native",
            "kind": "baremetal_native",
            "desired": 1,
            "launching": 0,
            "connected": 1,
            "draining": 0,
        }
        assert [e["subject"] for e in found["events"] if e["kind"] == "worker"] == ["native-0"]  # type: ignore[attr-defined]
        shown = scaler("status", scheduler.address).stdout
        assert re.search(r"^native +1 +0 +1 +0 +fixed", shown, re.M), shown
        assert "1 task running, 1 queued" in shown
        assert "manager native: has connected from" in shown
        done = scaler("explain", scheduler.address, str(waits.task_id))
        assert "1 fits and is busy with other work" in done.stdout
        assert (
            f"task {running.task_id} of client {os.getpid()} on"
            in scaler("explain", scheduler.address, str(running.task_id)).stdout
        )
        waits.cancel()
        running.cancel()


def test_a_decision_over_capacity_is_an_event_with_its_reason_and_what_it_was_made_from() -> None:
    with Command("scaler_scheduler", "tcp://127.0.0.1:0") as scheduler:
        arguments = [scheduler.address, "--max-task-concurrency", "2"]
        with Command("scaler_worker_manager", "baremetal_native", *arguments) as manager:
            manager.wait_for("connected to the scheduler")
            with Client(scheduler.address) as client:
                client.map(time.sleep, [0.5] * 4)
            found = json.loads(scaler("status", scheduler.address, "--json").stdout)
            texts = [event["text"] for event in found["events"] if event["kind"] == "capacity"]
            assert re.fullmatch(
                r"2 units wanted, 0 before: 4 of 4 queued items of perhaps 1 s will be left when a new unit is there, "
                r"in 0.5 s \(4 items queued and 0 running; native: 0 connected, 0 starting\)",
                texts[0],
            ), texts
            scheduler.wait_for(r"INFO capacity native: 2 units wanted, 0 before")


def test_bench_reports_every_figure_of_a_running_cluster() -> None:
    with SchedulerClusterCombo(n_workers=2) as cluster:
        done = scaler("bench", cluster.get_address(), "--seconds", "3", "--json")
        assert done.returncode == 0, done.stderr
        figures = {figure["what"]: figure for figure in json.loads(done.stdout)}
        assert len(figures) == 8
        assert all(figure["value"] > 0 for figure in figures.values())
        assert figures["one call, median"]["value"] <= figures["one call, 99th of 100"]["value"]
        assert 1.0 < figures["tasks of 10 ms at a time"]["value"] < 2.05


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ["status", "tcp://127.0.0.1:{port}"],
            1,
            "no scheduler listens at tcp://127.0.0.1:{port} (Connection refused)",
        ),
        (["explain", "tcp://127.0.0.1:{port}", "3"], 1, "no scheduler listens at"),
        (["status", "tcp://10.1.2.3:1"], 2, "no token for tcp://10.1.2.3:1: pass the scheduler's with --token-file"),
        (["status", "nonsense"], 2, "'nonsense' is not an address; write tcp://host:port"),
        (["explain", "tcp://127.0.0.1:1", "-3"], 2, "Must be >= 0"),
        (["bench", "tcp://127.0.0.1:1", "--seconds", "0"], 2, "Must be >= 1"),
    ],
)
def test_who_cannot_be_asked_is_told_in_one_sentence(arguments: list[str], code: int, sentence: str) -> None:
    port = free_ports(1)[0]
    done = scaler(*[argument.format(port=port) for argument in arguments])
    assert done.returncode == code, done
    assert done.stderr.startswith("scaler: ")
    assert done.stderr.count("\n") == 1
    assert sentence.format(port=port) in done.stderr


def test_a_wrong_token_and_a_service_that_is_no_scheduler_are_told() -> None:
    with three_services(workers=1) as (objects, scheduler, _):
        done = scaler("status", scheduler.address, token="w" * 32)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "token" in done.stderr
        done = scaler("status", objects.address)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "is not a scaler-trio scheduler" in done.stderr


def test_at_the_monitors_own_address_only_monitors_are_let_in() -> None:
    monitor_address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    with Command("scaler_scheduler", "tcp://127.0.0.1:0", "--monitor-address", monitor_address) as scheduler:
        for address in (monitor_address, scheduler.address):
            done = scaler("status", address)
            assert done.returncode == 0, done.stderr
            assert f"scheduler at {scheduler.address}" in done.stdout
        with pytest.raises(ConnectionFailed, match="only a monitor is let in at this address, not a client"):
            Client(monitor_address, timeout=5)


def test_a_monitor_that_asks_without_end_is_answered_slowly_and_hinders_nobody() -> None:
    with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
        assert client.submit(abs, -1).result(20) == 1

        async def flood() -> int:
            identity = Identity(Role.MONITOR, os.urandom(16), "flood", os.urandom(32))
            address, token = Address.parse(cluster.get_address()), cluster.token.encode()
            link = await dial(address, identity, token=token, expect=Role.SCHEDULER, timeout_s=5)
            answers = 0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                started = time.monotonic()
                link.send(*[m.AskStatus()] * 20_000)

                async def count() -> None:
                    nonlocal answers
                    try:
                        while True:
                            answers += len(await link.receive())
                    except ConnectionClosed:
                        pass

                nursery.start_soon(count)
                await trio.to_thread.run_sync(lambda: [client.submit(abs, n).result(20) for n in range(100)])
                took_s = time.monotonic() - started
                link.close("enough")
                nursery.cancel_scope.cancel()
            assert answers <= took_s / MONITOR_EVERY_S + 2
            return answers

        assert trio.run(flood) >= 1
