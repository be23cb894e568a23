"""A user's own serializer, for every way in and out."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

from scaler_trio import CannotPickle, CannotUnpickle, Client, SchedulerClusterCombo, node

MARK = b"zip:"


class Zip:
    """Its bytes are recognisable, and it refuses what it is told to."""

    def serialize(self, obj: Any) -> bytes:
        if obj == "refuse me":
            raise ValueError("not this one")
        return MARK + zlib.compress(cloudpickle.dumps(obj))

    def deserialize(self, payload: bytes) -> Any:
        assert payload.startswith(MARK)
        value = cloudpickle.loads(zlib.decompress(payload[len(MARK) :]))
        if value == "does not load":
            raise ValueError("cannot be read")
        return value


class Plain:
    """As cloudpickle, but without buffers beside the pickle."""

    def serialize(self, obj: Any) -> bytes:
        return cloudpickle.dumps(obj)  # type: ignore[no-any-return]

    def deserialize(self, payload: bytes) -> Any:
        return cloudpickle.loads(payload)


def join(*values: Any, sep: str = "-") -> str:
    return sep.join(map(str, values))


def through(client: Client, value: int) -> list[int]:
    return client.map(lambda n: -n, [value])


@pytest.fixture
def zipped(cluster: SchedulerClusterCombo) -> Iterator[Client]:
    with Client(cluster.get_address(), serializer=Zip()) as client:
        yield client


def test_calls_and_maps_go_through_it(zipped: Client) -> None:
    assert zipped.submit(join, 1, 2, sep="+").result() == "1+2"
    assert zipped.submit(lambda text: text * 100_000, "ab").result() == "ab" * 100_000
    assert zipped.map(join, ["a", "b"], [1, 2]) == ["a-1", "b-2"]
    assert zipped.map(abs, range(-300, 0)) == list(range(300, 0, -1))
    assert zipped.starmap(join, [(1,), (2, 3)]) == ["1", "2-3"]
    assert list(zipped.imap(abs, (-1, -2))) == [1, 2]
    assert zipped.map(abs, []) == []


def test_graphs_and_objects_go_through_it(zipped: Client) -> None:
    graph = {"a": "x", "b": (join, "a", 1), "c": node(join, ["a", "b"], "b", sep="s"), "s": "/"}
    assert zipped.get(graph, ["c", "a", "b"]) == {"c": "['x', 'x-1']/x-1", "a": "x", "b": "x-1"}
    reference = zipped.send_object({"large": "y" * 200_000})
    assert zipped.submit(len, reference).result() == 1
    assert zipped.fetch(reference) == {"large": "y" * 200_000}


def send_through(zipped: Client, size: int) -> None:
    data = os.urandom(size)  # too large for a message, also when it is compressed
    assert zipped.submit(bytes.swapcase, data).result(60) == data.swapcase()
    assert zipped.map(len, [data, data[1:]]) == [size, size - 1]
    assert zipped.get({"a": data, "b": (bytes.swapcase, "a"), "c": (len, "b")}, ["b", "c"])["c"] == size
    reference = zipped.send_object(data)
    assert zipped.submit(len, reference).result(60) == size
    assert zipped.fetch(reference) == data


def test_large_values_go_through_it_and_the_storage(zipped: Client) -> None:
    send_through(zipped, 3_000_000)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)
def test_500_megabytes_go_through_it_and_the_storage() -> None:
    with SchedulerClusterCombo(n_workers=1, object_memory_bytes=4_000_000_000) as cluster:
        with Client(cluster.get_address(), serializer=Plain()) as client:
            data = bytes(500_000_000)
            assert client.submit(len, data).result(100) == len(data)
            assert client.submit(bytes, 500_000_000).result(100) == data


def test_exceptions_are_themselves(zipped: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        zipped.submit(divmod, 1, 0).result()
    first, second = zipped.map(lambda n: 1 // n, [1, 0], return_exceptions=True)
    assert first == 1 and isinstance(second, ZeroDivisionError)


def test_what_it_refuses_is_named(zipped: Client) -> None:
    with pytest.raises(
        CannotPickle, match="the serializer Zip cannot take a value of type str: ValueError: not this one"
    ):
        zipped.submit(join, "refuse me")
    with pytest.raises(CannotPickle, match="node 'b': the serializer Zip"):
        zipped.get({"a": 1, "b": "refuse me", "c": (join, "a", "b")}, ["c"])
    with pytest.raises(CannotUnpickle, match="the serializer Zip cannot load a result here"):
        zipped.submit(join, "does not", "load", sep=" ").result()
    assert zipped.submit(join, 1).result() == "1"


def test_a_client_that_is_an_argument_keeps_it(zipped: Client) -> None:
    assert zipped.submit(through, zipped, 4).result(20) == [-4]


@pytest.mark.parametrize("how", ["map", "starmap", "imap"])
def test_an_item_that_it_refuses_fails_alone(zipped: Client, how: str) -> None:
    items: list[Any] = ["a", "refuse me", "does not load", "b"]
    rows = [(item,) for item in items] if how == "starmap" else items
    found = list(getattr(zipped, how)(lambda item: item * 2 if len(item) == 1 else item, rows, return_exceptions=True))
    assert (found[0], found[3]) == ("aa", "bb")
    assert isinstance(found[1], CannotPickle)
    assert "not this one" in str(found[1])
    assert isinstance(found[2], Exception)
    with pytest.raises(CannotPickle, match="not this one"):
        list(getattr(zipped, how)(str, rows))


@pytest.mark.parametrize("how", ["map", "imap"])
def test_a_result_that_does_not_load_fails_alone(zipped: Client, how: str) -> None:
    def make(number: int) -> Any:
        return number if number != 2 else "does not" + " load"

    found = list(getattr(zipped, how)(make, [1, 2, 3], return_exceptions=True))
    assert (found[0], found[2]) == (1, 3)
    assert isinstance(found[1], CannotUnpickle)
    with pytest.raises(CannotUnpickle) as raised:
        list(getattr(zipped, how)(make, [1, 2, 3]))
    assert any("item 1 of " in note for note in raised.value.__notes__)


def test_a_reference_inside_an_argument_is_refused(zipped: Client) -> None:
    reference = zipped.send_object([1, 2, 3])
    assert zipped.submit(sum, reference).result() == 6
    with pytest.raises(CannotPickle, match="has an object reference inside"):
        zipped.submit(len, [reference])
    with pytest.raises(CannotPickle, match="has an object reference inside"):
        zipped.map(len, [[reference]])
    with pytest.raises(CannotPickle, match="has an object reference inside"):
        zipped.send_object({"a": reference})
