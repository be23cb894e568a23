"""Dialling and listening with real sockets."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from scaler_protocol import Identity, Role, limits
from scaler_protocol import messages as m
from scaler_trio.net import Address, ConnectFailed, ConnectionClosed, Link, Listener, PeerRefused, dial, listen

TOKEN = b"0123456789abcdef"


def identity(role: Role) -> Identity:
    return Identity(role, os.urandom(16), role.name.lower(), os.urandom(32))


@asynccontextmanager
async def server(role: Role = Role.SCHEDULER, host: str = "127.0.0.1") -> AsyncIterator[Listener]:
    listener = listen(Address(host, 0))

    async def echo(link: Link) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            try:
                while True:
                    for message in await link.receive():
                        link.send(m.Goodbye(type(message).__name__))
            except ConnectionClosed:
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await listener.serve(echo, lambda: identity(role), token=TOKEN, nursery=nursery)

        nursery.start_soon(serve)
        yield listener
        nursery.cancel_scope.cancel()
    listener.close()


async def connect(address: Address, timeout_s: float = 5) -> Link:
    return await dial(address, identity(Role.CLIENT), token=TOKEN, expect=Role.SCHEDULER, timeout_s=timeout_s)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_a_peer_connects_by_name_or_number(host: str) -> None:
    with trio.fail_after(10):
        async with server(host=host) as listener:
            link = await connect(listener.address)
            link.send(m.EndArray(1, 1))
            assert await link.receive() == [m.Goodbye("EndArray")]
            link.close("done")


async def test_nobody_listens() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(
        ConnectFailed, match=rf"no scheduler listens at tcp://127.0.0.1:{port} .*refused.*is it running"
    ):
        await connect(Address("127.0.0.1", port))


async def test_an_unknown_host() -> None:
    with pytest.raises(ConnectFailed, match=r"host of tcp://no-such-host.invalid:1 is not known"):
        await connect(Address("no-such-host.invalid", 1))


async def test_a_port_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        started = trio.current_time()
        with pytest.raises(PeerRefused, match="did not complete the handshake within"):
            await connect(Address("127.0.0.1", sock.getsockname()[1]), timeout_s=0.5)
        assert trio.current_time() - started < 2


async def test_another_kind_of_service() -> None:
    async def web(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, web, 0, host="127.0.0.1"))
            address = Address("127.0.0.1", listeners[0].socket.getsockname()[1])
            with pytest.raises(PeerRefused, match="is not a scaler-trio scheduler"):
                await connect(address)
            nursery.cancel_scope.cancel()


async def test_another_role_than_expected() -> None:
    with trio.fail_after(10):
        async with server(Role.OBJECTS) as listener:
            with pytest.raises(PeerRefused, match=r"expected .*scheduler.* found .*object"):
                await connect(listener.address)


async def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ConnectFailed, match=rf"cannot listen at tcp://127.0.0.1:{port}: .*in use"):
            listen(Address("127.0.0.1", port))


async def test_many_idle_newcomers_do_not_keep_out_a_peer() -> None:
    with trio.fail_after(20):
        async with server() as listener:
            idle = [
                socket.create_connection(("127.0.0.1", listener.address.port))
                for _ in range(limits.PENDING_HANDSHAKES + 50)
            ]
            link = await connect(listener.address)
            link.send(m.EndArray(1, 1))
            assert await link.receive() == [m.Goodbye("EndArray")]
            link.close("done")
            for sock in idle:
                sock.close()


async def test_rubbish_is_answered_with_an_error_frame_and_closed() -> None:
    with trio.fail_after(10):
        async with server() as listener:
            stream = await trio.open_tcp_stream("127.0.0.1", listener.address.port)
            async with stream:
                await stream.send_all(os.urandom(200))
                answer = b""
                while part := await stream.receive_some():
                    answer += part
            assert answer.startswith(b"sT")
            assert listener.refused == 1


async def test_other_threads_may_send() -> None:
    with trio.fail_after(20):
        async with server() as listener:
            link = await connect(listener.address)

            def send() -> None:
                for number in range(500):
                    link.send(m.EndArray(number, number))

            answers = 0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                for _ in range(4):
                    nursery.start_soon(trio.to_thread.run_sync, send)
                while answers < 2000:
                    answers += len(await link.receive())
                link.close("done")
            assert answers == 2000
