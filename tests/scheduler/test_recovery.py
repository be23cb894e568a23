"""A new scheduler takes over the work that workers still hold, in whatever order they and their clients come back."""

from __future__ import annotations

import pytest

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from tests.kit.scheduler import Bench, FakeClient, FakeWorker


def settle(*workers: FakeWorker) -> None:
    for worker in workers:
        worker.take_settled()
        worker.answer_recalls()


def resend(client: FakeClient, number: int = 0, payload: bytes = b"x") -> None:
    client.send(m.SubmitTasks((m.DEFAULT_OPTIONS,), ((number, client.define(), payload, (), 0),)))


@pytest.mark.parametrize("first", ["client", "worker", "between"])
@pytest.mark.parametrize("is_finished", [False, True])
def test_a_held_task_is_taken_over_and_not_started_twice(bench: Bench, first: str, is_finished: bool) -> None:
    client, worker, idle = bench.client(), bench.worker("a"), bench.worker("idle")
    (number,) = client.submit(b"x")
    given = [(w, task) for w in (worker, idle) for task in w.take_tasks()]
    ((worker, task),) = given
    other = idle if worker.name == "a" else bench.peers[next(iter(bench.core.state.workers))]
    assert isinstance(other, FakeWorker)
    bench.restart(epoch=2)
    other.connect()
    held = [worker.held(task)]

    def worker_comes() -> None:
        known = worker.connect(finished=held) if is_finished else worker.connect(unfinished=held)
        assert known.drop == ()
        if is_finished:
            worker.finish(task)

    if first == "worker":
        worker_comes()
        client.connect(tasks=[(0, 1)])
        resend(client)
    elif first == "client":
        client.connect(tasks=[(0, 1)])
        resend(client)
        assert other.take_tasks() == [], "it may be running elsewhere"
        worker_comes()
    else:
        client.connect(tasks=[(0, 1)])
        worker_comes()
        resend(client)
    if not is_finished:
        worker.finish(task)
    assert client.take_results() == {number: (Outcome.VALUE, b"done")}
    assert other.take_tasks() == worker.take_tasks() == []
    assert worker.take_settled() == [task[0]]
    bench.advance(10.0)
    bench.check_empty()


