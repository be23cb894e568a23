"""Services on several hosts with addresses of their own: names, NAT; and as the first process of a container."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from scaler_trio import Client
from tests.kit.hosts import hosts, on, why_not
from tests.kit.processes import alive, below
from tests.kit.services import BIN, Command, free_ports
from tests.kit.waiting import wait_until

needs_hosts = pytest.mark.skipif(bool(why_not()), reason=why_not())

CLIENT = """
    import os, socket
    import numpy as np
    from scaler_trio import Client

    def where(array):
        return os.environ["PLACE"], float(array.sum())

    with Client("tcp://center:2345", timeout=20) as client:
        array = np.ones(200_000)
        for place in ("near", "far"):
            print(client.options(capabilities={place: -1}).submit(where, array).result(30))
        made = client.options(capabilities={"far": -1}).submit(np.zeros, 300_000).result(30)
        print(made.shape)
"""


@pytest.fixture
def token(tmp_path: Path) -> list[str]:
    path = tmp_path / "token"
    path.write_text(secrets.token_urlsafe(32))
    path.chmod(0o600)
    return ["--token-file", str(path)]


@needs_hosts
def test_every_service_has_a_host_and_one_manager_sees_the_others_under_other_addresses(token: list[str]) -> None:
    networks = {
        "near": {"storage": "10.77.1.3", "center": "10.77.1.1", "nearby": "10.77.1.2", "user": "10.77.1.9"},
        "far": {"storage": "10.77.2.3", "center": "10.77.2.1", "faraway": "10.77.2.2"},
    }
    names = {"center": "10.77.1.1", "storage": "10.77.1.3", "center.far": "10.77.2.1", "storage.far": "10.77.2.3"}
    with hosts(networks, names):
        with Command("scaler_object_storage_server", "tcp://0.0.0.0:2346", *token, before=on("storage")) as objects:
            objects.wait_for("object storage server at")
            flags = ["tcp://0.0.0.0:2345", "--object-storage-address", "tcp://storage:2346", *token]
            flags += ["--advertised-address", "tcp://center:0"]
            with Command("scaler_scheduler", *flags, before=on("center")) as scheduler:
                assert scheduler.address == "tcp://center:2345"
                common = ["--max-task-concurrency", "1", *token]
                near = ["tcp://center:2345", "--per-worker-capabilities", "near", "--worker-manager-id", "near"]
                # No way leads from there to the near network, so the far workers need other addresses of everybody.
                far = ["tcp://center.far:2345", "--per-worker-capabilities", "far", "--worker-manager-id", "far"]
                far += ["--object-storage-address", "tcp://storage.far:2346"]
                with (
                    Command(
                        *("scaler_worker_manager", "baremetal_native", *near, *common),
                        before=on("nearby"),
                        environment={"PLACE": "near"},
                    ),
                    Command(
                        *("scaler_worker_manager", "baremetal_native", *far, *common),
                        before=on("faraway"),
                        environment={"PLACE": "far"},
                    ),
                ):
                    done = subprocess.run(
                        [*on("user"), sys.executable, "-c", textwrap.dedent(CLIENT)],
                        capture_output=True,
                        text=True,
                        timeout=55,
                        check=False,
                        env={**os.environ, "SCALER_TOKEN": Path(token[1]).read_text()},
                    )
    assert done.stdout.splitlines() == ["('near', 200000.0)", "('far', 200000.0)", "(300000,)"], done.stderr


def test_ipv6_addresses_and_names_serve_for_every_service() -> None:
    with Command("scaler_object_storage_server", "tcp://[::1]:0") as objects:
        assert objects.address.startswith("tcp://[::1]:")
        arguments = ["tcp://localhost:0", "--object-storage-address", objects.address]
        with Command("scaler_scheduler", *arguments) as scheduler:
            arguments = ["baremetal_native", scheduler.address, "--max-task-concurrency", "1"]
            with Command("scaler_worker_manager", *arguments), Client(scheduler.address) as client:
                assert client.submit(len, bytes(300_000)).result(20) == 300_000


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="process namespaces need root")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_the_first_process_of_a_container_it_reaps_orphans_and_ends_all(
    tmp_path: Path, number: signal.Signals
) -> None:
    scheduler, objects = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    path = tmp_path / "cluster.toml"
    path.write_text(
        f"[object_storage_server]\nbind_address = '{objects}'\n"
        f"[scheduler]\nbind_address = '{scheduler}'\nobject_storage_address = '{objects}'\n"
        f"[[worker_manager]]\ntype = 'baremetal_native'\nscheduler_address = '{scheduler}'\nmax_task_concurrency = 1\n"
    )
    before = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    with Command("scaler", str(path), before=before) as command:
        command.wait_for("all 3 services run")
        (first,) = psutil.Process(command.process.pid).children()
        with Client(scheduler) as client:
            assert client.submit(orphan).result(20) > 0
            # An orphan of a task is the first process's to reap when it ends.
            wait_until(
                lambda: all(p.status() != psutil.STATUS_ZOMBIE for p in below_or_zombie(first)), "zombies to be reaped"
            )
        family = [first, *below(first.pid)]
        first.send_signal(number)
        assert command.process.wait(15) == 0, command.shown()
    assert alive(family) == []
    assert "Traceback" not in command.shown()


def below_or_zombie(process: psutil.Process) -> list[psutil.Process]:
    return process.children(recursive=True)


def orphan() -> int:
    """Leave a process behind whose parent is gone."""
    program = "import os, time; pid = os.fork(); (time.sleep(0.3), os._exit(0)) if not pid else print(pid, flush=True)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, start_new_session=True
    )
    return int(done.stdout)


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(tmp_path: Path) -> None:
    scheduler = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    path = tmp_path / "cluster.toml"
    path.write_text(f"[scheduler]\nbind_address = '{scheduler}'\n")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with Command("scaler", str(path), environment=environment) as command:
            assert notices.recv(100) == b"READY=1"
            with Client(scheduler) as client:
                assert client.submit(abs, -1).cancel()
            command.process.send_signal(signal.SIGTERM)
            assert notices.recv(100) == b"STOPPING=1"
        with Command("scaler_scheduler", scheduler, environment=environment) as command:
            assert notices.recv(100) == b"READY=1"
    assert (BIN / "scaler").exists()
