"""Large arguments: what is written, what is found again, what is let go; against a storage in memory."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from scaler_trio.client.core import events as ev
from scaler_trio.client.session.objects import CallObjects, ClientObjects, Reader
from scaler_trio.client.session.pins import Pins
from scaler_trio.errors import ObjectLost, ObjectStorageFailed
from scaler_trio.objects.errors import ObjectMissing, ObjectStoreFull
from scaler_trio.serialization import Style, dump_row, load_row, write_object

SIZE = 100_000


class MemoryAccess:
    """Stands for `ObjectAccess`."""

    def __init__(self) -> None:
        self.stored: dict[bytes, bytes] = {}
        self.full = False
        self.reads = 0
        self.closed = False

    def write(self, parts: Sequence[Any], size_bytes: int) -> bytes:
        if self.full:
            raise ObjectStoreFull("no room: 10 of 10 bytes are in use")
        object_id = len(self.stored).to_bytes(24, "big")
        self.stored[object_id] = b"".join(parts)
        assert len(self.stored[object_id]) == size_bytes
        return object_id

    def read(self, object_id: bytes) -> memoryview:
        self.reads += 1
        if object_id not in self.stored:
            raise ObjectMissing("it is gone")
        return memoryview(bytearray(self.stored[object_id]))

    def close(self) -> None:
        self.closed = True


class FakeSession:
    """Records what a session would be told."""

    token = None

    def __init__(self) -> None:
        self.pins = Pins()
        self.held: dict[bytes, int] = {}
        self.released: list[bytes] = []

    def handle(self, event: Any) -> None:
        assert isinstance(event, ev.ObjectsHeld)
        self.held.update(event.rows)

    def release(self, objects: Sequence[bytes]) -> None:
        self.released += objects


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def access() -> MemoryAccess:
    return MemoryAccess()


def make(session: FakeSession, access: MemoryAccess, cache_bytes: int = 10 * SIZE) -> ClientObjects:
    objects = ClientObjects(session, b"i" * 16, cache_bytes)  # type: ignore[arg-type]
    objects._access = access  # type: ignore[assignment]
    return objects


def array(value: int = 0) -> np.ndarray:
    return np.full(SIZE, value, dtype=np.uint8)


def test_an_argument_met_again_is_not_written_again(session: FakeSession, access: MemoryAccess) -> None:
    objects = make(session, access)
    mine = array(1)
    first = dump_row(mine, Style.ONE, objects)
    assert dump_row(mine, Style.ONE, objects) == first
    assert len(access.stored) == 1
    assert list(session.held) == list(first.objects)
    assert (load_row(first.payload, objects) == mine).all()


def test_one_that_was_changed_in_place_is(session: FakeSession, access: MemoryAccess) -> None:
    objects = make(session, access)
    mine = array(1)
    first = dump_row(mine, Style.ONE, objects)
    mine[-1] = 7
    second = dump_row(mine, Style.ONE, objects)
    assert second.objects != first.objects
    assert load_row(second.payload, objects)[-1] == 7
    assert load_row(first.payload, objects)[-1] == 1
    assert session.released == list(first.objects)


def test_an_equal_array_at_the_same_address_is_compared_too(session: FakeSession, access: MemoryAccess) -> None:
    objects = make(session, access)
    for value in range(20):  # arrays come and go, addresses are used again
        dumped = dump_row(array(value), Style.ONE, objects)
        assert load_row(dumped.payload, objects)[0] == value
        gc.collect()
    assert len(session.released) == 20, "what is garbage is released"


def test_within_a_call_over_containers_nothing_is_compared(session: FakeSession, access: MemoryAccess) -> None:
    objects = CallObjects(make(session, access))
    mine = array(1)
    rows = [dump_row((mine, i), Style.STAR, objects) for i in range(50)]
    assert len(access.stored) == 1
    assert access.reads == 0
    assert {row.objects for row in rows} == {rows[0].objects}


def test_what_has_no_identity_over_calls_is_written_again_and_not_kept(
    session: FakeSession, access: MemoryAccess
) -> None:
    objects = make(session, access)
    text = "x" * SIZE
    dump_row(text, Style.ONE, objects)
    dump_row(text, Style.ONE, objects)
    assert len(access.stored) == 2
    assert session.held == {}


def test_the_cache_is_bounded_and_lets_the_longest_unused_go(session: FakeSession, access: MemoryAccess) -> None:
    objects = make(session, access, cache_bytes=int(2.5 * SIZE))
    kept = [array(i) for i in range(3)]
    ids = [dump_row(kept[i], Style.ONE, objects).objects[0] for i in (0, 1, 0, 2)]
    assert session.released == [ids[1]]


def test_an_object_that_the_storage_lost_is_written_again(session: FakeSession, access: MemoryAccess) -> None:
    objects = make(session, access)
    mine = array(1)
    first = dump_row(mine, Style.ONE, objects)
    access.stored[bytes(24)] = access.stored.pop(first.objects[0])
    access.stored = {b"other": b""}
    second = dump_row(mine, Style.ONE, objects)
    assert second.objects[0] in access.stored


def test_no_storage_and_no_room_and_a_lost_object_are_told_apart(session: FakeSession, access: MemoryAccess) -> None:
    nowhere = ClientObjects(session, b"i" * 16)  # type: ignore[arg-type]
    with pytest.raises(ObjectStorageFailed, match=r"needs an object storage server.*the scheduler has none"):
        write_object(array(), nowhere)
    objects = make(session, access)
    access.full = True
    with pytest.raises(ObjectStorageFailed, match="10 of 10 bytes"):
        write_object(array(), objects)
    with pytest.raises(ObjectLost, match="it is gone"):
        objects.read(bytes(24))


def test_a_reader_knows_what_was_read(session: FakeSession, access: MemoryAccess) -> None:
    objects = make(session, access)
    dumped = dump_row([array(1), "small"], Style.ONE, objects)
    reader = Reader(objects)
    load_row(dumped.payload, reader)
    assert reader.ids == set(dumped.objects)


def test_another_storage_begins_with_an_empty_cache(session: FakeSession, access: MemoryAccess) -> None:
    objects = make(session, access)
    mine = array()
    dump_row(mine, Style.ONE, objects)
    objects.set_address("tcp://127.0.0.1:1")
    assert access.closed
    assert objects.forget() == []
