"""Three terminals: each service as a process of its own, in any order, with and without a token file."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import stat
import time
from pathlib import Path

import numpy as np
import pytest

from scaler_trio import AuthenticationFailed, Client
from tests.kit.processes import WORKER, alive, below
from tests.kit.services import START_S, Command, free_ports, three_services
from tests.kit.waiting import wait_until

STATUS_S = 2.0
"""How often a worker reports how it is."""


def bind(address: str) -> None:
    """What a server does: fails if anybody listens there."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    socket.create_server((host.strip("[]"), int(port)), family=family).close()


def has_ipv6() -> bool:
    try:
        bind("tcp://[::1]:0")
    except OSError:
        return False
    return True


def test_three_services_without_any_token_flag_serve_a_client_of_the_same_user() -> None:
    with three_services(workers=2) as (_, scheduler, _), Client(scheduler.address) as client:
        assert client.map(abs, range(-1000, 0)) == list(range(1000, 0, -1))
        array = np.arange(1_000_000, dtype=float)
        assert (client.submit(np.negative, array).result() == -array).all()
        address = scheduler.address.replace("127.0.0.1", "localhost")
        with Client(address) as again:
            assert again.submit(abs, -3).result() == 3


def test_with_a_token_file_only_who_has_it_is_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    path.write_text(secrets.token_urlsafe(32) + "\n")
    path.chmod(0o600)
    # Other machines see nothing of this user's runtime directory; another loopback address stands for one of them.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    with three_services("--token-file", str(path), host="127.0.0.3") as (_, scheduler, _):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(elsewhere))
        with Client(scheduler.address, token_file=path) as client:
            assert client.map(abs, [-1, -2]) == [1, 2]
        with pytest.raises(AuthenticationFailed, match="token"):
            Client(scheduler.address)
        monkeypatch.setenv("SCALER_TOKEN", path.read_text())
        with Client(scheduler.address) as client:
            assert client.submit(abs, -1).result() == 1


def test_the_token_in_the_environment_serves_all_commands() -> None:
    token = secrets.token_urlsafe(32)
    with three_services(environment={"SCALER_TOKEN": token}) as (_, scheduler, _):
        with Client(scheduler.address, token=token) as client:
            assert client.submit(abs, -1).result() == 1


def test_the_services_may_be_started_in_any_order() -> None:
    scheduler_address, object_address = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    with Command(
        "scaler_worker_manager", "baremetal_native", scheduler_address, "--max-task-concurrency", "1"
    ) as manager:
        manager.wait_for("waiting for a scheduler")
        with Command("scaler_scheduler", scheduler_address, "--object-storage-address", object_address) as scheduler:
            assert scheduler.address == scheduler_address
            with Command("scaler_object_storage_server", object_address) as objects:
                assert objects.address == object_address
                with Client(scheduler_address) as client:
                    array = np.arange(100_000, dtype=float)
                    assert client.submit(np.sum, array).result(timeout=20) == array.sum()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_each_service_ends_soon_and_leaves_nothing_when_it_is_told_to(number: signal.Signals) -> None:
    with three_services(workers=2) as commands:
        with Client(commands[1].address) as client:
            client.map(abs, range(100))
        for command in reversed(commands):
            family = command.family()
            started = time.monotonic()
            assert command.stop(number) == 0, command.shown()
            assert time.monotonic() - started < 4, command.shown()
            assert alive(family) == []
            assert "Traceback" not in command.shown()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_ports_of_a_service_are_free_as_soon_as_it_has_ended(number: signal.Signals) -> None:
    with three_services() as commands, Client(commands[1].address) as client:
        array = np.arange(100_000, dtype=float)
        assert client.submit(np.sum, array).result(20) == array.sum()  # there are connections to both
        addresses = [commands[1].address, commands[0].address]
        with pytest.raises(OSError, match="in use"):
            bind(addresses[0])
        for command, address in zip((commands[1], commands[0]), addresses, strict=True):
            command.stop(number)
            bind(address)
        with Command("scaler_scheduler", addresses[0], "--object-storage-address", addresses[1]) as again:
            assert again.address == addresses[0]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no [::1]")
def test_a_whole_cluster_at_an_ipv6_address() -> None:
    with three_services(host="[::1]") as (objects, scheduler, _), Client(scheduler.address) as client:
        assert scheduler.address.startswith("tcp://[::1]:")
        assert objects.address.startswith("tcp://[::1]:")
        assert client.map(abs, range(-100, 0)) == list(range(100, 0, -1))
        array = np.arange(1_000_000, dtype=float)
        assert (client.submit(np.negative, array).result(20) == -array).all()
        assert client.fetch(client.send_object("text")) == "text"


