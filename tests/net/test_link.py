"""Links over streams without sockets, on the virtual clock: what is sent arrives, and every way to end says why."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock, wait_all_tasks_blocked

from scaler_protocol import Connection, ErrorCode, Identity, LocalProtocolError, Role, Side, Timing
from scaler_protocol import messages as m
from scaler_trio.net import ConnectionClosed, Link, PeerRefused
from tests.kit.streams import MemoryStream, stream_pair

TOKEN = b"0123456789abcdef"


@frozen
class Pair:
    client: Link
    scheduler: Link
    client_stream: MemoryStream
    scheduler_stream: MemoryStream


def make_pair(
    *,
    token: bytes | None = TOKEN,
    other: bytes | None = TOKEN,
    outbox_bytes: int = 1 << 20,
    capacity: int = 1 << 20,
    chop: int = 0,
) -> Pair:
    one, two = stream_pair(capacity=capacity, chop=chop)
    dialer = Connection(
        Side.DIALER, Identity(Role.CLIENT, os.urandom(16), "c", os.urandom(32)), token=token, expect=Role.SCHEDULER
    )
    listener = Connection(
        Side.LISTENER,
        Identity(Role.SCHEDULER, os.urandom(16), "s", os.urandom(32)),
        token=other,
        timing=Timing(heartbeat_s=2, deadline_s=10),
    )
    return Pair(Link(one, dialer, outbox_bytes=outbox_bytes), Link(two, listener, outbox_bytes=outbox_bytes), one, two)


@asynccontextmanager
async def open_pair(*, capacity: int = 1 << 20, chop: int = 0, outbox_bytes: int = 1 << 20) -> AsyncIterator[Pair]:
    pair = make_pair(capacity=capacity, chop=chop, outbox_bytes=outbox_bytes)
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as opening:
            for link in (pair.client, pair.scheduler):
                opening.start_soon(lambda link: link.open(timeout_s=5), link)
        for link in (pair.client, pair.scheduler):
            nursery.start_soon(link.run)
        yield pair
        pair.client.close("the test is over")
        pair.scheduler.close("the test is over")


@pytest.mark.parametrize("chop", [0, 1, 7])
async def test_messages_arrive_in_order_however_the_stream_cuts_them(chop: int, autojump_clock: MockClock) -> None:
    async with open_pair(chop=chop) as pair:
        sent = [m.EndArray(number, number) for number in range(50)]
        pair.client.send(*sent)
        received: list[object] = []
        while len(received) < len(sent):
            received += await pair.scheduler.receive()
        assert received == sent


async def test_what_the_stream_does_not_take_waits_and_follows_in_order(autojump_clock: MockClock) -> None:
    async with open_pair(capacity=1000) as pair:
        blocks = [m.ArrayBlock(1, start, 1, 1, (), (), b"\0" * 8, bytes([start]) * 900) for start in range(40)]
        for block in blocks:
            pair.client.send(block)
        assert pair.client.outbox_bytes > 30_000
        received: list[object] = []
        while len(received) < len(blocks):
            received += await pair.scheduler.receive()
        assert received == blocks
        assert pair.client.outbox_bytes == 0


async def test_a_peer_that_does_not_read_is_closed_when_the_outbox_is_full(autojump_clock: MockClock) -> None:
    async with open_pair(capacity=1000, outbox_bytes=10_000) as pair:
        for start in range(20):
            pair.scheduler.send(m.TaskResults(start, ((start, 0, b"x" * 900, (), 0.0),)))
        assert pair.scheduler.closed is not None
        assert pair.scheduler.closed.code is ErrorCode.SLOW_PEER
        assert "did not read" in str(pair.scheduler.closed)
        pair.scheduler.send(m.Credit(1))  # swallowed: the reader learns of it
        with pytest.raises(ConnectionClosed, match="did not read"):
            await pair.scheduler.receive()


async def test_heartbeats_keep_an_idle_link_open(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_swallow, pair.client)
            nursery.start_soon(_swallow, pair.scheduler)
            await trio.sleep(1000)
            assert pair.client.closed is None
            assert pair.scheduler.closed is None
            nursery.cancel_scope.cancel()


async def test_a_silent_peer_is_given_up_after_its_deadline(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        pair.scheduler_stream.frozen = True
        started = trio.current_time()
        with pytest.raises(ConnectionClosed, match="silent") as caught:
            await pair.scheduler.receive()
        assert caught.value.code is ErrorCode.SILENT_PEER
        assert 10 <= trio.current_time() - started <= 16


async def test_a_link_that_does_not_judge_silence_waits_for_ever(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        pair.scheduler.judges_silence = False
        pair.scheduler_stream.frozen = True
        with trio.move_on_after(3600):
            await pair.scheduler.receive()
        assert pair.scheduler.closed is None


async def test_input_that_waited_through_our_own_stall_is_heard_before_judging(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        pair.scheduler_stream.frozen = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_swallow, pair.client)
            nursery.start_soon(_swallow, pair.scheduler)
            await trio.sleep(10.5)  # past the deadline: judgement is near, and pings lie in the stream
            pair.scheduler_stream.frozen = False
            pair.scheduler_stream._in.notify()
            await trio.sleep(60)
            assert pair.scheduler.closed is None
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("end", ["close", "break", "half a frame", "rubbish"])
async def test_every_end_says_what_happened(end: str, autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        if end == "close":
            pair.client.close("done")
        elif end == "break":
            pair.scheduler_stream.break_()
        else:
            pair.client_stream.send([b"sT\x01" if end == "half a frame" else b"GET / HTTP/1.1\r\n\r\n"])
            pair.client.close("done")
        words = {
            "close": "closed it",
            "break": "reset",
            "half a frame": "middle of a frame",
            "rubbish": "not a scaler-trio",
        }
        with pytest.raises(ConnectionClosed, match=words[end]):
            await pair.scheduler.receive()
        with pytest.raises(ConnectionClosed, match=words[end]):
            await pair.scheduler.receive()


async def test_a_message_over_its_limits_is_refused_and_nothing_is_sent(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        before = pair.client.statistics().sent_bytes
        with pytest.raises(LocalProtocolError):
            pair.client.send(m.EndArray(1, 1), m.ArrayBlock(1, 0, 1, 1, (), (), b"\0" * 8, bytes(17 << 20)))
        assert pair.client.statistics().sent_bytes == before


async def test_a_handshake_that_is_not_answered_ends_in_time(autojump_clock: MockClock) -> None:
    pair = make_pair()
    with pytest.raises(ConnectionClosed, match="within 5 s"):
        await pair.client.open(timeout_s=5)
    assert trio.current_time() == pytest.approx(5, abs=0.1)


async def test_both_ends_say_that_the_token_is_wrong(autojump_clock: MockClock) -> None:
    pair = make_pair(other=b"fedcba9876543210")
    refused = []

    async def open_(link: Link) -> None:
        with pytest.raises(PeerRefused, match="wrong token") as caught:
            await link.open(timeout_s=5)
        refused.append(caught.value.code)
        link.close("refused")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_, pair.client)
        nursery.start_soon(open_, pair.scheduler)
    assert refused == [ErrorCode.AUTHENTICATION] * 2


async def test_cancellation_at_any_wait_leaves_the_link_usable_or_closed(autojump_clock: MockClock) -> None:
    for waits in range(1, 12):
        async with open_pair(chop=5) as pair:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_after, waits, scope)
                    pair.client.send(m.EndArray(1, 1))
                    while True:
                        await pair.scheduler.receive()
            pair.client.send(m.EndArray(2, 2))
            received: list[object] = []
            while m.EndArray(2, 2) not in received:
                received += await pair.scheduler.receive()


async def _swallow(link: Link) -> None:
    with pytest.raises(ConnectionClosed):
        while True:
            await link.receive()


async def _cancel_after(waits: int, scope: trio.CancelScope) -> None:
    for _ in range(waits):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_run_returns_when_the_link_is_closed(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        await wait_all_tasks_blocked()
        pair.client.close("done")
        pair.scheduler.close("done")
    assert pair.client.closed is not None
