"""Rubbish, half frames, idle connections and impatient peers, on both sockets: others do not notice, memory stays."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaler_protocol import Role
from scaler_protocol import messages as m
from scaler_trio.net import Address
from tests.objects.serving import MIB, Server, running_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(memory_bytes=64 * MIB, spill_directory=tmp_path) as server:
        yield server


@pytest.fixture(params=["TCP", "local"])
def where(request: pytest.FixtureRequest, server: Server) -> tuple[int, object]:
    """Family and address of one of the server's sockets."""
    if request.param == "TCP":
        address = Address.parse(server.address)
        return socket.AF_INET, (address.host, address.port)
    lane = server.lane(Role.CLIENT)
    path = lane.server.local_socket
    lane.close()
    return socket.AF_UNIX, path


def connect(where: tuple[int, object]) -> socket.socket:
    sock = socket.socket(where[0], socket.SOCK_STREAM)
    sock.settimeout(10)
    sock.connect(where[1])  # type: ignore[arg-type]
    return sock


def works(server: Server) -> bool:
    access = server.access()
    try:
        data = os.urandom(2 * MIB)
        return access.read(access.write([data], len(data))) == data
    finally:
        access.close()


def test_rubbish_and_half_frames_close_their_own_connection_only(server: Server, where: tuple[int, object]) -> None:
    chance = random.Random(7)
    for _ in range(50):
        with connect(where) as sock:
            try:
                sock.sendall(chance.randbytes(chance.randrange(1, 20_000)))
            except OSError:
                pass  # refused early
    for size in range(1, 30):
        with connect(where) as sock:
            sock.sendall(b"sT\x01\x01\x00\x00\x00\x00\x00\x00\x00\x50" + b"\x98" * size)
    assert works(server)


def test_a_thousand_idle_connections_are_bounded_and_disturb_nobody(server: Server, where: tuple[int, object]) -> None:
    idle: list[socket.socket] = []
    try:
        idle += [connect(where) for _ in range(1000)]
        assert works(server)
        assert server.resident_bytes < 250 * MIB
    finally:
        for sock in idle:
            sock.close()
    assert works(server)


def test_a_peer_that_asks_and_never_reads_is_closed_and_its_leases_end(
    server: Server, where: tuple[int, object]
) -> None:
    access = server.access()
    written = access.write([bytes(2 * MIB)], 2 * MIB)
    address = server.address if where[0] == socket.AF_INET else f"unix:{where[1]}"
    lane = server.lane(Role.CLIENT, address)
    lane._socket.settimeout(10)
    with pytest.raises(OSError, match=r"reset|Broken pipe|timed out"):
        for _ in range(1_000_000):
            for buffer in lane._connection.encode(m.Fetch(written)):
                lane._socket.sendall(buffer)
    lane.close()
    assert works(server)
    assert server.resident_bytes < 150 * MIB
    access.close()


def test_files_that_a_peer_passes_to_the_server_are_not_kept(server: Server) -> None:
    import psutil

    lane = server.lane(Role.CLIENT)
    local = server.lane(Role.CLIENT, f"unix:{lane.server.local_socket}")
    process = psutil.Process(server.process.pid)
    before = process.num_fds()
    for _ in range(20):
        (frame,) = local._connection.encode(m.Ping(1))
        socket.send_fds(local._socket, [frame], [0, 1, 2])
        assert local.receive() == m.Pong(1)
    assert process.num_fds() == before
    lane.close()
    local.close()
