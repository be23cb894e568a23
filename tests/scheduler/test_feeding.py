"""Who gets what: feeding by slots and by time, recall, capabilities, and what nobody can run."""

from __future__ import annotations

import itertools
import math

import pytest

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from scaler_trio.scheduler.core.tuning import Tuning
from tests.kit.scheduler import Bench, FakeClient, FakeWorker


def teach(client: FakeClient, worker: FakeWorker, seconds: float, *, function: int = 0) -> None:
    """Let the scheduler learn how long the function takes."""
    client.submit(*[b"lesson"] * 8, function=function)
    while tasks := worker.take_tasks():
        worker.finish(*tasks, seconds=seconds)
    client.take_results()
    worker.take_settled()
    worker.answer_recalls()


def test_an_unknown_function_gets_one_task_per_slot(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=3)
    client.submit(*[b"x"] * 20)
    assert len(worker.take_tasks()) == 3


def test_short_tasks_are_fed_ahead_by_time(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    teach(client, worker, 0.006)
    client.submit(*[b"x"] * 100)
    tasks = worker.take_tasks()
    assert len(tasks) == math.ceil(bench.tuning.feed_s / 0.006)
    worker.finish(*tasks[:4], seconds=0.006)
    assert len(worker.take_tasks()) == 4


def test_long_tasks_are_not_fed_ahead(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=2)
    teach(client, worker, 1.0)
    client.submit(*[b"x"] * 100)
    assert len(worker.take_tasks()) == 2


def test_a_worker_with_a_long_way_to_its_tasks_is_fed_deeper(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    teach(client, worker, 1.0)
    worker.lose()
    worker.connect(latency_s=60.0)
    client.submit(*[b"x"] * 100)
    assert len(worker.take_tasks()) == 61


def test_idle_workers_come_before_those_that_have_something(bench: Bench) -> None:
    client, busy = bench.client(), bench.worker("busy")
    teach(client, busy, 0.001)
    client.submit(b"1")
    idle = bench.worker("idle")
    client.submit(b"2")
    assert (len(busy.take_tasks()), len(idle.take_tasks())) == (1, 1)


def test_a_few_short_tasks_are_shared_evenly(bench: Bench) -> None:
    client, workers = bench.client(), [bench.worker(name) for name in "abcd"]
    teach(client, workers[0], 0.001)
    for worker in workers:
        worker.finish(*worker.take_tasks())
    client.submit(*[b"x"] * 10)
    assert sorted(len(worker.take_tasks()) for worker in workers) == [2, 2, 3, 3]


def test_many_short_tasks_fill_each_worker_in_one_turn(bench: Bench) -> None:
    client, workers = bench.client(), [bench.worker(name) for name in "ab"]
    teach(client, workers[0], 0.001)
    for worker in workers:
        worker.finish(*worker.take_tasks())
        worker.take(m.AssignTasks)
    client.submit(*[b"x"] * 1000)
    assert [len(message.rows) for worker in workers for message in worker.take(m.AssignTasks)] == [
        round(bench.tuning.feed_s / 0.001)
    ] * 2


def test_a_draining_worker_gets_nothing_more(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"1")
    (task,) = worker.take_tasks()
    worker.give_back(task[0], reason=m.ReturnReason.DRAINING)
    assert worker.take_tasks() == []
    assert len(bench.worker("other").take_tasks()) == 1


# ------------------------------------------------------------------------------------------------------------- recall


def queued(bench: Bench) -> tuple[FakeClient, FakeWorker, FakeWorker, list[tuple[object, ...]]]:
    """A worker with ten tasks of 5 ms, a second one with nothing, and what the first has."""
    client, busy = bench.client(), bench.worker("busy")
    teach(client, busy, 0.005)
    client.submit(*[b"x"] * 10)
    tasks = busy.take_tasks()
    assert len(tasks) == 10
    return client, busy, bench.worker("idle"), tasks


def test_queued_work_is_recalled_for_an_idle_worker(bench: Bench) -> None:
    _, busy, idle, tasks = queued(bench)
    (recall,) = busy.take(m.Recall)
    assert [row[0] for row in recall.rows] == [task[0] for task in reversed(tasks[5:])]
    assert idle.take_tasks() == [], "it is not given away before it is back"
    busy.send(m.Returned(tuple([(attempt, 0, 1, 0) for attempt, _ in recall.rows])))
    assert len(idle.take_tasks()) == 5
    assert busy.take_tasks() == []


def test_a_recall_that_is_answered_in_part_moves_that_part(bench: Bench) -> None:
    _, busy, idle, _ = queued(bench)
    (recall,) = busy.take(m.Recall)
    rows = [(attempt, 0, i < 2, 0) for i, (attempt, _) in enumerate(recall.rows)]
    busy.send(m.Returned(tuple([(a, lo, int(hi), reason) for a, lo, hi, reason in rows])))
    assert len(idle.take_tasks()) == 2


def test_a_recall_that_came_too_late_is_not_repeated_at_once(bench: Bench) -> None:
    _, busy, idle, _ = queued(bench)
    times = []
    for _ in range(4):
        while m.Recall not in map(type, busy.inbox):
            bench.advance(0.001)
        times.append(bench.now)
        busy.answer_recalls()
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert 0.009 < gaps[0] < gaps[1] < gaps[2], "with growing pauses"
    assert idle.take_tasks() == []


def test_a_recall_that_is_never_answered_is_not_repeated(bench: Bench) -> None:
    _, busy, _, _ = queued(bench)
    busy.take(m.Recall)
    bench.advance(60.0)
    assert busy.take(m.Recall) == []


def test_a_result_that_crosses_a_recall_counts(bench: Bench) -> None:
    client, busy, idle, tasks = queued(bench)
    recall = busy.take_one(m.Recall)
    busy.finish(*tasks, seconds=0.005)
    assert len(client.take_results()) == 10
    busy.send(m.Returned(tuple([(attempt, 0, 0, 0) for attempt, _ in recall.rows])))
    busy.take_settled()
    bench.check_empty()
    assert idle.take_tasks() == []


def test_a_worker_that_is_silent_for_longer_than_predicted_gives_up_its_queue(bench: Bench) -> None:
    client, busy = bench.client(), bench.worker("busy")
    teach(client, busy, 0.001)
    client.submit(*[b"x"] * 3)
    assert len(busy.take_tasks()) == 3
    bench.worker("idle")
    assert busy.take(m.Recall) == [], "two milliseconds are not worth it"
    bench.advance(0.009)
    assert busy.take(m.Recall) == []
    bench.advance(0.002)
    assert len(busy.take_one(m.Recall).rows) == 1


def test_the_tail_of_a_running_slice_is_recalled(bench: Bench) -> None:
    client, busy = bench.client(), bench.worker("busy")
    client.open(65)
    for _ in range(5):
        busy.finish_slice(*busy.take_slices(), seconds_each=0.001)
    slices = busy.take_slices()
    assert sum(slice_.hi - slice_.lo for slice_ in slices) > 40
    idle = bench.worker("idle")
    taken = idle.take_slices()
    recall = busy.take(m.Recall)
    while not recall:
        for slice_ in taken:
            idle.finish_slice(slice_, seconds_each=0.001)
        taken = idle.take_slices()
        recall = busy.take(m.Recall)
    rows = dict(recall[0].rows)
    assert all(rows[slice_.attempt] > slice_.lo for slice_ in slices[:1] if slice_.attempt in rows)
    for slice_ in slices:
        if slice_.attempt in rows:
            busy.give_back(slice_.attempt, rows[slice_.attempt], slice_.hi)
    assert idle.take_slices()


def test_work_that_idle_workers_cannot_run_is_not_recalled(bench: Bench) -> None:
    client, busy = bench.client(), bench.worker("busy", gpu=-1)
    client.submit(*[b"x"] * 8, capabilities=(("gpu", -1),))
    while tasks := busy.take_tasks():
        busy.finish(*tasks, seconds=0.001)
    client.submit(*[b"x"] * 40, capabilities=(("gpu", -1),))
    bench.worker("idle")
    bench.advance(1.0)
    assert busy.take(m.Recall) == []


def test_a_task_is_not_kept_waiting_by_rows_that_are_queued_in_a_worker(bench: Bench) -> None:
    mapping, other, worker = bench.client("mapping"), bench.client("other"), bench.worker()
    mapping.open(10_000)
    for _ in range(bench.tuning.samples):
        worker.finish_slice(*worker.take_slices(), seconds_each=0.001)
    assert sum(slice_.hi - slice_.lo for slice_ in worker.take_slices()) >= bench.tuning.feed_rows_s / 0.001
    other.submit(b"x")
    assert len(worker.take_tasks()) == 1


def test_a_task_waits_for_another_worker_rather_than_behind_a_long_row(bench: Bench) -> None:
    mapping, other, worker = bench.client("mapping"), bench.client("other"), bench.worker()
    mapping.open(100)
    for _ in range(bench.tuning.samples):
        worker.finish_slice(*worker.take_slices(), seconds_each=10.0)
    worker.take_slices()
    other.submit(b"x")
    assert worker.take_tasks() == []
    assert len(bench.worker("idle").take_tasks()) == 1


# -------------------------------------------------------------------------------------------------------- capabilities


def test_a_task_with_amounts_goes_to_the_idle_worker_and_not_behind_rows(bench: Bench) -> None:
    client, busy = bench.client(), bench.worker("busy", gpu=4)
    for _ in range(bench.tuning.samples):
        client.submit(b"x", capabilities=(("gpu", 1),))
        busy.finish(*busy.take_tasks(), seconds=0.001)
    client.open(round(0.8 * bench.tuning.feed_rows_s / 0.001))
    assert busy.take_slices()
    idle = bench.worker("idle", gpu=4)
    client.submit(b"x", capabilities=(("gpu", 1),))
    assert (len(busy.take_tasks()), len(idle.take_tasks())) == (0, 1)


def test_a_task_goes_only_to_a_worker_that_offers_what_it_asks_for(bench: Bench) -> None:
    client = bench.client()
    plain, gpu = bench.worker("plain"), bench.worker("gpu", gpu=-1)
    client.submit(b"x", b"y", capabilities=(("gpu", -1),))
    assert (len(plain.take_tasks()), len(gpu.take_tasks())) == (0, 1)
    client.submit(b"z")
    assert [row[4] for row in plain.take_tasks()] == [b"z"]


def test_amounts_are_taken_and_given_back(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=8, gpu=4)
    client.submit(*[b"x"] * 5, capabilities=(("gpu", 2),))
    tasks = worker.take_tasks()
    assert len(tasks) == 2
    client.submit(b"small", capabilities=(("gpu", 1),))
    client.submit(b"none")
    assert [row[4] for row in worker.take_tasks()] == [b"none"], "nobody with free amounts is needed for that"
    worker.finish(tasks[0])
    assert [row[4] for row in worker.take_tasks()] == [b"x"]


def test_an_amount_is_never_exceeded_by_the_rows_of_a_slice(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=8, gpu=3)
    client.open(100, capabilities=(("gpu", 1),))
    held: list[m.AssignSlice] = []
    for _ in range(30):
        held += worker.take_slices()
        rows = sum(slice_.hi - slice_.lo for slice_ in held)
        assert 0 < rows <= 3
        worker.finish_slice(held.pop(0), seconds_each=0.0001)


def test_amounts_survive_a_reconnect(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=8, gpu=1)
    client.submit(b"x", b"y", capabilities=(("gpu", 1),))
    (task,) = worker.take_tasks()
    worker.lose()
    worker.connect(unfinished=[worker.held(task)])
    assert worker.take_tasks() == []
    worker.finish(task)
    assert len(worker.take_tasks()) == 1


def test_full_workers_do_not_hide_others_that_have_room(bench: Bench) -> None:
    client = bench.client()
    workers = [bench.worker(str(i), slots=2, gpu=1) for i in range(5)]
    client.submit(*[b"x"] * 9, capabilities=(("gpu", 1),))
    assert [len(worker.take_tasks()) for worker in workers] == [1] * 5
    client.submit(*[b"plain"] * 5)
    assert [len(worker.take_tasks()) for worker in workers] == [1] * 5


# ---------------------------------------------------------------------------------------------------------- unrunnable


def test_clients_are_warned_once_when_nobody_is_there_to_work(bench: Bench) -> None:
    client, idle = bench.client(), bench.client("idle")
    first, _ = client.submit(b"a", b"b")
    client.open(3)
    bench.advance(4.9)
    assert client.take(m.Notices) == []
    bench.advance(0.2)
    ((number, _, kind, text),) = client.take_one(m.Notices).rows
    assert (number, kind) == (first, m.NoticeKind.WARNING)
    assert text == "no worker is connected to the scheduler: 2 tasks and 1 maps wait for one"
    bench.advance(60)
    assert client.take(m.Notices) == idle.take(m.Notices) == []
    worker = bench.worker(slots=8)
    assert len(worker.take_tasks()) == 2
    worker.lose(on_purpose=True)
    bench.advance(6)
    assert [row[2] for row in client.take(m.Notices)[-1].rows] == [m.NoticeKind.WARNING]


def test_work_that_ends_in_time_warns_nobody(bench: Bench) -> None:
    client = bench.client()
    (task,) = client.submit(b"a")
    bench.advance(4)
    client.cancel(task)
    bench.advance(60)
    assert client.take(m.Notices) == []


def test_a_task_that_no_worker_fits_fails_after_five_seconds_with_a_sentence(bench: Bench) -> None:
    client = bench.client()
    bench.worker("plain")
    bench.worker("small", gpu=1)
    (number,) = client.submit(b"x", capabilities=(("gpu", 2),))
    bench.advance(4.9)
    assert client.take_results() == {}
    bench.advance(0.2)
    outcome, text = client.take_results()[number]
    assert outcome is Outcome.UNRUNNABLE
    assert text.decode() == (
        f"no worker offers gpu=2; 2 connected workers of Python {client.python} offer: gpu=1; nothing"
    )
    bench.check_empty()


@pytest.mark.parametrize(
    ("client", "workers", "text"),
    [
        ("3.12/cloudpickle 3.1", ["3.11/cloudpickle 3.1"], "Python 3.12, every worker 3.11"),
        (
            "3.12/cloudpickle 3.1",
            ["3.13/cloudpickle 3.1", "3.11/cloudpickle 2.2"],
            "Python 3.12, every worker 3.11, 3.13",
        ),
        (
            "3.11/cloudpickle 3.1",
            ["3.11/cloudpickle 2.2", "3.12/cloudpickle 3.1"],
            "Python 3.11 with cloudpickle 3.1, every worker cloudpickle 2.2",
        ),
    ],
)
def test_another_python_or_cloudpickle_is_named(bench: Bench, client: str, workers: list[str], text: str) -> None:
    asking = bench.client(python=client)
    for number, python in enumerate(workers):
        bench.worker(f"w{number}", python=python)
    (task,) = asking.submit(b"x")
    bench.advance(6.0)
    assert asking.take_results()[task][1].decode() == f"client runs {text}: use the same version on both sides"


@pytest.mark.parametrize("comes_late", [True, False])
def test_a_task_that_finds_its_worker_in_time_runs(bench: Bench, comes_late: bool) -> None:
    client = bench.client()
    bench.worker("plain")
    (number,) = client.submit(b"x", capabilities=(("gpu", -1),))
    bench.advance(4.0)
    if comes_late:
        gpu = bench.worker("gpu", gpu=-1)
        bench.advance(60.0)
        gpu.finish(*gpu.take_tasks())
    else:
        client.cancel(number)
        bench.advance(60.0)
    assert client.take_results()[number][0] is (Outcome.VALUE if comes_late else Outcome.CANCELLED)


def test_without_any_worker_tasks_wait_without_end(bench: Bench) -> None:
    client = bench.client()
    client.submit(b"x")
    bench.advance(3600.0)
    assert client.take_results() == {}
    assert len(bench.worker().take_tasks()) == 1


def test_an_array_that_nobody_fits_fails_row_by_row(bench: Bench) -> None:
    client = bench.client()
    bench.worker()
    client.open(10, capabilities=(("gpu", -1),))
    bench.advance(6.0)
    assert {outcome for outcome, _ in client.take_rows().values()} == {Outcome.UNRUNNABLE}
    bench.check_empty()


# -------------------------------------------------------------------------------------------------- credit and results


def test_credit_grows_as_work_is_assigned(bench: Bench) -> None:
    bench = Bench(tuning=Tuning(credit_bytes=1000, credit_step_bytes=100))
    client = bench.client()
    client.submit(*[bytes(50)] * 20)
    assert client.take(m.Credit) == []
    worker = bench.worker()
    given = 50
    while given < 1000:
        worker.finish(*worker.take_tasks(), seconds=1.0)
        given += 50
        for credit in client.take(m.Credit):
            assert credit.total_bytes <= 1000 + given
    assert bench.core.state.clients[client.session].credit_bytes > 1800


def test_rows_that_come_again_count_against_the_credit_once_sent(bench: Bench) -> None:
    client = bench.client()
    client.submit(bytes(100))
    client.send(m.SubmitTasks((m.DEFAULT_OPTIONS,), ((0, 0, bytes(100), (), 0),)))
    assert bench.core.state.clients[client.session].received_bytes == 200
    assert bench.core.state.clients[client.session].unassigned_bytes == 100


def test_credit_starts_anew_with_each_connection(bench: Bench) -> None:
    bench = Bench(tuning=Tuning(credit_bytes=1000, credit_step_bytes=100))
    client = bench.client()
    client.submit(bytes(400))
    client.lose()
    assert client.connect(tasks=[(0, 1)]).credit_bytes == 600
    bench.worker()
    assert client.take_one(m.Credit).total_bytes == 1000


def test_a_client_that_does_not_acknowledge_blocks_only_itself(bench: Bench) -> None:
    bench = Bench(tuning=Tuning(unacknowledged_bytes=5000))
    lazy, keen, worker = bench.client("lazy"), bench.client("keen"), bench.worker()
    lazy.submit(*[b"x"] * 50)
    for _ in range(30):
        worker.finish(*worker.take_tasks(), result=bytes(200), seconds=1.0)
    assert len(lazy.take_results(acknowledge=False)) == 11
    keen.submit(b"y")
    (task,) = worker.take_tasks()
    assert task[4] == b"y"
    worker.finish(task)
    assert worker.take_tasks() == []
    lazy.send(m.AckResults(11))
    assert len(worker.take_tasks()) == 1


def test_what_no_worker_fits_waits_its_own_five_seconds(bench: Bench) -> None:
    """Earlier work of the same kind, which is gone by then, has no part in it."""
    client, _ = bench.client(), bench.worker()
    (gone,) = client.submit(b"x", capabilities=(("gpu", -1),))
    client.cancel(gone)
    bench.advance(4.9)
    client.take_results()
    (late,) = client.submit(b"x", capabilities=(("gpu", -1),))
    bench.advance(0.2)
    assert client.take_results() == {}
    bench.advance(4.9)
    assert client.take_results()[late][0] is m.Outcome.UNRUNNABLE
