"""Single tasks: the way there and back, priorities, fairness, cancelling."""

from __future__ import annotations

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome, ReturnReason
from tests.kit.scheduler import Bench


def test_a_task_goes_to_a_worker_and_its_result_comes_back(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"arguments", name="n")
    function = worker.take_one(m.PutFunction)
    message = worker.take_one(m.AssignTasks)
    ((attempt, session, task, key, payload, inputs, option),) = message.rows
    assert (session, task, key, payload, inputs) == (client.session, number, function.function, b"arguments", ())
    assert message.options[option].name == "n"
    worker.finish((attempt,), result=b"42", seconds=0.5)
    assert client.take(m.TaskResults) == [m.TaskResults(1, ((number, 0, b"42", (), 0.5),))]
    client.send(m.AckResults(1))
    assert worker.take_settled() == [attempt]
    bench.check_empty()


def test_a_result_is_settled_when_it_is_acknowledged_and_not_before(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"1", b"2")
    first = worker.take_tasks()[0]
    worker.finish(first)
    second = worker.take_tasks()[0]
    worker.finish(second)
    assert worker.take_settled() == []
    client.send(m.AckResults(1))
    assert worker.take_settled() == [first[0]]
    client.send(m.AckResults(2))
    assert worker.take_settled() == [second[0]]


