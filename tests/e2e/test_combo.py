"""What a combo's tasks see, where it may listen, and what is free again when its program was told to end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from scaler_trio import Client, SchedulerClusterCombo
from tests.kit.processes import wait_gone
from tests.kit.scripts import run_script
from tests.kit.services import free_ports

WARM = """
import os

calls = 0
model = None

def prepare():
    global calls, model
    calls += 1
    model = {"made in": os.getpid(), "calls": calls}
"""


def test_a_task_sees_what_preload_has_made(tmp_path: Path) -> None:
    (tmp_path / "warm.py").write_text(WARM)
    script = """
        from scaler_trio import Client, SchedulerClusterCombo

        def look(_):
            import sys
            was_loaded = "warm" in sys.modules
            import warm
            return was_loaded, warm.model and warm.model["calls"]

        with SchedulerClusterCombo(n_workers=2, preload="warm:prepare") as cluster:
            with Client(cluster.get_address()) as client:
                print(set(client.map(look, range(200))), client.submit(look, 0).result())
    """
    assert run_script(tmp_path, script).stdout == "{(True, 1)} (True, 1)\n"


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_a_combo_at_an_ipv6_address() -> None:
    try:
        cluster = SchedulerClusterCombo(n_workers=1, address="tcp://[::1]:0")
    except OSError:
        pytest.skip("this machine has no [::1]")
    with cluster, Client(cluster.get_address()) as client:
        assert cluster.get_address().startswith("tcp://[::1]:")
        array = np.arange(1_000_000, dtype=float)
        assert (client.submit(np.negative, array).result(20) == -array).all()
        assert client.map(abs, [-1, -2]) == [1, 2]


PROGRAM = """
import sys, time
from scaler_trio import Client, SchedulerClusterCombo
with SchedulerClusterCombo(n_workers=1, address=sys.argv[1], object_storage_address=sys.argv[2]) as cluster:
    with Client(cluster.get_address()) as client:
        client.submit(len, bytes(1_000_000)).result()
        print("ready", flush=True)
        client.submit(time.sleep, 60).result()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_ports_of_a_combo_are_free_when_its_program_was_told_to_end(number: signal.Signals) -> None:
    ports = free_ports(2)
    addresses = [f"tcp://127.0.0.1:{port}" for port in ports]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *addresses], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        family = psutil.Process(program.pid).children(recursive=True)
        os.kill(program.pid, number)
        program.wait(10)
    wait_gone(family)  # after a SIGTERM, which Python does not turn into an exception, they hear of it by themselves
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()
    with SchedulerClusterCombo(1, addresses[0], object_storage_address=addresses[1]) as again:
        assert again.get_address() == addresses[0]
