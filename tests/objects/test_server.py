"""A real server process and real sockets: objects go in and come out, over shared memory and over TCP."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest

from scaler_protocol import Role
from scaler_protocol import messages as m
from scaler_protocol.ids import SessionId, object_id
from scaler_trio.objects import ObjectMissing, ObjectStoreError, ObjectStoreFull
from scaler_trio.objects.access import ObjectAccess
from tests.kit.waiting import wait_until
from tests.objects.serving import MIB, ROOT, TOKEN, Scheduler, Server, running_server

BOTH = pytest.mark.parametrize("shared_memory", [True, False], ids=["shared memory", "TCP"])


@pytest.fixture
def spill_directory(tmp_path: Path) -> Path:
    return tmp_path / "spill"


@pytest.fixture
def server(spill_directory: Path) -> Iterator[Server]:
    with running_server(memory_bytes=256 * MIB, spill_bytes=0, spill_directory=spill_directory) as server:
        yield server


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For tests that neither harm it nor look at what others have stored."""
    with running_server(memory_bytes=1024 * MIB, spill_directory=tmp_path_factory.mktemp("spill")) as server:
        yield server


@BOTH
@pytest.mark.parametrize("size", [0, 1, 100_000, MIB, 5 * MIB + 7])
def test_what_is_written_is_read(shared_server: Server, size: int, shared_memory: bool) -> None:
    data = os.urandom(size)
    parts = [data[:10], memoryview(data)[10 : size // 2], b"", bytearray(data[max(10, size // 2) :])]
    if size < 20:
        parts = [data]
    writer, reader = (
        shared_server.access(shared_memory=shared_memory),
        shared_server.access(shared_memory=shared_memory),
    )
    written = writer.write(parts, size)
    assert reader.read(written) == data
    assert writer.is_local == reader.is_local == shared_memory
    writer.close()
    reader.close()


@BOTH
def test_an_object_of_very_many_small_parts_is_written_whole(shared_server: Server, shared_memory: bool) -> None:
    access = shared_server.access(shared_memory=shared_memory)
    parts = [bytes([i % 256]) * (1 + i % 300) for i in range(20_000)]
    data = b"".join(parts)
    assert access.read(access.write(parts, len(data))) == data
    access.close()


@BOTH
def test_who_writes_to_what_was_read_changes_nobody_elses(shared_server: Server, shared_memory: bool) -> None:
    access = shared_server.access(shared_memory=shared_memory)
    written = access.write([bytes(2 * MIB)], 2 * MIB)
    mine, theirs = access.read(written), access.read(written)
    mine[5] = 1
    assert theirs[5] == 0
    assert access.read(written)[5] == 0
    access.close()


def test_a_view_stays_as_it_was_while_its_object_is_deleted_and_others_are_written(server: Server) -> None:
    access, scheduler = server.access(), Scheduler(server)
    written = access.write([b"a" * 4 * MIB], 4 * MIB)
    scheduler.adopt(written)
    view = access.read(written)
    scheduler.delete(written)
    scheduler.sync()
    for _ in range(3):
        access.write([b"b" * 4 * MIB], 4 * MIB)
    assert view == b"a" * 4 * MIB
    access.close()
    server.kill()
    assert view == b"a" * 4 * MIB
    scheduler.lane.close()


def test_the_lease_ends_with_the_last_view_and_the_memory_is_free(server: Server) -> None:
    access, scheduler = server.access(), Scheduler(server)
    written = access.write([bytes(4 * MIB)], 4 * MIB)
    scheduler.adopt(written)
    first = access.read(written)
    second = first[100:200]
    scheduler.delete(written)
    scheduler.sync()
    del first
    gc.collect()
    scheduler.wait_usage(lambda usage: usage.memory_bytes == 4 * MIB)
    del second
    gc.collect()
    scheduler.wait_usage(lambda usage: usage.memory_bytes == 0 and usage.objects == 0)
    access.close()
    scheduler.lane.close()


@BOTH
def test_an_object_that_is_not_there_is_missing_and_the_access_goes_on(
    shared_server: Server, shared_memory: bool
) -> None:
    access = shared_server.access(shared_memory=shared_memory)
    with pytest.raises(ObjectMissing, match="object 78787878 is not, or no longer, in the object storage at"):
        access.read(b"x" * 24)
    assert access.read(access.write([b"y"], 1)) == b"y"
    access.close()


@BOTH
def test_threads_share_an_access(shared_server: Server, shared_memory: bool) -> None:
    access = shared_server.access(shared_memory=shared_memory)
    failures: list[object] = []

    def work(number: int) -> None:
        try:
            for i in range(20):
                data = bytes([number]) * (MIB // 2 + i * 100_000)
                if access.read(access.write([data], len(data))) != data:
                    failures.append(number)
        except ObjectStoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    access.close()


def test_a_forked_child_has_a_connection_and_a_session_of_its_own(shared_server: Server) -> None:
    access = shared_server.access()
    written = access.write([b"p" * 2 * MIB], 2 * MIB)
    view = access.read(written)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            own = access.write([b"c" * 2 * MIB], 2 * MIB)
            if own[:16] != written[:16] and access.read(own) == b"c" * 2 * MIB and view == b"p" * 2 * MIB:
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert access.read(written) == view
    access.close()


def test_the_access_connects_anew_when_its_connection_broke(shared_server: Server) -> None:
    access = shared_server.access()
    written = access.write([b"1"], 1)
    assert access._lane is not None
    access._lane._socket.shutdown(2)
    assert access.read(written) == b"1"
    access.close()
    with pytest.raises(ObjectStoreError, match="closed"):
        access.read(written)


def test_a_dead_server_is_an_error_with_its_address(server: Server) -> None:
    access = server.access()
    access.write([b"1"], 1)
    server.kill()
    with pytest.raises(ObjectStoreError, match=rf"no object storage server answered at {server.address}"):
        access.write([b"1"], 1)
    access.close()


def test_a_signal_in_the_middle_of_a_request_gives_the_reservation_back(server: Server) -> None:
    class Interrupt(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupt

    access, scheduler = server.access(), Scheduler(server)
    filler = access.write([bytes(200 * MIB)], 200 * MIB)
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Interrupt):
            access.write([bytes(100 * MIB)], 100 * MIB)  # waits for room
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    scheduler.wait_usage(lambda usage: usage.objects == 1)
    assert len(access.read(filler)) == 200 * MIB
    access.close()
    scheduler.lane.close()


@pytest.mark.slow
def test_600_mb_over_tcp_while_pings_of_another_connection_are_answered(spill_directory: Path) -> None:
    size = 600_000_000
    with running_server(memory_bytes=700_000_000, spill_directory=spill_directory) as server:
        lane = server.lane(Role.CLIENT)
        done = threading.Event()
        slowest_s = 0.0

        def ping() -> None:
            nonlocal slowest_s
            number = 0
            while not done.is_set():
                number += 1
                start = time.monotonic()
                lane.send(m.Ping(number))
                while lane.receive() != m.Pong(number):
                    pass
                slowest_s = max(slowest_s, time.monotonic() - start)
                done.wait(0.01)

        data = os.urandom(MIB) * (size // MIB)
        access = server.access(shared_memory=False)
        thread = threading.Thread(target=ping)
        thread.start()
        view = access.read(access.write([data], len(data)))
        done.set()
        thread.join()
        assert numpy.array_equal(numpy.frombuffer(view, "u1"), numpy.frombuffer(data, "u1"))
        assert slowest_s < 1.0
        assert server.resident_bytes < 150 * MIB
        lane.close()
        access.close()


def test_a_reader_that_does_not_read_costs_no_memory(server: Server) -> None:
    access = server.access()
    written = access.write([bytes(200 * MIB)], 200 * MIB)
    before = server.resident_bytes
    lane = server.lane(Role.CLIENT)
    lane.send(m.Fetch(written))
    assert isinstance(lane.receive(), m.Found)
    other = server.access(shared_memory=False)
    assert len(other.read(written)) == 200 * MIB
    assert server.resident_bytes - before < 30 * MIB
    for closing in (lane, access, other):
        closing.close()


@BOTH
def test_what_does_not_fit_into_memory_goes_to_disk_and_is_read_from_there(
    spill_directory: Path, shared_memory: bool
) -> None:
    with running_server(memory_bytes=16 * MIB, spill_directory=spill_directory) as server:
        access, scheduler = server.access(shared_memory=shared_memory), Scheduler(server)
        data = [os.urandom(4 * MIB) for _ in range(10)]
        written = [access.write([each], len(each)) for each in data]
        scheduler.adopt(*written)
        usage = scheduler.wait_usage(lambda usage: usage.disk_bytes == 24 * MIB)
        assert usage.memory_bytes == 16 * MIB
        assert len(list(spill_directory.glob("spill-*/*"))) == 6
        views = [access.read(each) for each in written]
        assert views == data
        views[0][0] ^= 1
        assert access.read(written[0]) == data[0]
        del views
        scheduler.delete(*written)
        scheduler.wait_usage(lambda usage: usage.disk_bytes == usage.memory_bytes == usage.objects == 0)
        assert not list(spill_directory.glob("spill-*/*"))
        access.close()
        scheduler.lane.close()


def test_when_memory_and_disk_are_full_a_put_is_refused_and_nothing_is_lost(spill_directory: Path) -> None:
    settings = {"memory_bytes": 16 * MIB, "spill_bytes": 8 * MIB, "spill_directory": spill_directory}
    with running_server(**settings) as server:
        access = server.access()
        data = [os.urandom(4 * MIB) for _ in range(6)]
        written = [access.write([each], len(each)) for each in data]
        with pytest.raises(ObjectStoreFull) as refusal:
            access.write([bytes(4 * MIB)], 4 * MIB)
        text = str(refusal.value)
        assert "of 4.0 MiB: no room within 2 s: memory holds 16.0 MiB of 16.0 MiB" in text
        assert f"disk ({spill_directory}) 8.0 MiB of 8.0 MiB" in text
        assert [access.read(each) for each in written] == data
        access.close()


def test_a_result_waits_for_room_and_is_stored_when_there_is(server: Server) -> None:
    client, processor, scheduler = server.access(), server.access(Role.PROCESSOR), Scheduler(server)
    filler = client.write([bytes(200 * MIB)], 200 * MIB)
    results: list[bytes] = []
    thread = threading.Thread(target=lambda: results.append(processor.write([bytes(100 * MIB)], 100 * MIB)))
    thread.start()
    scheduler.wait_usage(lambda usage: usage.objects == 2)
    assert not results
    scheduler.delete(filler)
    thread.join(timeout=10)
    assert len(results) == 1
    for access in (client, processor):
        access.close()
    scheduler.lane.close()


def _victim(server: Server, code: str) -> subprocess.Popen[str]:
    """A process with an access to the server that does something, says so, and waits to be killed."""
    script = f"""
import os, sys, time
from scaler_protocol import Role, messages as m
from scaler_protocol.ids import object_id
from scaler_trio.objects.access import ObjectAccess
session = os.urandom(16)
access = ObjectAccess({server.address!r}, {TOKEN!r}, session, Role.PROCESSOR)
{code}
print("ready", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=10)


def test_a_writer_killed_in_the_middle_gives_its_reservation_back(server: Server) -> None:
    scheduler = Scheduler(server)
    code = "lane = access._connect()\nlane.send(m.Reserve(object_id(session, 1), 200 << 20))\nassert lane.receive()"
    process = _victim(server, code)
    scheduler.wait_usage(lambda usage: usage.memory_bytes == 200 * MIB)
    _kill(process)
    scheduler.wait_usage(lambda usage: usage.memory_bytes == usage.objects == 0)
    access = server.access()
    access.write([bytes(200 * MIB)], 200 * MIB)
    access.close()
    scheduler.lane.close()


def test_a_reader_that_is_killed_gives_its_lease_back(server: Server) -> None:
    access, scheduler = server.access(), Scheduler(server)
    written = access.write([bytes(200 * MIB)], 200 * MIB)
    scheduler.adopt(written)
    process = _victim(server, f"view = access.read({written!r})")
    scheduler.delete(written)
    with pytest.raises(ObjectStoreFull, match=r"200\.0 MiB being read or written"):
        access.write([bytes(100 * MIB)], 100 * MIB)
    _kill(process)
    access.write([bytes(100 * MIB)], 100 * MIB)
    access.close()
    scheduler.lane.close()


def test_a_wrong_token_is_refused_with_a_sentence(shared_server: Server) -> None:
    access = ObjectAccess(shared_server.address, b"another token, and wrong", os.urandom(16), Role.CLIENT)
    with pytest.raises(ObjectStoreError, match="wrong token"):
        access.write([b"x"], 1)
    access.close()


def test_an_object_of_another_session_may_not_be_written(shared_server: Server) -> None:
    lane = shared_server.lane(Role.CLIENT)
    lane.send(m.Reserve(object_id(SessionId(b"z" * 16), 1), 10))
    with pytest.raises(ObjectStoreError, match="belongs to another session"):
        lane.receive()
    lane.close()


def test_chunks_out_of_order_close_the_peer_that_sent_them(shared_server: Server) -> None:
    session = os.urandom(16)
    lane = shared_server.access(shared_memory=False)._open(shared_server.address)
    session = lane._connection.identity.session
    mine = object_id(SessionId(session), 1)
    lane.send(m.Reserve(mine, 100))
    assert isinstance(lane.receive(), m.Granted)
    lane.send(m.ObjectChunk(mine, 50, b"x" * 50))
    with pytest.raises(ObjectStoreError, match="expected from 0"):
        lane.receive()
    lane.close()


def test_a_file_taken_for_reading_cannot_be_written(shared_server: Server) -> None:
    access = shared_server.access()
    written = access.write([bytes(MIB)], MIB)
    lane = access._lane
    assert lane is not None
    lane.send(m.Fetch(written))
    lane.receive()
    descriptor = lane.take_file()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(descriptor, b"x", 0)
    os.close(descriptor)
    access.close()


def test_stopping_and_killing_the_server_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Path(os.environ["XDG_RUNTIME_DIR"]) / "sweep"  # a short path, as sockets need one
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))

    def left() -> list[Path]:
        files = [*runtime.rglob("*"), *tmp_path.rglob("*")]
        return [path for path in files if not path.is_dir()]

    settings = {"memory_bytes": 4 * MIB, "spill_directory": tmp_path}
    with running_server(**settings) as server:
        access = server.access()
        for _ in range(3):
            access.write([bytes(2 * MIB)], 2 * MIB)
        access.close()
        wait_until(lambda: list(tmp_path.glob("spill-*/*")), "something to be spilled")
        server.kill()
    assert left()
    with running_server(**settings) as server:
        assert [path.name for path in left()] == ["s"]  # the new one's socket
        assert server.stop() == 0
    assert left() == []


def test_a_process_that_may_open_no_more_files_gets_copies(server: Server) -> None:
    access, scheduler = server.access(), Scheduler(server)
    data = os.urandom(MIB)
    written = access.write([data], MIB)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
    try:
        views = [access.read(written) for _ in range(100)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(view == data for view in views)
    del views
    scheduler.delete(written)
    scheduler.wait_usage(lambda usage: usage.objects == 0)
    access.close()
    scheduler.lane.close()


def test_a_view_that_ends_while_its_process_waits_for_room_makes_room(server: Server) -> None:
    access, scheduler = server.access(Role.PROCESSOR), Scheduler(server)
    written = access.write([bytes(200 * MIB)], 200 * MIB)
    scheduler.adopt(written)
    views = [access.read(written)]
    scheduler.delete(written)
    results: list[bytes] = []
    thread = threading.Thread(target=lambda: results.append(access.write([bytes(100 * MIB)], 100 * MIB)))
    thread.start()
    scheduler.wait_usage(lambda usage: usage.objects == 2)
    views.clear()
    gc.collect()
    thread.join(timeout=10)
    assert len(results) == 1
    access.close()
    scheduler.lane.close()


def test_each_answer_comes_with_its_own_file_however_many_were_asked_for_at_once(shared_server: Server) -> None:
    access = shared_server.access()
    written = [access.write([str(number).encode() * 10], len(str(number)) * 10) for number in range(150)]
    lane = access._lane
    assert lane is not None
    for each in written:
        lane.send(m.Fetch(each))
    for number, each in enumerate(written):
        assert lane.receive() == m.Found(each, len(str(number)) * 10)
        descriptor = lane.take_file()
        assert os.pread(descriptor, len(str(number)) * 10, 0) == str(number).encode() * 10
        os.close(descriptor)
    access.close()
