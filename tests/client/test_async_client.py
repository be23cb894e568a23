"""`AsyncClient` against the fake scheduler, everything under Trio and under asyncio."""

from __future__ import annotations

import asyncio
import gc
import itertools
import pickle
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
import trio

from scaler_protocol import messages as m
from scaler_trio.client import AsyncClient, connect
from scaler_trio.errors import (
    AuthenticationFailed,
    ClientClosed,
    ConnectionFailed,
    GraphError,
    ObjectStorageFailed,
    TaskCancelled,
)
from scaler_trio.net import Address, listen
from scaler_trio.serialization import CannotPickle
from tests.client.fake_scheduler import TOKEN, FakeScheduler
from tests.kit.waiting import wait_until

LIMIT_S = 20.0

Main = Callable[[], Awaitable[Any]]


class Trio:
    """What a test does differently in each loop."""

    def run(self, main: Main) -> Any:
        async def limited() -> Any:
            with trio.fail_after(LIMIT_S):
                return await main()

        return trio.run(limited)

    async def sleep(self) -> None:
        await trio.sleep(0.005)

    async def turn(self) -> None:
        await trio.lowlevel.checkpoint()

    async def cancel_when(self, condition: Callable[[], bool], main: Main) -> None:
        """Run it, and cancel it when the condition holds; it must not have ended by then."""
        async with trio.open_nursery() as nursery:

            async def doomed() -> None:
                await main()
                raise AssertionError("it ended before it was cancelled")

            nursery.start_soon(doomed)
            while not condition():
                await self.sleep()
            nursery.cancel_scope.cancel()

    async def both(self, first: Main, second: Main) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            nursery.start_soon(second)


class Asyncio(Trio):
    def run(self, main: Main) -> Any:
        async def limited() -> Any:
            return await asyncio.wait_for(main(), LIMIT_S)

        return asyncio.run(limited())

    async def sleep(self) -> None:
        await asyncio.sleep(0.005)

    async def turn(self) -> None:
        await asyncio.sleep(0)

    async def cancel_when(self, condition: Callable[[], bool], main: Main) -> None:
        task = asyncio.ensure_future(main())
        while not condition() and not task.done():
            await self.sleep()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def both(self, first: Main, second: Main) -> None:
        await asyncio.gather(first(), second())


@pytest.fixture(params=[Trio(), Asyncio()], ids=["trio", "asyncio"])
def loop(request: pytest.FixtureRequest) -> Trio:
    found: Trio = request.param
    return found


With = Callable[[Callable[[AsyncClient], Awaitable[Any]]], Any]


@pytest.fixture
def with_client(loop: Trio, scheduler: FakeScheduler) -> With:
    """Run a function with a connected client, in the loop of the test."""

    def run(use: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with connect(scheduler.address, token=TOKEN) as client:
                return await use(client)

        return loop.run(main)

    return run


def inverse(number: int) -> float:
    return 1 / number


def divide(one: int, other: int) -> float:
    return one / other


def is_cancelled(scheduler: FakeScheduler) -> bool:
    return any(type(message) is m.CancelTasks for message in scheduler.received)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("scaler ")]


# ------------------------------------------------------------------------------------------------------------ calls


def test_a_call_is_awaited(with_client: With) -> None:
    async def use(client: AsyncClient) -> None:
        assert await client.submit(abs, -5) == 5
        future = client.submit(abs, -6)
        assert [await future, await future] == [6, 6]
        assert future.result() == 6
        with pytest.raises(ZeroDivisionError):
            await client.submit(divide, 1, 0)
        with pytest.raises(CannotPickle):
            client.submit(abs, threading.Lock())

    with_client(use)


def test_a_map_gives_what_the_builtin_gives(with_client: With) -> None:
    async def use(client: AsyncClient) -> None:
        assert await client.map(abs, range(-10_000, 0)) == list(range(10_000, 0, -1))
        assert await client.map(divide, [1, 2], (4, 4)) == [0.25, 0.5]
        assert await client.map(abs, (n for n in (-1, -2))) == [1, 2]
        assert await client.starmap(divide, [(1, 2), (3, 4)]) == [0.5, 0.75]
        assert await client.map(abs, []) == []

    with_client(use)


