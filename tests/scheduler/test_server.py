"""The scheduler as a service: real sockets, with a client and workers made of bare links."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from scaler_protocol import ErrorCode, Identity, Message, Role
from scaler_protocol import messages as m
from scaler_trio.net import Address, ConnectionClosed, Link, PeerRefused, dial
from scaler_trio.scheduler.server import serve_scheduler
from scaler_trio.scheduler.settings import SchedulerSettings

TOKEN = b"0123456789abcdef"


@asynccontextmanager
async def scheduler(token: bytes | None = TOKEN) -> AsyncIterator[Address]:
    async with trio.open_nursery() as nursery:
        settings = SchedulerSettings(Address("127.0.0.1", 0), token)
        address = await nursery.start(partial(serve_scheduler, settings))
        yield address
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def peer(
    address: Address, role: Role, *, session: bytes | None = None, token: bytes | None = TOKEN
) -> AsyncIterator[Link]:
    identity = Identity(role, session or os.urandom(16), role.name.lower(), os.urandom(32))
    link = await dial(address, identity, token=token, expect=Role.SCHEDULER, timeout_s=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        yield link
        link.close("the test is over")
        nursery.cancel_scope.cancel()


async def expect(link: Link, kind: type[Message], seen: list[Message]) -> Message:
    """The next message of this class; others before it go to ``seen``."""
    while True:
        for at, message in enumerate(seen):
            if type(message) is kind:
                return seen.pop(at)
        seen += await link.receive()


async def test_a_task_travels_from_client_to_worker_and_its_result_back() -> None:
    with trio.fail_after(10):
        async with scheduler() as address, peer(address, Role.WORKER) as worker, peer(address, Role.CLIENT) as client:
            worker.send(m.WorkerHeld(1, (), "", 0.0, (), ()))
            client.send(m.ClientHeld(0, (), ()))
            client.send(m.DefineFunction(7, "f", b"code"))
            client.send(m.SubmitTasks((m.DEFAULT_OPTIONS,), ((1, 7, b"args", (), 0),)))
            at_worker: list[Message] = []
            at_client: list[Message] = []
            function = await expect(worker, m.PutFunction, at_worker)
            assert (function.name, function.payload) == ("f", b"code")
            (row,) = (await expect(worker, m.AssignTasks, at_worker)).rows
            assert row[2:5] == (1, function.function, b"args")
            worker.send(m.AttemptResults(((row[0], 0, b"value", (), 0.001),)))
            results = await expect(client, m.TaskResults, at_client)
            assert results.rows == ((1, 0, b"value", (), 0.001),)
            client.send(m.AckResults(results.sequence))
            settled = await expect(worker, m.Settled, at_worker)
            assert settled.attempts == (row[0],)


async def test_work_of_a_lost_worker_goes_to_another() -> None:
    with trio.fail_after(10):
        async with scheduler() as address, peer(address, Role.CLIENT) as client:
            client.send(m.ClientHeld(0, (), ()), m.DefineFunction(7, "f", b"code"))
            async with peer(address, Role.WORKER) as first:
                first.send(m.WorkerHeld(1, (), "", 0.0, (), ()))
                client.send(m.SubmitTasks((m.DEFAULT_OPTIONS,), ((1, 7, b"args", (), 0),)))
                (lost,) = (await expect(first, m.AssignTasks, [])).rows
            async with peer(address, Role.WORKER) as second:
                second.send(m.WorkerHeld(1, (), "", 0.0, (), ()))
                (again,) = (await expect(second, m.AssignTasks, [])).rows
                assert again[2] == lost[2]
                assert again[0] != lost[0]
                notice = await expect(client, m.Notices, [])
                assert "was lost" in notice.rows[0][3]


async def test_a_peer_that_breaks_the_rules_loses_its_connection_and_nobody_else_does() -> None:
    with trio.fail_after(10):
        async with scheduler() as address, peer(address, Role.CLIENT) as good:
            good.send(m.ClientHeld(0, (), ()))
            async with peer(address, Role.CLIENT) as bad:
                bad.send(m.ClientHeld(0, (), ()))
                await expect(bad, m.ClientKnown, [])
                bad.send(m.SubmitTasks((m.DEFAULT_OPTIONS,), ((1, 99, b"args", (), 0),)))
                with pytest.raises(ConnectionClosed, match="function 99 was not defined"):
                    await bad.receive()
            async with peer(address, Role.WORKER) as worker:
                worker.send(m.AttemptResults(()))
                with pytest.raises(ConnectionClosed, match="says what it holds"):
                    await worker.receive()
            await expect(good, m.ClientKnown, [])
            assert good.closed is None


async def test_a_newer_connection_of_the_same_process_supersedes_the_older() -> None:
    with trio.fail_after(10):
        session = os.urandom(16)
        async with (
            scheduler() as address,
            peer(address, Role.CLIENT, session=session) as old,
            peer(address, Role.CLIENT, session=session) as new,
        ):
            with pytest.raises(ConnectionClosed) as caught:
                await old.receive()
            assert caught.value.code is ErrorCode.SUPERSEDED
            new.send(m.ClientHeld(0, (), ()))
            await expect(new, m.ClientKnown, [])


async def test_a_wrong_token_is_refused_with_a_sentence() -> None:
    with trio.fail_after(10):
        async with scheduler() as address:
            with pytest.raises(PeerRefused, match="wrong token"):
                async with peer(address, Role.CLIENT, token=b"another token of ours"):
                    pytest.fail("it was admitted")
            with pytest.raises(PeerRefused, match="requires a token"):
                async with peer(address, Role.CLIENT, token=None):
                    pytest.fail("it was admitted")


async def test_sessions_are_told_when_the_scheduler_stops() -> None:
    with trio.fail_after(10):
        async with scheduler() as address:
            identity = Identity(Role.CLIENT, os.urandom(16), "client", os.urandom(32))
            link = await dial(address, identity, token=TOKEN, expect=Role.SCHEDULER, timeout_s=5)
        with pytest.raises(ConnectionClosed):
            await link.receive()
