"""Settings of the client's tests: a fake scheduler over real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scaler_trio.client import Client
from tests.client.fake_scheduler import TOKEN, FakeScheduler


@pytest.fixture
def scheduler() -> Iterator[FakeScheduler]:
    with FakeScheduler() as running:
        yield running


@pytest.fixture
def client(scheduler: FakeScheduler) -> Iterator[Client]:
    with Client(scheduler.address, token=TOKEN) as connected:
        yield connected
