"""Large arrays through the object storage: equal, shared, private to who writes, and gone when nobody needs them."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaler_trio import Client, ObjectLost, ObjectReference
from tests.kit.processes import OBJECTS, below
from tests.kit.waiting import wait_until

TEN_MILLION = 10_000_000
"""80 MB of float64."""


def total(array: Any) -> float:
    return float(array.sum())


def make(size: int, value: float) -> Any:
    return np.full(size, value)


def overwrite(array: Any) -> tuple[float, bool]:
    array[:] = -1.0
    return float(array.sum()), bool(array.flags.writeable)


def look(array: Any, index: int) -> float:
    return float(array[index])


def combine(first: Any, second: Any, *, scale: Any) -> Any:
    return (first + second) * scale


def memory_files_bytes() -> int:
    """Bytes in memory files of the object storage server of this session's cluster."""
    servers = below(os.getpid(), OBJECTS)
    files = [file for server in servers for file in Path(f"/proc/{server.pid}/fd").iterdir()]
    return sum(os.stat(file).st_blocks * 512 for file in files if "memfd:" in os.readlink(file))


def test_80_megabytes_as_argument_and_as_result(client: Client) -> None:
    array = np.arange(TEN_MILLION, dtype=float)
    assert client.submit(total, array).result() == array.sum()
    result = client.submit(make, TEN_MILLION, 2.5).result()
    assert result.shape == (TEN_MILLION,)
    assert result.dtype == float
    assert (result == 2.5).all()
    result[0] = 1.0  # a result is its receiver's own


def test_a_task_that_writes_to_its_array_changes_nobody_elses(client: Client) -> None:
    array = np.ones(TEN_MILLION // 10)
    reference = client.send_object(array)
    for _ in range(2):
        assert client.submit(overwrite, array).result() == (-array.size, True)
        assert client.submit(overwrite, reference).result() == (-array.size, True)
    assert client.map(total, [array] * 8 + [reference] * 8) == [float(array.size)] * 16
    assert (array == 1.0).all()


def test_a_change_by_the_caller_is_seen_by_the_next_call(client: Client) -> None:
    array = np.zeros(1_000_000)
    assert client.submit(total, array).result() == 0.0
    array[7] = 5.0
    assert client.submit(total, array).result() == 5.0


def test_several_arrays_in_one_call(client: Client) -> None:
    first, second, scale = (np.full(200_000, value) for value in (1.0, 2.0, 3.0))
    result = client.submit(combine, first, second, scale=scale).result()
    assert (result == 9.0).all()
    assert client.starmap(look, [(first, 0), (second, 1), (scale, 2)]) == [1.0, 2.0, 3.0]


def test_one_array_in_many_tasks_is_stored_once(client: Client) -> None:
    array = np.arange(TEN_MILLION, dtype=float)
    started = time.monotonic()
    assert client.submit(look, array, 3).result() == 3.0
    once_s = time.monotonic() - started
    reference = client.send_object(array)
    started = time.monotonic()
    futures = [client.submit(look, reference, index) for index in range(200)]
    assert [future.result() for future in futures] == list(range(200))
    many_s = time.monotonic() - started
    assert many_s < 40 * max(once_s, 0.05), "each task had a copy of its own"


def test_results_that_are_arrays_stay_in_order_in_a_map(client: Client) -> None:
    results = client.starmap(make, [(100_000, float(n)) for n in range(20)])
    assert [result[0] for result in results] == list(range(20))


def test_a_reference_inside_a_structure_and_one_that_is_a_result(client: Client) -> None:
    reference = client.send_object({"weights": np.ones(500_000)}, name="model")
    assert client.submit(lambda job: job["model"]["weights"].sum(), {"model": reference, "n": 1}).result() == 500_000
    assert client.submit(len, [reference, reference]).result() == 2


def test_a_reference_that_was_cleared_is_soon_an_error_which_says_so(client: Client) -> None:
    reference = client.send_object(np.ones(1_000_000))
    assert client.submit(total, reference).result() == 1_000_000
    client.clear()
    error = wait_until(lambda: client.submit(total, reference).exception(timeout=10), "it to be gone")
    assert type(error) is ObjectLost
    assert "is not, or no longer, in the object storage" in str(error)


def test_storage_does_not_grow_with_what_was_stored_and_dropped(client: Client) -> None:
    sizes = []
    for turn in range(12):
        result = client.submit(make, TEN_MILLION, float(turn)).result()
        assert result[0] == turn
        del result
        gc.collect()
        sizes.append(memory_files_bytes())
    # Segments are kept and used again; 12 × 80 MB would be there if none were.
    assert max(sizes) - sizes[0] < 5 * 80_000_000, sizes


def is_lost(client: Client, reference: ObjectReference) -> bool:
    try:
        client.fetch(reference)
    except ObjectLost:
        return True
    return False


def test_a_reference_gives_its_value_back(client: Client) -> None:
    values = np.arange(100_000)
    reference = client.send_object(values)
    fetched = client.fetch(reference)
    assert (fetched == values).all()
    fetched[0] = 7
    assert client.fetch(reference)[0] == 0, "each has a copy of its own"
    client.clear()
    wait_until(lambda: is_lost(client, reference), "the storage to hear of it")
    with pytest.raises(TypeError, match="a reference that send_object"):
        client.fetch(values)  # type: ignore[arg-type]


def test_arguments_may_be_stored_anew(client: Client) -> None:
    values = np.ones(100_000)
    for reserialize in (False, True, True):
        assert client.submit_verbose(np.sum, (values,), reserialize=reserialize).result() == values.sum()
        values[0] += 1
