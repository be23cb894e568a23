"""Large arguments that live no longer than it takes to pickle them, or that their own call's later ones evict."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from scaler_trio import Client, SchedulerClusterCombo

MEBIBYTE = 131_072
"""Numbers of eight bytes."""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with SchedulerClusterCombo(n_workers=2, object_memory_bytes=2_000_000_000) as cluster:
        with Client(cluster.get_address()) as connected:
            yield connected


def first(array: np.ndarray) -> float:
    return float(array[0])


def firsts(*arrays: np.ndarray) -> list[float]:
    return [float(array[0]) for array in arrays]


def fresh(count: int, mebibytes: int = 1) -> Iterator[np.ndarray]:
    return (np.full(mebibytes * MEBIBYTE, number, dtype="f8") for number in range(count))


def test_a_generator_of_large_arrays_is_mapped(client: Client) -> None:
    assert client.map(first, fresh(100)) == list(range(100))
    assert list(client.imap(first, fresh(100))) == list(range(100))


def test_more_arrays_than_the_client_remembers_are_mapped(client: Client) -> None:
    assert client.map(first, list(fresh(64, mebibytes=8))) == list(range(64))


def test_arguments_that_evict_each_other_reach_their_task(client: Client) -> None:
    x, y, z = fresh(3, mebibytes=100)
    assert client.submit(firsts, x).result(60) == [0]
    assert client.submit(firsts, x, y, z).result(60) == [0, 1, 2]


def test_references_that_live_no_longer_than_their_row_are_good(client: Client) -> None:
    assert client.map(first, (client.send_object(array) for array in fresh(50))) == list(range(50))


def test_bytes_that_many_rows_share_are_kept_for_the_whole_call(client: Client) -> None:
    shared = [bytes(200_000), bytes(300_000)]
    assert client.map(len, shared * 1_000) == [200_000, 300_000] * 1_000
