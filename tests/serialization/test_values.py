"""Values, objects and references: what is small travels inline, what is large is stored once."""

from __future__ import annotations

import struct
import threading
from typing import Any

import numpy as np
import pytest

from scaler_protocol.limits import INLINE_PAYLOAD_BYTES
from scaler_trio.serialization import (
    CannotPickle,
    CannotUnpickle,
    Input,
    ObjectReference,
    Stored,
    dump_call,
    dump_result,
    load_object,
    load_result,
    load_row,
    write_object,
)
from tests.serialization.store import Full, Gone, MemoryStore, Unloadable, Unpicklable

PLAIN_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1 << 62, 1 << 63, -(1 << 63), 1 << 4000, 3.5, float("inf"), "", "text", "ü\ud800"),
    *(b"", b"bytes", "x" * 20_000, b"x" * 65_000),
]


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize("value", PLAIN_VALUES, ids=lambda value: f"{type(value).__name__}-{str(value)[:10]!r}")
def test_plain_values_come_back_as_they_are(value: Any) -> None:
    store = MemoryStore()
    payload, objects = dump_result(value, store)
    assert same(load_result(payload, store), value)
    assert (objects, store.objects) == ((), {})
    assert len(payload) <= INLINE_PAYLOAD_BYTES


def test_subclasses_of_plain_types_keep_their_type() -> None:
    class Number(int):
        pass

    assert type(load_result(dump_result(Number(5), MemoryStore()).payload, None)).__name__ == "Number"


LARGE_VALUES: dict[str, Any] = {
    "int": 1 << (8 * 70_000),
    "str": "x" * 70_000,
    "bytes": b"x" * 70_000,
    "list": [float(i) for i in range(10_000)],
}


@pytest.mark.parametrize("kind", LARGE_VALUES)
def test_what_is_too_large_becomes_an_object(kind: str) -> None:
    store, big = MemoryStore(), LARGE_VALUES[kind]
    payload, objects = dump_result(big, store)
    assert len(payload) < 200
    assert list(store.objects) == list(objects)
    assert store.values == [big], "the sink learns which value it is"
    assert load_result(payload, store) == big


