"""An agent's cache, between processors and a real server to which it has only TCP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from scaler_protocol import Role
from scaler_trio.net import Address
from scaler_trio.objects import ObjectMissing, ObjectStoreError
from scaler_trio.objects.access import ObjectAccess
from scaler_trio.objects.cache import ObjectCacheSettings, open_object_cache
from tests.objects.serving import MIB, TOKEN, Scheduler, Server, running_server

T = TypeVar("T")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(memory_bytes=64 * MIB, spill_bytes=0, spill_directory=tmp_path) as server:
        yield server


def settings(server: Server, memory_bytes: int = 16 * MIB) -> ObjectCacheSettings:
    return ObjectCacheSettings(Address.parse(server.address), memory_bytes, TOKEN)


def processor(address: str) -> ObjectAccess:
    return ObjectAccess(address, TOKEN, os.urandom(16), Role.PROCESSOR)


async def in_thread(action: Callable[[], T]) -> T:
    with trio.fail_after(30):
        return await trio.to_thread.run_sync(action)


@pytest.mark.parametrize("size", [0, 10, 5 * MIB])
async def test_an_object_of_the_server_is_fetched_once_and_then_mapped_from_the_cache(
    server: Server, size: int
) -> None:
    client, scheduler = server.access(), Scheduler(server)
    data = os.urandom(size)
    written = client.write([data], size)
    async with open_object_cache(settings(server)) as address:
        readers = [processor(address) for _ in range(3)]
        views: list[memoryview] = []

        async def read(reader: ObjectAccess) -> None:
            views.append(await in_thread(lambda: reader.read(written)))

        async with trio.open_nursery() as nursery:
            for reader in readers:
                nursery.start_soon(read, reader)
        scheduler.delete(written)
        scheduler.sync()
        await read(readers[0])
        assert [bytes(view) for view in views] == [data] * 4
        assert all(reader.is_local for reader in readers)
        for reader in readers:
            reader.close()
    client.close()
    scheduler.lane.close()


@pytest.mark.parametrize("size", [0, 10, 5 * MIB])
async def test_what_a_processor_writes_is_with_the_server_when_it_is_stored(server: Server, size: int) -> None:
    client = server.access()
    data = os.urandom(size)
    async with open_object_cache(settings(server)) as address:
        writer = processor(address)
        written = await in_thread(lambda: writer.write([data], size))
        assert client.read(written) == data
        client.close()
        server.kill()
        assert await in_thread(lambda: writer.read(written)) == data  # and in the cache
        writer.close()


async def test_the_cache_drops_its_oldest_objects_and_fetches_them_again(server: Server) -> None:
    client = server.access()
    data = [os.urandom(4 * MIB) for _ in range(8)]
    written = [client.write([each], len(each)) for each in data]
    async with open_object_cache(settings(server)) as address:
        reader = processor(address)
        for _ in range(2):
            for each, expected in zip(written, data, strict=True):
                assert await in_thread(lambda each=each: reader.read(each)) == expected  # type: ignore[misc]
        reader.close()
    client.close()


async def test_what_the_server_does_not_have_is_missing(server: Server) -> None:
    async with open_object_cache(settings(server)) as address:
        reader = processor(address)
        for _ in range(2):
            with pytest.raises(ObjectMissing, match="object 78787878 is not, or no longer"):
                await in_thread(lambda: reader.read(b"x" * 24))
        reader.close()


async def test_a_server_that_is_gone_is_an_error_with_its_address(server: Server) -> None:
    async with open_object_cache(settings(server)) as address:
        access = processor(address)
        written = await in_thread(lambda: access.write([b"x"], 1))
        server.kill()
        with pytest.raises(ObjectStoreError, match=f"no objects listens at {server.address}"):
            await in_thread(lambda: access.read(b"y" * 24))
        with pytest.raises(ObjectStoreError, match=r"connection|no objects listens"):
            await in_thread(lambda: access.write([b"x"], 1))
        assert await in_thread(lambda: access.read(written)) == b"x"
        access.close()


async def test_a_processor_with_a_wrong_token_is_refused(server: Server) -> None:
    async with open_object_cache(settings(server)) as address:
        access = ObjectAccess(address, b"another token, and wrong", os.urandom(16), Role.PROCESSOR)
        with pytest.raises(ObjectStoreError, match="wrong token"):
            await in_thread(lambda: access.read(b"y" * 24))
        access.close()