def test_what_no_worker_claims_runs_when_the_window_ends(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    bench.restart(epoch=2)
    worker.connect()
    client.connect(tasks=[(0, 1)])
    resend(client)
    bench.advance(2.9)
    assert worker.take_tasks() == []
    bench.advance(0.2)
    worker.finish(*worker.take_tasks())
    assert len(client.take_results()) == 1
    settle(worker)
    bench.check_empty()


def test_new_work_does_not_wait_for_the_window(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    bench.restart(epoch=2)
    worker.connect()
    client.connect(tasks=[(0, 1)])
    resend(client, 7, b"new")
    assert [row[2] for row in worker.take_tasks()] == [7]


def test_what_no_client_wants_is_dropped_when_the_window_ends(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=2)
    client.submit(b"x", b"y")
    first, second = worker.take_tasks()
    bench.restart(epoch=2)
    worker.connect(unfinished=[worker.held(first)], finished=[worker.held(second)])
    worker.finish(second, objects=(client.object(1),))
    assert worker.inbox == []
    bench.advance(3.1)
    cancels = {row[0] for message in worker.take(m.CancelAttempts) for row in message.rows}
    assert cancels == {first[0], second[0]}
    assert bench.deleted == [client.object(1)]
    assert worker.take_settled() == [second[0]]
    worker.give_back(first[0], reason=m.ReturnReason.CANCELLED)
    bench.check_empty()


def test_what_is_declared_after_the_window_is_dropped(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    (task,) = worker.take_tasks()
    bench.restart(epoch=2)
    bench.advance(3.1)
    assert worker.connect(unfinished=[worker.held(task)]).drop == ((1, task[0]),)


def test_an_attempt_of_this_epoch_that_is_not_known_is_dropped_within_the_window(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.finish(task)
    client.take_results()
    worker.lose()
    assert worker.connect(finished=[worker.held(task)]).drop == ((1, task[0]),)


def test_crash_counts_survive_the_scheduler(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x")
    (task,) = worker.take_tasks()
    bench.restart(epoch=2)
    worker.connect(unfinished=[worker.held(task, crashes=2)])
    client.connect(tasks=[(0, 1)])
    resend(client)
    worker.crash(task[0])
    assert client.take_results()[number][0] is Outcome.CRASHED


@pytest.mark.parametrize("report", ["crash", "returned"])
def test_what_a_worker_reports_before_the_client_comes_waits_for_it(bench: Bench, report: str) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    (task,) = worker.take_tasks()
    bench.restart(epoch=2)
    worker.connect(unfinished=[worker.held(task)])
    if report == "crash":
        worker.crash(task[0])
    else:
        worker.give_back(task[0], reason=m.ReturnReason.NEIGHBOUR_CRASHED)
    client.connect(tasks=[(0, 1)])
    resend(client)
    (again,) = worker.take_tasks()
    worker.finish(again)
    assert len(client.take_results()) == 1
    assert len(client.take(m.Notices)) == (report == "crash")
    settle(worker)
    bench.advance(5.0)
    bench.check_empty()


@pytest.mark.parametrize("first", ["client", "worker"])
def test_held_slices_are_taken_over_even_when_the_blocks_are_others(bench: Bench, first: str) -> None:
    client, worker = bench.client(), bench.worker()
    number = client.open(100)
    for _ in range(5):
        worker.finish_slice(*worker.take_slices())
    client.take_rows()
    settle(worker)
    slices = worker.take_slices()
    held = [worker.held(slice_) for slice_ in slices]
    highest = max(slice_.hi for slice_ in slices)
    assert slices[0].lo == 5
    assert highest >= 40
    bench.restart(epoch=2)

    def client_comes() -> None:
        client.connect(arrays=[(number, 100)])
        client.send(m.OpenArray(number, client.define(), m.DEFAULT_OPTIONS, 100, ((0, 5),)))
        client.block(number, 5, slices[0].hi - 5 - 3)
        client.block(number, slices[0].hi - 3, 100 - slices[0].hi + 3)

    if first == "worker":
        worker.connect(unfinished=held[:-1], finished=held[-1:])
        worker.finish_slice(slices[-1])
        client_comes()
    else:
        client_comes()
        worker.connect(unfinished=held[:-1], finished=held[-1:])
        worker.finish_slice(slices[-1])
    assert worker.take_slices() == []
    for slice_ in slices[:-1]:
        worker.finish_slice(slice_)
    rows = client.take_rows()
    assert sorted(rows) == list(range(5, highest))
    bench.advance(3.1)
    while taken := worker.take_slices():
        for slice_ in taken:
            worker.finish_slice(slice_)
        rows |= client.take_rows()
    assert sorted(rows) == list(range(5, 100))
    settle(worker)
    bench.check_empty()


def test_a_claim_ends_with_the_connection_and_may_be_made_again(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    (task,) = worker.take_tasks()
    bench.restart(epoch=2)
    worker.connect(unfinished=[worker.held(task)])
    worker.lose()
    client.connect(tasks=[(0, 1)])
    resend(client)
    worker.connect(unfinished=[worker.held(task)])
    worker.finish(task)
    assert len(client.take_results()) == 1
    settle(worker)
    bench.advance(5.0)
    bench.check_empty()


def test_the_first_of_two_claims_of_one_task_wins(bench: Bench) -> None:
    client, one, two = bench.client(), bench.worker("1"), bench.worker("2")
    client.submit(b"x", b"y")
    (task,), _ = one.take_tasks(), two.take_tasks()
    bench.restart(epoch=2)
    one.connect(unfinished=[one.held(task)])
    two.connect(unfinished=[(1, task[0] + 50, client.session, task[2], 0, 1, 0)])
    client.connect(tasks=[(0, 1)])
    resend(client)
    assert two.take_one(m.CancelAttempts).rows == ((task[0] + 50, 0, 1),)
    two.give_back(task[0] + 50, reason=m.ReturnReason.CANCELLED)
    one.finish(task)
    assert len(client.take_results()) == 1
    settle(one, two)
    bench.advance(5.0)
    bench.check_empty()


def test_a_task_that_waits_for_its_worker_may_be_cancelled(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    (task,) = worker.take_tasks()
    bench.restart(epoch=2)
    client.connect(tasks=[(0, 1)])
    resend(client)
    client.cancel(0)
    assert client.take_results()[0][0] is Outcome.CANCELLED
    worker.connect(unfinished=[worker.held(task)])
    bench.advance(5.0)
    worker.take(m.CancelAttempts)
    worker.give_back(task[0], reason=m.ReturnReason.CANCELLED)
    bench.check_empty()


def test_rows_that_wait_for_their_worker_may_be_cancelled(bench: Bench) -> None:
    client = bench.client()
    number = client.open(10)
    bench.restart(epoch=2)
    client.connect(arrays=[(number, 10)])
    client.send(m.OpenArray(number, client.define(), m.DEFAULT_OPTIONS, 10, ()))
    client.block(number, 0, 10)
    client.cancel(number, 0, 10)
    assert sorted(client.take_rows()) == list(range(10))
    bench.advance(5.0)
    bench.check_empty()


def test_a_running_node_is_taken_over_once_its_inputs_are_there(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=2)
    nodes = client.graph({"a": "", "b": "a"}, "b")
    worker.finish(*worker.take_tasks())
    (second,) = worker.take_tasks()
    bench.restart(epoch=2)
    worker.connect(unfinished=[worker.held(second)])
    worker.finish(second, result=b"b")
    client.connect(tasks=[(nodes["a"], nodes["b"] + 1)])
    rows = ((nodes["a"], client.define(), b"a", (), 0, ()), (nodes["b"], 0, b"b", (), 0, (nodes["a"],)))
    client.send(m.GraphNodes(nodes["graph"], (m.DEFAULT_OPTIONS,), rows))
    client.send(m.GraphEnd(nodes["graph"], (nodes["b"],)))
    bench.advance(3.1)
    worker.take(m.CancelAttempts)
    for _ in range(2):
        worker.finish(*worker.take_tasks())
    assert client.take_results()[nodes["b"]][0] is Outcome.VALUE
    settle(worker)
    bench.check_empty()


def test_a_client_that_leaves_within_the_window_leaves_nothing_behind(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    array = client.open(5)
    (task,) = worker.take_tasks()
    bench.restart(epoch=2)
    client.connect(tasks=[(0, 1)], arrays=[(array, 5)])
    resend(client)
    client.send(m.OpenArray(array, client.define(), m.DEFAULT_OPTIONS, 5, ()))
    client.block(array, 0, 5)
    client.lose(on_purpose=True)
    worker.connect(unfinished=[worker.held(task)])
    bench.advance(5.0)
    worker.take(m.CancelAttempts)
    worker.give_back(task[0], reason=m.ReturnReason.CANCELLED)
    bench.check_empty()
