"""One cluster of two workers for all integrations, which none of the tests harms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scaler_trio import Client, SchedulerClusterCombo


@pytest.fixture(scope="session")
def cluster() -> Iterator[SchedulerClusterCombo]:
    with SchedulerClusterCombo(n_workers=2) as running:
        # All its processes exist before the first test, which would otherwise be blamed for them.
        with Client(running.get_address()) as client:
            client.map(abs, range(100))
        yield running


@pytest.fixture
def client(cluster: SchedulerClusterCombo) -> Iterator[Client]:
    with Client(cluster.get_address()) as connected:
        yield connected
