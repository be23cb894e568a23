"""The first connection, and losing it: every way in which it fails has a clear error, in time."""

from __future__ import annotations

import logging
import pickle
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scaler_protocol import messages as m
from scaler_trio import errors
from scaler_trio.client import Client
from scaler_trio.config import tokens
from scaler_trio.config.enclosing import Enclosing, set_enclosing
from tests.client.fake_scheduler import TOKEN, FakeScheduler


@contextmanager
def foreign_service(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A port at which something else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    with connection:
                        behave(connection)
            except OSError:
                pass

        threading.Thread(target=serve, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def say_nothing(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


def speak_http(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


@pytest.fixture
def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"tcp://127.0.0.1:{server.getsockname()[1]}"


def fails(
    address: str, expected: type[Exception], text: str, token: bytes | None = TOKEN, timeout: float = 0.5
) -> None:
    started = time.monotonic()
    with pytest.raises(expected, match=text):
        Client(address, token=token, timeout=timeout)
    assert time.monotonic() - started < 5


def test_nobody_listens(free_address: str) -> None:
    fails(free_address, errors.ConnectionFailed, rf"no scheduler listens at {free_address}.*tried for 0\.5 s")


def test_an_unknown_host() -> None:
    fails("tcp://no-such-host.invalid:1", errors.ConnectionFailed, "no-such-host.invalid")


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1", "http://127.0.0.1:80", "tcp://:1"])
def test_what_is_not_an_address(address: str) -> None:
    fails(address, ValueError, "is not an address")


def test_a_port_that_accepts_and_says_nothing() -> None:
    with foreign_service(say_nothing) as address:
        fails(address, errors.ConnectionFailed, r"did not complete the handshake within")


def test_an_http_server_on_the_port() -> None:
    with foreign_service(speak_http) as address:
        fails(address, errors.ConnectionFailed, "is not a scaler-trio scheduler.*HT")


def test_a_wrong_token(scheduler: FakeScheduler) -> None:
    fails(scheduler.address, errors.AuthenticationFailed, "wrong token", token=b"another token of 24 byte")


def test_a_missing_token(scheduler: FakeScheduler) -> None:
    fails(scheduler.address, errors.AuthenticationFailed, "requires a token and this side has none", token=None)


def test_a_token_where_none_is_asked_for() -> None:
    with FakeScheduler(token=None) as scheduler:
        fails(scheduler.address, errors.AuthenticationFailed, "asks for none")
        with Client(scheduler.address) as client:
            assert client.submit(abs, -1).result() == 1


def test_a_token_that_is_too_short(scheduler: FakeScheduler) -> None:
    fails(scheduler.address, ValueError, "at least 16", token=b"short")


def test_a_scheduler_that_is_just_being_started(free_address: str) -> None:
    started: list[FakeScheduler] = []

    def start() -> None:
        started.append(FakeScheduler(port=int(free_address.rpartition(":")[2])).__enter__())

    threading.Timer(0.3, start).start()
    with Client(free_address, token=TOKEN) as client:
        assert client.submit(abs, -1).result() == 1
    started[0].stop()


def test_without_an_address_the_environment_then_the_enclosing_task_is_asked(
    scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCALER_ADDRESS", raising=False)
    with pytest.raises(ValueError, match=r"No scheduler address provided.*not running inside a worker context"):
        Client()
    set_enclosing(Enclosing(scheduler.address, TOKEN))
    try:
        with Client() as client:
            assert client.submit(abs, -2).result() == 2
    finally:
        set_enclosing(None)
    monkeypatch.setenv("SCALER_ADDRESS", scheduler.address)
    monkeypatch.setenv("SCALER_TOKEN", TOKEN.decode())
    with Client() as client:
        assert client.submit(abs, -3).result() == 3


def test_a_token_is_found_in_a_file_or_in_the_runtime_directory(scheduler: FakeScheduler, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(TOKEN + b"\n")
    with Client(scheduler.address, token_file=file) as client:
        assert client.submit(abs, -1).result() == 1
    left = tokens.leave_token(scheduler.address, TOKEN)
    try:
        with Client(scheduler.address.replace("127.0.0.1", "localhost")) as client:
            assert client.submit(abs, -1).result() == 1
    finally:
        left.remove()


def test_a_pickled_client_connects_anew_and_carries_no_token(
    scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(scheduler.address, token=TOKEN, timeout=0.5) as client:
        pickled = pickle.dumps(client.options(priority=3))
    assert TOKEN not in pickled
    with pytest.raises(errors.AuthenticationFailed):
        pickle.loads(pickled)
    monkeypatch.setenv("SCALER_TOKEN", TOKEN.decode())
    with pickle.loads(pickled) as copy:
        assert copy.submit(abs, -1).result() == 1
    assert scheduler.of(m.SubmitTasks)[-1].options[0].priority == 3


# --------------------------------------------------------------------------------------------------- losing it again


def test_a_lost_connection_is_not_noticed(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    futures = [client.submit(abs, -i) for i in range(100)]
    scheduler.wait_for(lambda: sum(len(s.rows) for s in scheduler.of(m.SubmitTasks)) == 100, "all are sent")
    scheduler.drop_connections()
    futures += [client.submit(abs, -i) for i in range(100, 200)]
    scheduler.wait_for(lambda: scheduler.connections == 2, "the second connection")
    scheduler.resume()
    assert [future.result(10) for future in futures] == list(range(200))
    rows = [row[0] for message in scheduler.of(m.SubmitTasks) for row in message.rows]
    assert len(rows) == len(set(rows)), "what the scheduler had was not sent again"


def test_a_restarted_scheduler_gets_everything_again(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    futures = [client.submit(abs, -i) for i in range(100)]
    graph = client.get({"a": (abs, -5), "b": (max, "a", 3)}, ["b"], block=False)
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.extend(client.map(abs, range(-20_000, 0))))
    thread.start()
    scheduler.wait_for(lambda: sum(b.count for b in scheduler.of(m.ArrayBlock)) == 20_000, "all rows are sent")
    scheduler.restart()
    scheduler.wait_for(lambda: len(scheduler.of(m.ClientHeld)) == 2, "the second connection")
    scheduler.resume()
    assert [future.result(10) for future in futures] == list(range(100))
    assert graph["b"].result(10) == 5
    thread.join(20)
    assert results == list(range(20_000, 0, -1))


@pytest.mark.parametrize("after", [*range(12)])
def test_a_connection_that_closes_after_any_message_loses_nothing(after: int) -> None:
    with FakeScheduler() as scheduler, Client(scheduler.address, token=TOKEN) as client:
        scheduler.break_after = after
        futures = [client.submit(abs, -i) for i in range(10)]
        graph = client.get({"a": (abs, -5), "b": (max, "a", 3)}, ["a", "b"], block=False)
        assert client.map(abs, (-x for x in range(5000))) == list(range(5000))
        assert [future.result(10) for future in futures] == list(range(10))
        assert {key: future.result(10) for key, future in graph.items()} == {"a": 5, "b": 5}


def test_what_is_unfinished_fails_when_the_scheduler_stays_away(
    scheduler: FakeScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler.paused = True
    with Client(scheduler.address, token=TOKEN, reconnect_timeout=0.5) as client:
        future = client.submit(abs, -1)
        caught: list[Exception] = []

        def call() -> None:
            try:
                client.map(abs, range(10))
            except errors.ConnectionLost as error:
                caught.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        scheduler.wait_for(lambda: bool(scheduler.of(m.ArrayBlock)), "the rows are sent")
        scheduler.stop()
        with pytest.raises(errors.ConnectionLost, match=rf"{scheduler.address} is gone.*within 0\.5 s"):
            future.result(10)
        (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert told.startswith(f"the connection to {scheduler.address} was lost")
        thread.join(10)
        assert len(caught) == 1
        with pytest.raises(errors.ConnectionLost):
            client.submit(abs, 1)


def test_a_scheduler_that_breaks_the_protocol_ends_the_client(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    future = client.submit(abs, -1)
    scheduler.wait_for(lambda: bool(scheduler.of(m.SubmitTasks)), "it is sent")
    scheduler.send(m.TaskResults(7, ()))
    with pytest.raises(errors.ConnectionLost, match="broke the protocol: result message 7 came after 0"):
        future.result(10)


def test_the_user_is_told_of_retries(client: Client, scheduler: FakeScheduler) -> None:
    told: queue.Queue[str] = queue.Queue()
    handler = logging.Handler()
    handler.emit = lambda record: told.put(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("scaler_trio")
    logger.addHandler(handler)
    try:
        scheduler.send(m.Notices(((1, 0, int(m.NoticeKind.RETRY), "is run again: its processor died"),)))
        assert told.get(timeout=10) == "task 1, item 0: is run again: its processor died"
    finally:
        logger.removeHandler(handler)