def test_a_map_raises_the_lowest_failure_or_returns_them(with_client: With) -> None:
    async def use(client: AsyncClient) -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            await client.map(inverse, [2, 0, 4, 0])
        assert "item 1 of a map of" in caught.value.__notes__[0]
        values = await client.map(inverse, [2, 0], return_exceptions=True)
        assert values[0] == 0.5
        assert isinstance(values[1], ZeroDivisionError)

    with_client(use)


def test_an_error_of_the_iterable_is_raised_and_cancels_the_rest(with_client: With, scheduler: FakeScheduler) -> None:
    def rows() -> Iterator[int]:
        yield 1
        raise LookupError("no second one")

    async def use(client: AsyncClient) -> None:
        scheduler.paused = True
        with pytest.raises(LookupError, match="no second one"):
            await client.map(abs, rows())
        scheduler.wait_for(lambda: is_cancelled(scheduler), "a cancel")

    with_client(use)


def test_a_map_keeps_to_its_timeout(with_client: With, scheduler: FakeScheduler) -> None:
    async def use(client: AsyncClient) -> None:
        scheduler.paused = True
        with pytest.raises(TimeoutError, match=r"0 of 3 items were done after 0\.05 s"):
            await client.map(abs, [1, 2, 3], timeout=0.05)
        scheduler.wait_for(lambda: is_cancelled(scheduler), "a cancel")

    with_client(use)