def test_amounts_of_capabilities_are_no_news() -> None:
    with Command("scaler_object_storage_server", "tcp://127.0.0.1:0") as objects:
        arguments = ["tcp://127.0.0.1:0", "--object-storage-address", objects.address]
        with Command("scaler_scheduler", *arguments) as scheduler:
            arguments = ["baremetal_native", scheduler.address, "--mode", "fixed", "--max-task-concurrency", "2"]
            arguments += ["--per-worker-capabilities", "gpu=2,linux"]
            with Command("scaler_worker_manager", *arguments) as manager, Client(scheduler.address) as client:
                with_gpu = client.options(capabilities={"gpu": 1, "linux": -1})
                assert with_gpu.map(abs, [-1, -2, -3]) == [1, 2, 3]
                before = [len(command.output) for command in (objects, scheduler, manager)]
                ends_at = time.monotonic() + 2 * STATUS_S
                while time.monotonic() < ends_at:  # of every kind, while workers report how they are
                    assert with_gpu.submit(abs, -1).result(20) == 1
                    with_gpu.map(abs, range(20))
                after = [len(command.output) for command in (objects, scheduler, manager)]
                assert after == before, (scheduler.shown(), manager.shown())


def test_a_manager_that_waits_ends_when_it_is_told_to() -> None:
    for number, code in ((signal.SIGTERM, -15), (signal.SIGINT, 130)):
        with Command("scaler_worker_manager", "baremetal_native", f"tcp://127.0.0.1:{free_ports(1)[0]}") as manager:
            manager.wait_for("waiting for a scheduler")
            assert manager.stop(number) == code
            assert "Traceback" not in manager.shown()


def test_a_killed_worker_is_replaced_and_its_work_is_done() -> None:
    with three_services(workers=2) as (_, scheduler, manager), Client(scheduler.address) as client:
        assert client.submit(abs, -1).result(timeout=20) == 1
        before = wait_until(
            lambda: len(found := below(manager.process.pid, WORKER)) == 2 and found, manager.shown, timeout_s=START_S
        )
        future = client.submit(time.sleep, 0.5)
        for worker in before:
            worker.kill()
        after = wait_until(
            lambda: len(new := [p for p in below(manager.process.pid, WORKER) if p not in before]) == 2 and new,
            manager.shown,
            timeout_s=START_S,
        )
        assert future.result(timeout=20) is None
        assert client.map(abs, range(-100, 0)) == list(range(100, 0, -1))
        manager.wait_for(r"native-\d ended by signal 9 \(SIGKILL\); another one starts in")
        assert len(after) == 2


def test_a_scheduler_that_was_killed_leaves_tokens_that_its_successor_sweeps() -> None:
    runtime = Path(os.environ["XDG_RUNTIME_DIR"]) / f"scaler-trio-{os.getuid()}"
    before = set(runtime.glob("token-*"))

    def tokens() -> set[str]:
        return {path.name for path in set(runtime.glob("token-*")) - before}

    def names(scheduler: Command) -> set[str]:
        return {"token-local", f"token-{scheduler.address.removeprefix('tcp://').replace(':', '_')}"}

    with Command("scaler_scheduler", "tcp://127.0.0.1:0") as scheduler:
        expected = names(scheduler)
        assert tokens() == expected
        assert {stat.S_IMODE((runtime / name).stat().st_mode) for name in tokens()} == {0o600}
        scheduler.process.kill()
        scheduler.wait()
    assert tokens() == expected
    with Command("scaler_scheduler", "tcp://127.0.0.1:0") as successor:
        expected = names(successor)
        assert tokens() == expected
    assert tokens() == set()


def test_a_worker_with_a_preload_that_fails_says_so_in_one_line() -> None:
    with Command("scaler_scheduler", "tcp://127.0.0.1:0") as scheduler:
        arguments = [scheduler.address, "--mode", "fixed", "--max-task-concurrency", "1"]
        arguments += ["--preload", "no_such_module"]
        with Command("scaler_worker_manager", "baremetal_native", *arguments) as manager:
            manager.wait_for(r"preload 'no_such_module' failed: ModuleNotFoundError")
            assert "Traceback" not in manager.shown()