ARRAYS = {
    "small": np.arange(10),
    "of 40 KB, between a part of its own and an object": np.arange(5_000, dtype=np.int64),
    "large": np.arange(100_000, dtype=np.float64),
    "in Fortran order": np.asfortranarray(np.arange(60_000.0).reshape(200, 300)),
    "not contiguous": np.arange(200_000.0)[::2],
    "not contiguous in two dimensions": np.arange(90_000.0).reshape(300, 300)[::2, 5:250],
    "of objects": np.array([{"a": 1}, None, "x"] * 5, dtype=object),
    "structured": np.zeros(30_000, dtype=[("x", "f8"), ("y", "i4")]),
    "empty": np.empty((0, 5)),
    "read-only": np.broadcast_to(np.arange(3.0), (4, 3)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_equal_and_writable(name: str) -> None:
    store, array = MemoryStore(), ARRAYS[name]
    payload, objects = dump_result(array, store)
    assert bool(objects) == (array.nbytes > INLINE_PAYLOAD_BYTES)
    loaded = load_result(payload, store)
    assert loaded.dtype == array.dtype
    assert np.array_equal(loaded, array)
    if array.flags.writeable:
        assert loaded.flags.writeable
    assert len(payload) <= INLINE_PAYLOAD_BYTES


def test_the_buffers_of_an_object_are_aligned_and_not_copied_into_its_pickle() -> None:
    store = MemoryStore()
    arrays = {"a": np.arange(50_000, dtype=np.uint8), "b": np.arange(30_001, dtype=np.uint8), "c": b"tail"}
    object_id, size = write_object(arrays, store)
    data = store.objects[object_id]
    assert len(data) == size
    count, pickle_size = struct.unpack_from("<II", data)
    sizes = struct.unpack_from(f"<{count}Q", data, 8)
    assert (count, sizes) == (2, (50_000, 30_001))
    assert pickle_size < 500
    at = 8 + 8 * count + pickle_size
    for buffer_size, array in zip(sizes, (arrays["a"], arrays["b"]), strict=True):
        at += -at % 64
        assert data[at : at + buffer_size] == bytes(array)
        at += buffer_size
    assert at == len(data)
    view = memoryview(bytearray(data))
    loaded = load_object(view)
    loaded["a"][0] = 77
    assert 77 in view[64:], "arrays are views of the object"


def test_a_small_value_may_be_stored_too() -> None:
    store = MemoryStore()
    object_id, _ = write_object({"x": 1}, store)
    assert load_object(store.read(object_id)) == {"x": 1}


# ---------------------------------------------------------------------------------------------------------- references


def reference(store: MemoryStore, value: Any) -> ObjectReference:
    object_id, size = write_object(value, store)
    return ObjectReference(object_id, size, "name")


def test_a_reference_in_an_argument_becomes_its_value() -> None:
    store = MemoryStore()
    shared = reference(store, [1, 2, 3])
    payload, objects = dump_call((shared, {"deep": [shared]}), {"named": shared}, store)
    assert objects == (shared.object_id,)
    (first, deep), kwargs = load_row(payload, store)
    assert first == deep["deep"][0] == kwargs["named"] == [1, 2, 3]
    assert first is deep["deep"][0], "one object per load"
    assert store.reads == 1


def test_a_reference_beside_an_array_of_middling_size_becomes_its_value() -> None:
    store = MemoryStore()
    shared = reference(store, "shared")
    payload, objects = dump_call((shared, np.arange(5_000)), {}, store)
    assert objects == (shared.object_id,)
    assert load_row(payload, store)[0][0] == "shared"


def test_a_reference_in_a_result_stays_a_reference() -> None:
    store = MemoryStore()
    shared = reference(store, [1, 2, 3])
    payload, objects = dump_result({"it": shared}, store)
    assert objects == (shared.object_id,)
    assert load_result(payload, store) == {"it": shared}


def test_a_large_argument_with_a_reference_names_both() -> None:
    store = MemoryStore()
    shared = reference(store, "shared")
    payload, objects = dump_call(([shared, np.arange(100_000)],), {}, store)
    assert set(objects) == set(store.objects)
    assert load_row(payload, store)[0][0][0] == "shared"


def test_the_same_large_argument_twice_is_one_object() -> None:
    store = MemoryStore()
    array = np.arange(100_000)
    payload, objects = dump_call((array, array), {"again": array, "small": 5}, store)
    assert len(objects) == len(store.objects) == 1
    (first, second), kwargs = load_row(payload, store)
    assert np.array_equal(first, array)
    assert first is second is kwargs["again"]
    assert kwargs["small"] == 5


def test_many_arguments_of_middling_size_are_stored_together() -> None:
    store = MemoryStore()
    args = tuple([bytes([i]) * 30_000 for i in range(10)])
    payload, _ = dump_call(args, {}, store)
    assert len(payload) <= INLINE_PAYLOAD_BYTES
    assert load_row(payload, store)[0] == args


def test_a_node_takes_the_results_of_others() -> None:
    store = MemoryStore()
    payload, objects = dump_call((Input(1), [Input(0)]), {"x": Input(1)}, store)
    large = dump_result(np.arange(100_000), store)
    inputs = [dump_result("zero", store).payload, large.payload]
    (one, zero), kwargs = load_row(payload, store, inputs)
    assert objects == ()
    assert zero == ["zero"]
    assert np.array_equal(one, kwargs["x"])


def test_placeholders_outside_of_a_task_say_so() -> None:
    with pytest.raises(CannotUnpickle, match="outside a task or client"):
        load_result(dump_result(Stored(bytes(24)), MemoryStore()).payload, None)


def test_what_the_storage_raises_passes_unchanged() -> None:
    store = MemoryStore()
    payload, (object_id,) = dump_result(b"x" * 100_000, store)
    del store.objects[object_id]
    with pytest.raises(Gone):
        load_result(payload, store)
    store.is_full = True
    with pytest.raises(Full):
        dump_result(b"x" * 100_000, store)
    with pytest.raises(Full):
        dump_call((b"x" * 100_000,), {}, store)


# -------------------------------------------------------------------------------------------------------------- errors


def test_a_result_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(
        CannotPickle, match="the result, of type Unpicklable, cannot be pickled: ZeroDivisionError: never"
    ):
        dump_result(Unpicklable(), MemoryStore())
    with pytest.raises(CannotPickle, match="the result, of type list, cannot be pickled"):
        dump_result([threading.Lock()], MemoryStore())


def test_a_result_that_is_nested_too_deep_is_named() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(CannotPickle, match=r"of type list, .*recursion"):
        dump_result(deep, MemoryStore())
    while deep:
        deep = deep.pop()


def test_a_result_that_cannot_be_loaded_says_why() -> None:
    payload = dump_result(Unloadable(), MemoryStore()).payload
    with pytest.raises(CannotUnpickle, match="the result cannot be unpickled here: OSError: not here"):
        load_result(payload, None)
    with pytest.raises(CannotUnpickle, match="the result cannot be unpickled"):
        load_result(b"rubbish", None)


def test_the_pickler_works_on_after_a_failure() -> None:
    store = MemoryStore()
    for _ in range(3):
        with pytest.raises(CannotPickle):
            dump_result([1, Unpicklable()], store)
        assert load_result(dump_result({"a": [1]}, store).payload, store) == {"a": [1]}


class DumpsItself:
    """Its own pickling pickles something else, as a value that caches its pickle does."""

    def __init__(self, store: MemoryStore, value: Any) -> None:
        self.store = store
        self.value = value

    def __reduce__(self) -> Any:
        return load_result, (dump_result(self.value, self.store).payload, None)


def test_a_dump_within_a_dump_disturbs_neither() -> None:
    store = MemoryStore()
    shared = reference(store, "shared")
    inner = DumpsItself(store, {"inner": [1, 2]})
    payload, objects = dump_call((shared, inner, shared), {}, store)
    assert objects == (shared.object_id,)
    assert load_row(payload, store)[0] == ("shared", {"inner": [1, 2]}, "shared")


def test_results_of_one_dump_do_not_share_the_memory_of_another() -> None:
    store = MemoryStore()
    value = ["same"]
    first, second = dump_result([value, value], store), dump_result(value, store)
    assert load_result(second.payload, store) == ["same"]
    one, two = load_result(first.payload, store)
    assert one is two


def test_threads_do_not_disturb_each_other() -> None:
    store = MemoryStore()
    shared = reference(store, "shared")
    wrong: list[Any] = []

    def work(number: int) -> None:
        for i in range(300):
            payload, objects = dump_call((number, i, shared, [number] * 50), {}, store)
            loaded = load_row(payload, store)
            if loaded != ((number, i, "shared", [number] * 50), {}) or objects != (shared.object_id,):
                wrong.append(loaded)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
