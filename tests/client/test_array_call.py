"""When the thread of a call of ``map`` is woken: by a session that the test plays."""

from __future__ import annotations

import itertools
import pickle
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from scaler_protocol.messages import DEFAULT_OPTIONS, ArrayResults
from scaler_trio.client.calls.array_call import AHEAD_BYTES, SOON_BYTES, SOON_SLICES, ArrayCall, Steps
from scaler_trio.client.core import events as ev
from scaler_trio.serialization import BlockWriter, Style
from tests.kit.waiting import in_background, wait_until


class FakeSession:
    """Takes what the call sends; nothing comes back by itself."""

    error = None

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.events: list[ev.Event] = []
        self.released: list[bytes] = []

    def handle(self, event: ev.Event) -> None:
        self.events.append(event)

    def cancel(self, numbers: Sequence[int]) -> None:
        self.events.append(ev.TasksCancelled(numbers))

    def release(self, objects: Sequence[bytes]) -> None:
        self.released += objects

    def reader(self) -> Any:
        reader = threading.local()
        reader.ids = {b"object"}
        return reader

    @property
    def blocks(self) -> int:
        return sum(type(event) is ev.BlockAdded for event in self.events)


def results(lo: int, hi: int, value: object = None, objects: tuple[tuple[int, tuple[bytes, ...]], ...] = ()) -> Any:
    payload = pickle.dumps(value, 5)
    lengths = struct.pack(f"<{hi - lo}I", *[len(payload)] * (hi - lo))
    return ArrayResults(1, 1, lo, hi, (), objects, 0.0, lengths, payload * (hi - lo)), [(lo, hi)]


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


def start(call: ArrayCall, rows: Iterator[Any], count: int) -> Any:
    writer = BlockWriter(Style.ONE, None)  # type: ignore[arg-type]  # nothing here is large
    function = ev.Function("f", b"")
    steps = call.steps(function, rows, writer, count=count, options=DEFAULT_OPTIONS, progress=None)
    return in_background(call.run, steps)


def waits(call: ArrayCall) -> bool:
    return bool(call.event._cond._waiters)  # type: ignore[attr-defined]


def test_few_small_slices_do_not_wake_it_and_the_end_does(session: FakeSession) -> None:
    call = ArrayCall(session, "f", return_exceptions=False, timeout_s=None)  # type: ignore[arg-type]
    future = start(call, iter(range(100)), 100)
    wait_until(lambda: waits(call), "the call to wait")
    for row in range(SOON_SLICES - 1):
        call.slice_done(*results(row, row + 1))
    assert waits(call)
    assert not call.event.is_set()
    call.slice_done(*results(SOON_SLICES - 1, SOON_SLICES))
    wait_until(lambda: not call._slices, "all slices to be read")
    call.slice_done(*results(SOON_SLICES, 100))
    call.done(SOON_SLICES + 1)
    assert future.result(10) == [None] * 100


@pytest.mark.parametrize(
    "slice_",
    [
        results(0, 1, b"x" * SOON_BYTES),
        results(0, 1, None, ((0, (b"object",)),)),
    ],
    ids=["large", "stored"],
)
def test_a_large_slice_or_one_with_stored_results_is_read_at_once(session: FakeSession, slice_: Any) -> None:
    call = ArrayCall(session, "f", return_exceptions=False, timeout_s=None)  # type: ignore[arg-type]
    future = start(call, iter(range(2)), 2)
    wait_until(lambda: waits(call), "the call to wait")
    call.slice_done(*slice_)
    wait_until(lambda: call._finished == 1, "the slice to be read")
    call.slice_done(*results(1, 2))
    call.done(2)
    assert len(future.result(10)) == 2


def test_room_that_comes_just_before_it_waits_is_not_missed(session: FakeSession) -> None:
    """As if the link thread ran between the look at what is unsent and the wait."""

    class Raced(ArrayCall):
        def _wait(self) -> Steps:
            if self._unsent_bytes > AHEAD_BYTES:
                self.progress(AHEAD_BYTES)
            return super()._wait()

    call = Raced(session, "f", return_exceptions=False, timeout_s=None)  # type: ignore[arg-type]
    call.progress(AHEAD_BYTES + 1)
    future = start(call, iter(range(1000)), 1000)
    wait_until(lambda: ev.ArrayEnded in map(type, session.events), "all to be sent")
    assert session.blocks > 1
    call.slice_done(*results(0, 1000))
    call.done(1)
    assert future.result(10) == [None] * 1000


def test_an_end_that_overtakes_the_last_slice_waits_for_it(session: FakeSession) -> None:
    """As when the thread of the call carries out the end while the link thread is about to hand over the slice."""
    call = ArrayCall(session, "f", return_exceptions=False, timeout_s=None)  # type: ignore[arg-type]
    future = start(call, iter(range(2)), 2)
    wait_until(lambda: waits(call), "the call to wait")
    call.slice_done(*results(0, 1))
    call.done(2)
    assert waits(call)
    assert not future.done()
    call.slice_done(*results(1, 2))
    assert future.result(10) == [None] * 2
