"""Items that raised and may be tried again: when, how often, and what else can happen to them meanwhile."""

from __future__ import annotations

import pytest

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from tests.kit.scheduler import Bench, FakeWorker

RETRY = Outcome.RETRY


def fail(worker: FakeWorker, text: bytes = b"raised") -> None:
    """The one task that it has raises."""
    (task,) = worker.take_tasks()
    worker.finish(task, result=text, outcome=RETRY)


def test_a_task_is_tried_again_after_pauses_that_double_and_ends_with_its_value(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x", max_retries=3)
    for pause_s in (0.1, 0.2, 0.4):
        fail(worker)
        bench.advance(pause_s - 0.01)
        assert worker.take_tasks() == []
        bench.advance(0.02)
    assert client.take_results() == {}
    worker.finish(*worker.take_tasks(), result=b"42")
    assert client.take_results() == {number: (Outcome.VALUE, b"42")}
    assert len(worker.take_settled()) == 4
    bench.check_empty()


def test_the_last_failure_is_the_result_when_the_retries_are_used_up(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x", max_retries=1)
    fail(worker, b"first")
    bench.advance(1)
    fail(worker, b"second")
    assert client.take_results() == {number: (Outcome.ERROR, b"second")}
    assert len(worker.take_settled()) == 2
    bench.check_empty()


def test_the_pauses_do_not_grow_for_ever(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x", max_retries=1 << 16)
    for _ in range(100):
        fail(worker)
        bench.advance(bench.tuning.longest_pause_s)
    assert len(worker.take_tasks()) == 1


def test_the_story_counts_the_failures(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x", max_retries=4)
    fail(worker)
    bench.advance(1)
    fail(worker)
    assert [line.split(" ", 1)[1] for line in bench.core.story(client.session, number)][-2:] == [
        "retry",
        "failure 2 of 5",
    ]


def test_the_loss_of_its_worker_counts_for_no_retry(bench: Bench) -> None:
    client, first = bench.client(), bench.worker()
    (number,) = client.submit(b"x", max_retries=1)
    fail(first)
    bench.advance(0.2)
    first.take_tasks()
    first.lose(on_purpose=True)
    second = bench.worker("second")
    second.finish(*second.take_tasks(), result=b"42")
    assert client.take_results() == {number: (Outcome.VALUE, b"42")}


def test_a_crash_counts_for_no_retry_and_a_retry_for_no_crash(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x", max_retries=1, crash_limit=2)
    fail(worker)
    bench.advance(1)
    ((attempt, *_),) = worker.take_tasks()
    worker.send(m.Crashed(((attempt, 0, True, "killed"),)))
    assert client.take_results() == {}
    fail(worker, b"again")
    assert client.take_results() == {number: (Outcome.ERROR, b"again")}


def test_a_task_that_rests_is_cancelled_at_once_and_never_run_again(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x", max_retries=3)
    fail(worker)
    client.cancel(number)
    assert client.take_results()[number][0] is Outcome.CANCELLED
    bench.advance(1)
    worker.take_settled()
    bench.check_empty()


def test_a_task_that_raises_while_it_is_being_cancelled_is_cancelled(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x", max_retries=3)
    (task,) = worker.take_tasks()
    client.cancel(number)
    worker.finish(task, outcome=RETRY)
    assert client.take_results()[number][0] is Outcome.CANCELLED
    assert worker.take(m.CancelAttempts)
    worker.take_settled()
    bench.check_empty()


def test_nothing_is_left_of_a_client_that_goes_while_its_task_rests(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x", max_retries=3)
    array = client.open(2, max_retries=3)
    fail(worker)
    for slice_ in worker.take_slices():
        worker.finish_slice(slice_, failed=[(slice_.lo, RETRY)])
    client.lose(on_purpose=True)
    bench.advance(1)
    assert array not in client.functions
    for slice_ in worker.take_slices():
        worker.finish_slice(slice_)
    worker.take_settled()
    worker.inbox.clear()
    bench.check_empty()


def test_a_node_is_tried_again_with_its_inputs_and_its_dependents_wait(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    numbers = client.graph({"a": "", "b": "a", "c": "b"}, "c", max_retries=1)
    worker.finish(*worker.take_tasks(), result=b"A")
    fail(worker)
    bench.advance(1)
    (again,) = worker.take_tasks()
    assert (again[2], again[5]) == (numbers["b"], (b"A",))
    worker.finish(again, result=b"B")
    worker.finish(*worker.take_tasks(), result=b"C")
    assert client.take_results() == {numbers["c"]: (Outcome.VALUE, b"C")}


def test_a_node_that_used_up_its_retries_fails_what_needs_it(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    numbers = client.graph({"a": "", "b": "a"}, "b", max_retries=1)
    fail(worker)
    bench.advance(1)
    fail(worker, b"last")
    results = client.take_results()
    assert results[numbers["a"]] == (Outcome.ERROR, b"last")
    assert results[numbers["b"]][0] is Outcome.UPSTREAM


# ------------------------------------------------------------------------------------------------------------- arrays


def test_a_row_is_tried_again_and_the_others_of_its_slice_are_not_delayed(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(20, max_retries=1)
    rows = {}
    failed: int | None = None
    while slices := worker.take_slices():
        for slice_ in slices:
            is_long = slice_.hi - slice_.lo > 2
            failing = slice_.lo + 1 if is_long and failed is None else None
            worker.finish_slice(slice_, failed=[] if failing is None else [(failing, RETRY)])
            new = client.take_rows()
            assert set(new) == set(range(slice_.lo, slice_.hi)) - {failing}
            rows |= new
            failed = failing if failing is not None else failed
    assert set(range(20)) - set(rows) == {failed}
    bench.advance(0.2)
    (again,) = worker.take_slices()
    assert (again.lo, again.hi - 1) == (failed, failed)
    worker.finish_slice(again)
    rows |= client.take_rows()
    assert set(rows) == set(range(20))
    assert all(outcome is Outcome.VALUE for outcome, _ in rows.values())
    worker.take_settled()
    worker.answer_recalls()
    worker.inbox.clear()
    bench.check_empty()


def test_a_rows_last_failure_is_its_result_like_any_other(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(1, max_retries=1)
    for _ in range(2):
        assert client.take_rows() == {}
        (slice_,) = worker.take_slices()
        worker.finish_slice(slice_, failed=[(0, RETRY)])
        bench.advance(1)
    assert client.take_rows() == {0: (Outcome.ERROR, b"row 0")}


def test_rows_that_rest_are_cancelled_at_once(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    array = client.open(1, max_retries=5)
    (slice_,) = worker.take_slices()
    worker.finish_slice(slice_, failed=[(0, RETRY)])
    client.cancel(array, 0, 1)
    assert client.take_rows()[0][0] is Outcome.CANCELLED
    bench.advance(1)
    worker.take_settled()
    bench.check_empty()


@pytest.mark.parametrize("cancelled_before", [False, True])
def test_a_row_whose_failure_comes_twice_is_counted_once(bench: Bench, cancelled_before: bool) -> None:
    client, worker = bench.client(), bench.worker()
    array = client.open(2, max_retries=1)
    (slice_,) = worker.take_slices()
    if cancelled_before:
        client.cancel(array, 0, 1)
    for _ in range(2):
        worker.finish_slice(slice_, 0, 1, failed=[(0, RETRY)])
    rows = client.take_rows()
    if cancelled_before:
        assert rows[0][0] is Outcome.CANCELLED
        return
    assert rows == {}
    bench.advance(1)
    while slices := worker.take_slices():
        for again in slices:
            worker.finish_slice(again, failed=[(0, RETRY)] if again.lo == 0 else [])
    assert client.take_rows()[0] == (Outcome.ERROR, b"row 0")


def test_a_task_that_was_with_a_lost_worker_and_then_raises_is_tried_again(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=2)
    client.submit(b"a", b"b", max_retries=3)
    assert len(worker.take_tasks()) == 2
    worker.lose()
    bench.advance(1)
    successor = bench.worker("second")
    (task,) = successor.take_tasks()
    successor.finish(task, result=b"raised", outcome=Outcome.RETRY)
    (other,) = successor.take_tasks()
    successor.finish(other)
    bench.advance(60)
    (again,) = successor.take_tasks()
    assert again[2] == task[2]
