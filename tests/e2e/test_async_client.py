"""`AsyncClient` with a real cluster: many at once, cancel scopes, large values, an asyncio program."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import trio

from scaler_trio import AsyncClient, Client, SchedulerClusterCombo, connect
from tests.kit.waiting import wait_until


def square(value: int) -> int:
    return value * value


def touch_and_sleep(path: Path) -> None:
    path.touch()
    time.sleep(0.1)


def test_five_hundred_tasks_of_trio_each_await_one_of_ours(cluster: SchedulerClusterCombo) -> None:
    found: dict[int, int] = {}

    async def one(client: AsyncClient, number: int) -> None:
        found[number] = await client.submit(square, number)

    async def main() -> None:
        async with connect(cluster.get_address()) as client, trio.open_nursery() as nursery:
            for number in range(500):
                nursery.start_soon(one, client, number)

    trio.run(main)
    assert found == {n: n * n for n in range(500)}


def test_an_asyncio_program_gathers_calls_of_every_kind(cluster: SchedulerClusterCombo) -> None:
    async def main() -> None:
        async with connect(cluster.get_address()) as client:
            singles = await asyncio.gather(*[client.submit(square, n) for n in range(500)])
            assert singles == [n * n for n in range(500)]
            mapped, graph, lazy = await asyncio.gather(
                client.map(square, range(20_000)),
                client.get({"a": 3, "b": (square, "a")}, ["b"]),
                collect(client),
            )
            assert mapped == [n * n for n in range(20_000)]
            assert graph == {"b": 9}
            assert lazy == mapped[:5000]

    async def collect(client: AsyncClient) -> list[int]:
        return [value async for value in client.imap(square, range(5000))]

    asyncio.run(main())


def test_large_values_are_loaded_beside_the_loop(cluster: SchedulerClusterCombo) -> None:
    async def main() -> None:
        array = np.arange(500_000, dtype=float)
        async with connect(cluster.get_address()) as client:
            reference = await client.send_object(array)
            assert (await client.submit(np.negative, reference) == -array).all()
            assert (await client.fetch(reference) == array).all()
            assert [len(a) for a in await client.map(np.negative, [array] * 3)] == [500_000] * 3

    trio.run(main)
    asyncio.run(main())


def test_a_cancel_scope_around_a_map_stops_its_tasks(
    cluster: SchedulerClusterCombo, client: Client, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"

    async def main() -> float:
        async with connect(cluster.get_address()) as connected:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connected.map, touch_and_sleep, [trace] * 10_000)
                while not trace.exists():  # noqa: ASYNC110 - another process makes it
                    await trio.sleep(0.01)
                started = time.perf_counter()
                nursery.cancel_scope.cancel()
            return time.perf_counter() - started

    assert trio.run(main) < 0.5
    wait_until(lambda: client.submit(square, 3).result(5) == 9, "a worker for others")
    trace.unlink()
    assert client.map(abs, range(-10, 0)) == list(range(10, 0, -1))
    assert not trace.exists(), "the map goes on"


def test_leaving_the_block_cancels_work_that_is_pending(cluster: SchedulerClusterCombo, client: Client) -> None:
    async def main() -> float:
        async with connect(cluster.get_address()) as connected:
            futures = [connected.submit(time.sleep, 30) for _ in range(500)]
            started = time.perf_counter()
        assert all(future.cancelled() for future in futures)
        return time.perf_counter() - started

    for seconds in (trio.run(main), asyncio.run(main())):
        assert seconds < 0.5
    assert client.submit(square, 2).result(5) == 4


class SlowToPickle:
    """A function of which the pickling takes a second; running it leaves a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        time.sleep(1)
        return SlowToPickle, (self.path,)

    def __call__(self) -> None:
        Path(self.path).touch()


def test_a_graph_that_is_cancelled_while_it_is_pickled_is_not_run(
    cluster: SchedulerClusterCombo, tmp_path: Path
) -> None:
    async def main() -> None:
        async with connect(cluster.get_address()) as client:
            with trio.move_on_after(0.3) as scope:
                await client.get({"n": (SlowToPickle(str(tmp_path / "ran")),)}, ["n"])
            assert scope.cancelled_caught
            await trio.sleep(1)  # until it has been pickled
            await client.map(abs, range(100))

    trio.run(main)
    assert not (tmp_path / "ran").exists()
