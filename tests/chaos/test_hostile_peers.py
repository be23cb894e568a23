"""Rubbish, half frames, idle connections and peers that never read, on every socket: a map does not notice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from scaler_trio import Client, SchedulerClusterCombo
from tests.chaos.work import spin
from tests.kit.ledger import Ledger
from tests.kit.processes import ClusterProcesses, open_sockets, private_bytes
from tests.kit.waiting import wait_until

ITEMS = 10_000
IDLE = 1000
MIB = 1024 * 1024
MEMORY_MIB = 64
SCHEDULER_MIB = 64 + 64 + 8 + 10
"""What one client may leave unread, as much under way when that is reached, an outbox, a thousand connections."""
OBJECTS_MIB = 60
"""Outboxes of some MiB, a thousand connections; objects are in shared memory, under a limit of their own."""


@contextmanager
def under_attack(cluster: SchedulerClusterCombo, objects: str) -> Iterator[None]:
    order = {
        "scheduler": cluster.get_address(),
        "objects": objects,
        "token": cluster.token,
        "seed": 1,
        "idle": IDLE,
        "tasks": 4000,
        "fetches": 200,
    }
    argv = [sys.executable, "-m", "tests.kit.attack"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as attack:
        assert attack.stdin is not None
        assert attack.stdout is not None
        try:
            attack.stdin.write(json.dumps(order) + "\n")
            attack.stdin.flush()
            assert attack.stdout.readline() == "holding\n"
            yield
            attack.stdin.write("stop\n")
            attack.stdin.flush()
            print(f"{attack.stdout.readline().strip()} bad connections beside {3 * IDLE} idle ones")
        finally:
            attack.kill()


def test_a_map_does_not_notice_hostile_peers_on_any_socket() -> None:
    with (
        SchedulerClusterCombo(n_workers=2, object_memory_bytes=MEMORY_MIB * MIB, client_grace_s=0.5) as cluster,
        Client(cluster.get_address()) as client,
    ):
        processes = ClusterProcesses.of(cluster.get_address())
        processes.wait_ready(2)
        services = {"scheduler": processes.scheduler, "objects": processes.objects}
        client.map(spin, range(ITEMS // 10))

        def run() -> float:
            started = time.perf_counter()
            ledger = Ledger(client)
            assert client.map(spin, range(ITEMS), timeout=30) == [i * i for i in range(ITEMS)]
            ledger.check(ITEMS)
            assert not ledger.notices
            return time.perf_counter() - started

        alone_s = run()
        memory = {name: private_bytes(process) for name, process in services.items()}
        sockets = {name: open_sockets(process) for name, process in services.items()}
        with under_attack(cluster, cluster._object_storage_address):
            attacked_s = min(run(), run())
            grown = {name: (private_bytes(process) - memory[name]) / MIB for name, process in services.items()}
            held = {name: open_sockets(process) - sockets[name] for name, process in services.items()}
        print(f"map alone {alone_s:.2f} s, attacked {attacked_s:.2f} s; memory grew by {grown} MiB, sockets by {held}")
        assert held["scheduler"] < 300
        assert held["objects"] < 2 * 300
        assert grown["scheduler"] < SCHEDULER_MIB
        assert grown["objects"] < OBJECTS_MIB
        wait_until(
            lambda: all(open_sockets(process) <= sockets[name] for name, process in services.items()),
            "all their sockets to be closed",
        )
        again_s = run()
        print(f"afterwards {again_s:.2f} s")
        assert attacked_s < 3 * max(alone_s, again_s)
