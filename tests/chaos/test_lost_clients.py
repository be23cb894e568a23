"""A client that is killed: what it had running is cancelled, what it had stored is freed, and nobody else notices."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scaler_protocol import Role
from scaler_protocol import messages as m
from scaler_trio import Client, SchedulerClusterCombo
from scaler_trio.objects.access import ObjectAccess
from scaler_trio.objects.errors import ObjectMissing
from tests.chaos.work import nap, square
from tests.kit import hostile
from tests.kit.ledger import Ledger
from tests.kit.processes import ClusterProcesses
from tests.kit.waiting import in_background, wait_until

GRACE_S = 0.5

PROGRAM = """
import sys
from scaler_trio import Client
from tests.chaos.work import mark_and_nap, nap
address, trace = sys.argv[1:]
client = Client(address)
reference = client.send_object(bytes(3_000_000))
long = client.submit(mark_and_nap, trace, 60.0)
queued = [client.submit(nap, i, 0.05) for i in range(1000)]
argument = client.submit(len, bytes(2_000_000))
print(reference.object_id.hex(), flush=True)
sys.stdin.read()
"""


@contextmanager
def a_doomed_client(cluster: SchedulerClusterCombo, trace: Path) -> Iterator[tuple[subprocess.Popen[str], bytes]]:
    """A client in a process of its own, with a task that runs, many that wait, and an object; its id."""
    argv = [sys.executable, "-c", PROGRAM, cluster.get_address(), str(trace)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            stored = bytes.fromhex(process.stdout.readline())
            wait_until(trace.exists, "its long task to run")
            yield process, stored
        finally:
            process.kill()


def test_a_killed_clients_tasks_are_cancelled_and_its_objects_freed_within_its_grace(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with (
        SchedulerClusterCombo(n_workers=2, client_grace_s=GRACE_S) as cluster,
        Client(cluster.get_address()) as other,
    ):
        ledger = Ledger(other)
        with a_doomed_client(cluster, trace) as (process, stored):
            result = in_background(other.map, nap, range(200))
            assert exists(cluster, stored)
            process.kill()
            killed = time.perf_counter()
            wait_until(lambda: "interrupted by TaskInterrupted" in trace.read_text(), "its task to be cancelled")
            cancelled_s = time.perf_counter() - killed
            wait_until(lambda: not exists(cluster, stored), "its object to be freed")
            freed_s = time.perf_counter() - killed
        print(f"grace {GRACE_S} s: task cancelled after {cancelled_s:.2f} s, object freed after {freed_s:.2f} s")
        assert GRACE_S <= cancelled_s < GRACE_S + 2
        assert result.result(20) == [i * i for i in range(200)]
        ledger.check(200)
        assert not ledger.notices
        wait_until(lambda: stored_objects(cluster) == 0, "the object storage to be empty")
        # Its thousand tasks are gone: both workers are there for others at once.
        started = time.perf_counter()
        assert other.map(square, range(100)) == [i * i for i in range(100)]
        assert time.perf_counter() - started < 1
        assert "finished" not in trace.read_text()
        ClusterProcesses.of(cluster.get_address()).wait_ready(2)


def exists(cluster: SchedulerClusterCombo, stored: bytes) -> bool:
    access = ObjectAccess(cluster._object_storage_address, cluster.token.encode(), b"r" * 16, Role.CLIENT)
    try:
        access.read(stored)
    except ObjectMissing:
        return False
    finally:
        access.close()
    return True


def stored_objects(cluster: SchedulerClusterCombo) -> int:
    """What the server tells a scheduler, asked by one that keeps nothing."""
    where = hostile.tcp(cluster._object_storage_address)
    with hostile.Peer(where, Role.SCHEDULER, token=cluster.token.encode(), expect=Role.OBJECTS) as peer:
        while True:
            for message in peer.read():
                if isinstance(message, m.ObjectUsage):
                    return message.objects


def test_a_client_that_leaves_gets_no_grace(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with SchedulerClusterCombo(n_workers=1, client_grace_s=60.0) as cluster:
        with a_doomed_client(cluster, trace) as (process, _):
            assert process.stdin is not None
            started = time.perf_counter()
            process.stdin.close()  # its program ends
            wait_until(lambda: "interrupted" in trace.read_text(), "its task to be cancelled")
            print(f"cancelled after {time.perf_counter() - started:.2f} s")