def test_an_error_is_passed_on_as_it_is(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x")
    worker.finish(*worker.take_tasks(), result=b"pickled exception", outcome=Outcome.ERROR)
    assert client.take_results() == {number: (Outcome.ERROR, b"pickled exception")}
    assert worker.take_settled()
    bench.check_empty()


def test_a_task_that_is_sent_again_is_run_once(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    client.send(m.SubmitTasks((m.DEFAULT_OPTIONS,), ((0, 0, b"x", (), 0), (7, 0, b"y", (), 0))))
    given = worker.take_tasks()
    worker.finish(*given)
    assert [row[2] for row in given + worker.take_tasks()] == [0, 7]


def test_a_repeated_result_changes_nothing(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.finish(task, result=b"first")
    worker.finish(task, task, result=b"second")
    assert [payload for _, payload in client.take_results().values()] == [b"first"]
    worker.finish(task, result=b"third")
    assert client.take_results() == {}
    assert worker.take_settled()[-1] == task[0], "the worker may forget what nobody waits for"


def test_results_of_one_step_travel_in_one_message(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=8)
    client.submit(*[b"x"] * 8)
    worker.finish(*worker.take_tasks())
    assert len(client.take_one(m.TaskResults).rows) == 8


def test_messages_stay_below_a_mebibyte_whatever_the_payloads_are(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=64)
    client.submit(*[bytes(65_000)] * 64)
    messages = worker.take(m.AssignTasks)
    assert len(messages) == 4
    worker.finish(*[row for message in messages for row in message.rows], result=bytes(65_000))
    assert len(client.take(m.TaskResults)) == 4


def test_urgent_tasks_go_first_and_equal_ones_in_order(bench: Bench) -> None:
    client = bench.client()
    low = client.submit(b"1", b"2", priority=-1)
    high = client.submit(b"3", b"4", priority=5)
    worker = bench.worker()
    order = []
    for _ in range(4):
        (task,) = worker.take_tasks()
        order.append(task[2])
        worker.finish(task)
    assert order == [*high, *low]


def test_two_clients_get_equal_running_time_whatever_their_tasks_take(bench: Bench) -> None:
    clients = [bench.client("short"), bench.client("long")]
    seconds = {clients[0].session: 0.1, clients[1].session: 0.4}
    for client in clients:
        client.submit(*[b"x"] * 200, function=1)
    worker = bench.worker()
    used = {client.session: 0.0 for client in clients}
    end = bench.now + 30.0
    while bench.now < end:
        for task in worker.take_tasks():
            bench.now += seconds[task[1]]
            used[task[1]] += seconds[task[1]]
            worker.finish(task, seconds=seconds[task[1]])
    short, long = (used[client.session] for client in clients)
    assert 0.7 < short / long < 1.4


def test_a_burst_of_one_client_does_not_keep_another_one_waiting(bench: Bench) -> None:
    greedy = bench.client("greedy")
    greedy.submit(*[b"x"] * 1000)
    worker = bench.worker(slots=4)
    bench.client("modest").submit(b"y")
    first = worker.take_tasks()
    worker.finish(*first, seconds=2.0)
    assert {row[4] for row in first} == {b"x"}
    assert b"y" in [row[4] for row in worker.take_tasks()]


def test_what_a_client_used_fades_while_it_is_idle(bench: Bench) -> None:
    old = bench.client("old")
    worker = bench.worker()
    old.submit(b"x")
    worker.finish(*worker.take_tasks(), seconds=1000.0)
    bench.advance(600.0)
    worker.finish()
    assert bench.core.state.clients[old.session].usage_s < 0.01


def test_a_ready_task_is_cancelled_at_once(bench: Bench) -> None:
    client = bench.client()
    (number,) = client.submit(b"x")
    client.cancel(number)
    assert client.take_results()[number][0] is Outcome.CANCELLED
    bench.check_empty()
    assert bench.worker().take_tasks() == []


def test_an_assigned_task_is_cancelled_by_its_worker(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x")
    (task,) = worker.take_tasks()
    client.cancel(number)
    client.cancel(number)
    assert worker.take_one(m.CancelAttempts).rows == ((task[0], 0, 1),)
    assert client.take_results() == {}
    worker.give_back(task[0], reason=ReturnReason.CANCELLED)
    assert client.take_results()[number][0] is Outcome.CANCELLED
    assert worker.take_settled() == [task[0]]
    bench.check_empty()


def test_a_result_that_was_faster_than_the_cancel_counts(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x")
    (task,) = worker.take_tasks()
    client.cancel(number)
    worker.finish(task)
    assert client.take_results() == {number: (Outcome.VALUE, b"done")}
    worker.take(m.CancelAttempts)
    worker.take_settled()
    bench.check_empty()


def test_a_running_task_that_was_stopped_on_request_ends_as_cancelled(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x")
    (task,) = worker.take_tasks()
    client.cancel(number)
    worker.finish(task, result=b"stopped", outcome=Outcome.CANCELLED)
    assert client.take_results() == {number: (Outcome.CANCELLED, b"stopped")}


def test_a_task_that_its_worker_stopped_for_a_reason_of_its_own_runs_again(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.finish(task, outcome=Outcome.CANCELLED)
    (again,) = worker.take_tasks()
    assert (again[2], again[0] != task[0]) == (number, True)
    assert worker.take_settled() == [task[0]]
    assert client.take_results() == {}


def test_a_task_is_explained_by_its_story(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("w1")
    (number,) = client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.crash(task[0])
    story = " / ".join(bench.core.story(client.session, number))
    assert "submitted" in story
    assert "assign w1" in story
    assert "killed by SIGSEGV" in story
    assert bench.core.story(client.session, 99) == bench.core.story(b"nobody", 0) == []


def test_a_story_stays_short_however_often_a_task_comes_back(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x")
    for _ in range(100):
        (task,) = worker.take_tasks()
        worker.give_back(task[0], reason=ReturnReason.NEIGHBOUR_CRASHED)
    assert len(bench.core.story(client.session, number)) <= 34


def test_functions_are_sent_once_per_worker_and_forgotten_when_dropped(bench: Bench) -> None:
    client, worker, other = bench.client(), bench.worker("a"), bench.worker("b")
    client.submit(b"x")
    client.submit(b"y")
    functions = [peer.take_one(m.PutFunction).function for peer in (worker, other)]
    assert functions[0] == functions[1]
    client.send(m.DropFunctions((0, 99)))
    assert worker.take(m.ForgetFunctions) == [], "it is still in use"
    for peer in (worker, other):
        peer.finish(*peer.take_tasks())
    assert (
        worker.take_one(m.ForgetFunctions).functions == other.take_one(m.ForgetFunctions).functions == (functions[0],)
    )
    client.functions.clear()
    client.submit(b"z")
    given = worker.take(m.PutFunction) + other.take(m.PutFunction)
    assert len(given) == 1
    assert given[0].function != functions[0]
