"""Everything that can be wrong about an address or a token: a sentence, within the time-out, and never a hang."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from scaler_trio import AuthenticationFailed, Client, ConnectionFailed, ConnectionLost, SchedulerClusterCombo
from scaler_trio.config.tokens import TokenError

TIMEOUT_S = 1.0


@contextmanager
def quickly(limit_s: float = TIMEOUT_S + 2.0) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < limit_s


@contextmanager
def foreign_service(answer: bytes | None) -> Iterator[str]:
    """Something that listens and is no scheduler; None = it says nothing and keeps the connection."""
    kept: list[socket.socket] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                kept.append(connection)
                if answer is not None:
                    connection.sendall(answer)
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


@pytest.mark.parametrize("text", ["", "localhost", "tcp://", "http://a:1", "tcp://host", "tcp://a:b", "tcp://a:99999"])
def test_what_is_no_address_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r"write tcp://") as caught:
        Client(text)
    assert repr(text) in str(caught.value)


def test_no_address_at_all_says_where_one_may_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCALER_ADDRESS", raising=False)
    with pytest.raises(ValueError, match="SCALER_ADDRESS"):
        Client()


def test_a_port_where_nobody_listens() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    with quickly(), pytest.raises(ConnectionFailed, match=rf"127.0.0.1:{port} .*is it running"):
        Client(f"tcp://127.0.0.1:{port}", timeout=TIMEOUT_S)


def test_a_host_that_does_not_exist() -> None:
    with quickly(10.0), pytest.raises(ConnectionFailed, match=r"no-such-host\.invalid"):
        Client("tcp://no-such-host.invalid:2345", timeout=TIMEOUT_S)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", b""])
def test_a_foreign_service_on_the_port(answer: bytes) -> None:
    with (
        foreign_service(answer) as address,
        quickly(),
        pytest.raises(ConnectionFailed, match=r"what listens at") as caught,
    ):
        Client(address, token="x" * 32, timeout=TIMEOUT_S)
    assert address in str(caught.value)


def test_a_service_that_accepts_and_says_nothing() -> None:
    with foreign_service(None) as address, quickly(), pytest.raises(ConnectionFailed, match=r"handshake within 1 s"):
        Client(address, token="x" * 32, timeout=TIMEOUT_S)


def test_the_object_storage_server_is_no_scheduler(cluster: SchedulerClusterCombo) -> None:
    with quickly(), pytest.raises(ConnectionFailed, match=r"objects|object storage"):
        Client(cluster._object_storage_address, token=cluster.token, timeout=TIMEOUT_S)


def test_a_wrong_token(cluster: SchedulerClusterCombo) -> None:
    with quickly(), pytest.raises(AuthenticationFailed, match="token"):
        Client(cluster.get_address(), token=secrets.token_urlsafe(32), timeout=TIMEOUT_S)


def test_a_missing_token_says_where_one_may_come_from(
    cluster: SchedulerClusterCombo, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # as another user would see it
    with quickly(), pytest.raises(AuthenticationFailed, match=r"SCALER_TOKEN"):
        Client(cluster.get_address(), timeout=TIMEOUT_S)


def test_a_token_that_is_too_short_or_a_file_that_is_none(tmp_path: Any) -> None:
    with pytest.raises(TokenError, match="has 5 bytes; at least 16"):
        Client("tcp://127.0.0.1:1", token="short")
    with pytest.raises(TokenError, match=r"missing\.txt cannot be read"):
        Client("tcp://127.0.0.1:1", token_file=tmp_path / "missing.txt")


def test_a_scheduler_that_dies_and_does_not_come_back_fails_what_is_unfinished() -> None:
    cluster = SchedulerClusterCombo(n_workers=1)
    try:
        client = Client(cluster.get_address(), reconnect_timeout=1.0)
        assert client.submit(abs, -1).result() == 1
        future = client.submit(time.sleep, 60)
    finally:
        cluster.shutdown()
    with quickly(5.0), pytest.raises(ConnectionLost, match=r"did not come back within 1 s"):
        future.result()
    with pytest.raises(ConnectionLost):
        client.submit(abs, 1)
    client.close()


def test_an_address_that_is_taken_is_named(cluster: SchedulerClusterCombo) -> None:
    with pytest.raises(ConnectionFailed, match=r"cannot listen at .*in use") as caught:
        SchedulerClusterCombo(n_workers=0, address=cluster.get_address())
    assert cluster.get_address() in str(caught.value)


def test_a_cluster_on_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConnectionFailed, match=r"cannot listen at tcp://192\.0\.2\.1:0"):
        SchedulerClusterCombo(n_workers=0, address="tcp://192.0.2.1:0")