def test_the_progress_of_a_map_is_shown(
    with_client: With, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaler_trio.client.calls.progress.PLAIN_S", 0.0)

    async def use(client: AsyncClient) -> None:
        await client.map(abs, range(1000), progress=True)

    with_client(use)
    assert "abs: 1,000/1,000" in capfd.readouterr().err


def test_a_graph_is_awaited_and_a_node_raises_its_own_error(with_client: With) -> None:
    async def use(client: AsyncClient) -> None:
        graph = {"a": -3, "b": (abs, "a"), "c": (divide, "b", "a"), "bad": (inverse, "zero"), "zero": 0}
        assert await client.get(graph, ["c", "a", "b"]) == {"c": -1.0, "a": -3, "b": 3}
        with pytest.raises(ZeroDivisionError):
            await client.get(graph, ["bad"])
        futures = await client.get(graph, ["b"], block=False)
        assert await futures["b"] == 3
        with pytest.raises(GraphError):
            await client.get({"a": (abs, "b")}, ["a"])

    with_client(use)


def test_options_are_carried(with_client: With, scheduler: FakeScheduler) -> None:
    async def use(client: AsyncClient) -> None:
        assert await client.options(priority=7).submit(abs, -1) == 1
        assert scheduler.of(m.SubmitTasks)[-1].options[0].priority == 7
        with pytest.raises(TypeError, match="no option"):
            client.options(prority=7)  # type: ignore[call-arg]

    with_client(use)


def test_without_a_storage_storing_fails_and_the_loop_goes_on(with_client: With) -> None:
    async def use(client: AsyncClient) -> None:
        with pytest.raises(ObjectStorageFailed):
            await client.send_object(bytes(100_000))
        with pytest.raises(TypeError, match="a reference"):
            await client.fetch(b"")  # type: ignore[arg-type]
        assert await client.submit(abs, -1) == 1

    with_client(use)


# ------------------------------------------------------------------------------------------------------------- imap


def test_imap_reads_as_results_are_asked_for(with_client: With) -> None:
    async def use(client: AsyncClient) -> None:
        found = []
        read = 0

        def rows() -> Iterator[int]:
            nonlocal read
            for read in itertools.count(1):
                yield -read

        async with client.imap(abs, rows(), buffersize=20) as results:
            async for result in results:
                found.append(result)
                if result == 100:
                    break
        assert found == list(range(1, 101))
        assert read <= 120
        assert [n async for n in results] == []

    with_client(use)


def test_imap_raises_at_the_place_and_goes_on(with_client: With) -> None:
    async def use(client: AsyncClient) -> None:
        results = client.imap(inverse, [1, 0, 4])
        assert await anext(results) == 1
        with pytest.raises(ZeroDivisionError):
            await anext(results)
        assert await anext(results) == 0.25
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        again = [type(value) async for value in client.imap(inverse, [0, 1], return_exceptions=True)]
        assert again == [ZeroDivisionError, float]

    with_client(use)


def test_imap_unordered_gives_everything(with_client: With) -> None:
    async def use(client: AsyncClient) -> None:
        found = [n async for n in client.imap_unordered(abs, range(-5000, 0))]
        assert sorted(found) == list(range(1, 5001))

    with_client(use)


def test_a_cancelled_wait_ends_the_iteration(loop: Trio, with_client: With, scheduler: FakeScheduler) -> None:
    async def use(client: AsyncClient) -> None:
        scheduler.paused = True
        results = client.imap(abs, itertools.count())
        await loop.cancel_when(lambda: bool(scheduler.of(m.ArrayBlock)), partial(anext, results))
        scheduler.wait_for(lambda: is_cancelled(scheduler), "a cancel")
        assert [n async for n in results] == []

    with_client(use)


# ----------------------------------------------------------------------------------------------------- cancellation


def test_a_cancelled_wait_for_a_map_cancels_it(loop: Trio, with_client: With, scheduler: FakeScheduler) -> None:
    async def use(client: AsyncClient) -> None:
        scheduler.paused = True
        await loop.cancel_when(lambda: bool(scheduler.of(m.ArrayBlock)), partial(client.map, abs, range(1000)))
        scheduler.wait_for(lambda: is_cancelled(scheduler), "a cancel")
        scheduler.resume()
        assert await client.map(abs, [-1]) == [1]

    with_client(use)


def test_a_map_whose_iterable_stands_still_is_cancelled_too(
    loop: Trio, with_client: With, scheduler: FakeScheduler
) -> None:
    stuck, go_on, given_up = threading.Event(), threading.Event(), threading.Event()

    def rows() -> Iterator[int]:
        try:
            yield 1
            stuck.set()
            go_on.wait(LIMIT_S)
            yield from itertools.count()
        finally:
            given_up.set()  # nobody refers to it any more

    async def use(client: AsyncClient) -> None:
        scheduler.paused = True
        await loop.cancel_when(stuck.is_set, partial(client.map, abs, rows()))
        scheduler.wait_for(lambda: is_cancelled(scheduler), "a cancel, while its thread is stuck")
        go_on.set()

    with_client(use)
    gc.collect()
    wait_until(given_up.is_set, "the thread to give up after its block")


def test_a_cancelled_wait_for_a_task_cancels_it(loop: Trio, with_client: With, scheduler: FakeScheduler) -> None:
    async def use(client: AsyncClient) -> None:
        scheduler.paused = True
        future = client.submit(abs, 1)

        begun: list[bool] = []

        async def wait() -> None:
            begun.append(True)  # asyncio never starts what is cancelled before its first step
            await future

        await loop.cancel_when(lambda: bool(begun and scheduler.of(m.SubmitTasks)), wait)
        assert future.cancelled()
        scheduler.wait_for(lambda: is_cancelled(scheduler), "a cancel")

    with_client(use)


def test_a_task_that_is_cancelled_does_not_cancel_who_waits_for_it(
    loop: Trio, with_client: With, scheduler: FakeScheduler
) -> None:
    async def use(client: AsyncClient) -> None:
        scheduler.paused = True
        future = client.submit(abs, 1)

        async def wait() -> None:
            with pytest.raises(TaskCancelled):
                await future

        async def cancel() -> None:
            assert future.cancel()

        await loop.both(wait, cancel)

    with_client(use)


def test_a_cancelled_wait_for_a_graph_cancels_it(loop: Trio, with_client: With, scheduler: FakeScheduler) -> None:
    async def use(client: AsyncClient) -> None:
        scheduler._on_GraphEnd = lambda peer, message: None  # type: ignore[method-assign]  # it never ends
        call = partial(client.get, {"a": 1, "b": (abs, "a"), "c": (abs, "b")}, ["c"])
        await loop.cancel_when(lambda: bool(scheduler.of(m.GraphEnd)), call)
        scheduler.wait_for(lambda: is_cancelled(scheduler), "a cancel")
        assert {row[1:] for row in scheduler.of(m.CancelTasks)[-1].rows} == {(0, 1)}

    with_client(use)


def test_the_loop_runs_while_a_map_reads_and_waits(loop: Trio, with_client: With) -> None:
    go_on = threading.Event()

    def rows() -> Iterator[int]:
        yield 1
        assert go_on.wait(LIMIT_S), "the loop stood still"
        yield 2

    async def use(client: AsyncClient) -> None:
        async def work() -> None:
            assert await client.map(abs, rows()) == [1, 2]

        async def other() -> None:
            await loop.sleep()
            go_on.set()

        await loop.both(work, other)

    with_client(use)


# -------------------------------------------------------------------------------------------------- beginning and end


def test_a_connection_that_fails_says_why(loop: Trio, scheduler: FakeScheduler) -> None:
    async def use(address: str, token: bytes) -> None:
        async with connect(address, token=token, timeout=0.2):
            raise AssertionError("it is connected")

    with pytest.raises(AuthenticationFailed):
        loop.run(partial(use, scheduler.address, b"another token, as long"))
    with pytest.raises(ConnectionFailed):
        loop.run(partial(use, "tcp://127.0.0.1:1", TOKEN))
    with pytest.raises(ValueError, match="address"):
        loop.run(partial(use, "127.0.0.1", TOKEN))


def test_a_cancelled_connect_leaves_nothing(loop: Trio) -> None:
    before = threads()
    listener = listen(Address("127.0.0.1", 0))  # accepts, and says nothing

    async def open_it() -> None:
        async with connect(str(listener.address), token=TOKEN, timeout=LIMIT_S):
            raise AssertionError("it is connected")

    try:
        loop.run(partial(loop.cancel_when, lambda: threads() != before, open_it))
    finally:
        listener.close()
    assert threads() == before


def test_the_end_of_the_block_cancels_what_is_unfinished(with_client: With, scheduler: FakeScheduler) -> None:
    before = threads()
    kept: list[Any] = []

    async def use(client: AsyncClient) -> None:
        assert "connected" in repr(client)
        assert client.address == scheduler.address
        scheduler.paused = True
        kept.extend([client, *[client.submit(abs, n) for n in range(10)]])

    with_client(use)
    client, *futures = kept
    assert all(future.cancelled() for future in futures)
    assert "closed" in repr(client)
    with pytest.raises(ClientClosed):
        client.submit(abs, 1)
    scheduler.wait_for(lambda: "Goodbye" in scheduler.kinds(), "a goodbye")
    assert threads() == before


def test_a_cancelled_block_is_closed(loop: Trio, scheduler: FakeScheduler) -> None:
    before = threads()

    async def block() -> None:
        async with connect(scheduler.address, token=TOKEN) as client:
            scheduler.paused = True
            await client.submit(abs, 1)

    loop.run(partial(loop.cancel_when, lambda: bool(scheduler.of(m.SubmitTasks)), block))
    scheduler.wait_for(lambda: "Goodbye" in scheduler.kinds(), "a goodbye")
    assert threads() == before


def test_closing_fails_what_waits(loop: Trio, with_client: With, scheduler: FakeScheduler) -> None:
    async def use(client: AsyncClient) -> None:
        scheduler.paused = True

        async def mapped() -> None:
            with pytest.raises(TaskCancelled, match="closed before the task was done"):
                await client.map(abs, range(100))

        async def close() -> None:
            while not scheduler.of(m.ArrayBlock):
                await loop.sleep()
            await client.close()
            await client.close()

        await loop.both(mapped, close)
        with pytest.raises(ClientClosed):
            await client.map(abs, [1])
        with pytest.raises(ClientClosed):
            client.imap(abs, [1])

    with_client(use)


def test_clear_cancels_everything_and_the_client_goes_on(with_client: With, scheduler: FakeScheduler) -> None:
    async def use(client: AsyncClient) -> None:
        scheduler.paused = True
        futures = [client.submit(abs, n) for n in range(10)]
        await client.clear()
        for future in futures:
            with pytest.raises(TaskCancelled, match="clear"):
                await future
        scheduler.resume()
        assert await client.submit(abs, -1) == 1

    with_client(use)


def test_it_does_not_travel(with_client: With) -> None:
    async def use(client: AsyncClient) -> None:
        with pytest.raises(TypeError, match="does not travel"):
            pickle.dumps(client)
        with pytest.raises(CannotPickle, match="positional argument"):
            client.submit(abs, client)

    with_client(use)


def test_results_that_are_here_leave_other_tasks_their_turns(loop: Trio, with_client: With) -> None:
    async def use(client: AsyncClient) -> None:
        turns: list[int] = []
        results = client.imap(abs, range(2000))
        given = 0

        async def other() -> None:
            while given < 2000:
                turns.append(given)
                await loop.turn()

        async def read() -> None:
            nonlocal given
            async for _ in results:
                given += 1

        await loop.both(read, other)
        assert max(b - a for a, b in itertools.pairwise(turns)) <= 128

    with_client(use)
