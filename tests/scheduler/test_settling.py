"""When a worker hears that it may forget results: with whatever else it is told, at a number, or after a time."""

from __future__ import annotations

import pytest

from scaler_protocol import messages as m
from scaler_protocol.messages import ReturnReason
from scaler_trio.scheduler.core.core import SETTLED_BYTES, SETTLED_ROWS
from scaler_trio.scheduler.core.errors import InternalError
from tests.kit.scheduler import Bench, FakeClient, FakeWorker, u32


def acknowledged(client: FakeClient, worker: FakeWorker, tasks: int = 1) -> list[int]:
    """So many tasks are run, their results acknowledged in one message, and nothing is left to do: their attempts."""
    client.submit(*[b"x"] * tasks)
    attempts = []
    while given := worker.take_tasks():
        attempts += [task[0] for task in given]
        worker.finish(*given)
        worker.take(m.Settled)
    client.take_results()
    return attempts


def test_with_nothing_else_to_say_a_worker_is_told_after_a_time(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (attempt,) = acknowledged(client, worker)
    assert bench.core.next_deadline() == bench.now + bench.tuning.settle_s
    bench.advance(bench.tuning.settle_s * 0.99)
    assert worker.take(m.Settled) == []
    bench.advance(bench.tuning.settle_s * 0.02)
    assert worker.take(m.Settled) == [m.Settled((attempt,))]
    assert bench.core.next_deadline() is None
    bench.check_empty()


def test_the_time_runs_from_the_first_acknowledgement(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    first, second = (task[0] for task in _finish_two(client, worker))
    client.send(m.AckResults(1))
    bench.advance(bench.tuning.settle_s * 0.6)
    client.send(m.AckResults(2))
    bench.advance(bench.tuning.settle_s * 0.3)
    assert worker.take(m.Settled) == []
    bench.advance(bench.tuning.settle_s * 0.2)
    assert worker.take(m.Settled) == [m.Settled((first, second))]


def _finish_two(client: FakeClient, worker: FakeWorker) -> list[tuple[object, ...]]:
    """Two tasks whose results are in two messages, not acknowledged."""
    client.submit(b"1", b"2")
    tasks = []
    for _ in range(2):
        (task,) = worker.take_tasks()
        worker.finish(task)
        tasks.append(task)
    return tasks


def test_each_worker_has_a_time_of_its_own(bench: Bench) -> None:
    client, workers = bench.client(), [bench.worker("a"), bench.worker("b")]
    client.submit(b"1", b"2")
    for sequence, worker in enumerate(workers, 1):
        worker.finish(*worker.take_tasks())
        client.send(m.AckResults(sequence))
        bench.advance(bench.tuning.settle_s * 0.6)
    assert [len(worker.take(m.Settled)) for worker in workers] == [1, 0]
    bench.advance(bench.tuning.settle_s * 0.5)
    assert [len(worker.take(m.Settled)) for worker in workers] == [0, 1]


def test_what_is_settled_is_told_behind_the_next_message(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (attempt,) = acknowledged(client, worker)
    worker.inbox.clear()
    client.submit(b"y")
    assert [type(message) for message in worker.inbox] == [m.AssignTasks, m.Settled]
    assert worker.take_one(m.Settled).attempts == (attempt,)
    worker.finish(*worker.take_tasks())
    assert worker.take_settled() == [], "it is told once, and of nothing that is not acknowledged"


def test_a_message_to_one_worker_tells_no_other(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    (attempt,) = acknowledged(client, worker)
    other = bench.worker("b", gpu=-1)
    client.submit(b"y", capabilities=(("gpu", -1),))
    assert len(other.take_tasks()) == 1
    assert worker.take(m.Settled) == other.take(m.Settled) == []
    assert (worker.take_settled(), other.take_settled()) == ([attempt], [])


def test_a_recall_takes_what_is_settled_along(bench: Bench) -> None:
    client, busy = bench.client(), bench.worker("busy")
    acknowledged(client, busy, 8)
    client.submit(*[b"x"] * 40)
    first, *_ = busy.take_tasks()
    busy.inbox.clear()
    busy.finish(first, seconds=0.001)
    busy.inbox.clear()
    client.take_results()
    assert busy.inbox == []
    bench.worker("idle")
    assert [type(message) for message in busy.inbox] == [m.Recall, m.Settled]


def test_many_settled_attempts_are_told_at_once(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=SETTLED_ROWS)
    client.submit(*[b"x"] * SETTLED_ROWS)
    tasks = worker.take_tasks()
    worker.finish(*tasks[:-1])
    worker.finish(tasks[-1])
    client.send(m.AckResults(1))
    assert worker.take(m.Settled) == []
    client.send(m.AckResults(2))
    assert worker.take_one(m.Settled).attempts == tuple([task[0] for task in tasks])
    assert bench.core.next_deadline() is None


@pytest.mark.parametrize("is_large", [False, True])
def test_of_large_results_a_worker_is_told_at_once(bench: Bench, is_large: bool) -> None:
    """It pauses when it keeps too much."""
    client, worker = bench.client(), bench.worker()
    rows = round(bench.tuning.slice_s / 0.001)
    client.open(bench.tuning.samples + 4 * rows)
    for _ in range(bench.tuning.samples):
        worker.finish_slice(*worker.take_slices(), seconds_each=0.001)
    client.take_rows()
    worker.take_settled()
    slice_ = worker.take_slices()[0]
    assert slice_.hi - slice_.lo == rows
    size = SETTLED_BYTES // rows + 1 if is_large else 1
    for row in range(slice_.lo, slice_.hi):
        worker.send(m.SliceResults(slice_.attempt, row, row + 1, (), (), 0.001, u32([size]), bytes(size)))
    assert worker.take(m.Settled) == []
    client.send(m.AckResults(client.take(m.ArrayResults)[-1].sequence))
    assert worker.take(m.Settled) == ([m.Settled((slice_.attempt,))] if is_large else [])
    assert bench.core.state.acknowledged_bytes == 0


def test_a_worker_that_drains_is_told_at_once(bench: Bench) -> None:
    """It leaves when nothing is kept any more."""
    client, worker = bench.client(), bench.worker(slots=2)
    client.submit(b"1", b"2")
    first, second = worker.take_tasks()
    worker.give_back(second[0], reason=ReturnReason.DRAINING)
    assert worker.take_settled() == [second[0]]
    worker.finish(first)
    client.take_results()
    assert worker.take(m.Settled) == [m.Settled((first[0],))]


@pytest.mark.parametrize("on_purpose", [False, True])
def test_what_a_lost_worker_was_not_told_is_void(bench: Bench, on_purpose: bool) -> None:
    client, worker = bench.client(), bench.worker()
    (attempt,) = acknowledged(client, worker)
    worker.lose(on_purpose=on_purpose)
    assert not bench.core.state.unsettled
    assert worker.connect(finished=[(1, attempt, client.session, 0, 0, 1, 0)]).drop == ((1, attempt),)
    assert worker.take_settled() == [], "it has heard that in other words"


def test_a_second_connection_voids_what_the_first_was_not_told(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (attempt,) = acknowledged(client, worker)
    assert worker.connect(finished=[(1, attempt, client.session, 0, 0, 1, 0)]).drop == ((1, attempt),)
    assert worker.take_settled() == []


def test_a_time_without_settled_attempts_breaks_an_invariant(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    acknowledged(client, worker)
    record = bench.core.state.workers[worker.session]
    settled, record.settled = record.settled, []
    with pytest.raises(InternalError, match="to hear of"):
        bench.core.check_invariants()
    record.settled = settled
    del bench.core.state.unsettled[record]
    with pytest.raises(InternalError, match="to hear of"):
        bench.core.check_invariants()
    bench.core.state.unsettled[record] = bench.now
