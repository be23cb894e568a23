"""Clients that go and come back, and the objects that they and their tasks refer to."""

from __future__ import annotations

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from scaler_trio.scheduler.core.events import Received
from tests.kit.scheduler import Bench


def test_a_client_that_comes_back_gets_what_it_has_not_acknowledged(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x")
    worker.finish(*worker.take_tasks())
    client.lose()
    bench.advance(5.0)
    assert client.connect(tasks=[(number, number + 1)]).tasks == ((number, number + 1),)
    assert client.take_results() == {number: (Outcome.VALUE, b"done")}
    worker.take_settled()
    bench.check_empty()


def test_results_made_while_a_client_was_away_wait_for_it(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    numbers = client.submit(b"x", b"y")
    client.lose()
    worker.finish(*worker.take_tasks())
    worker.finish(*worker.take_tasks())
    assert worker.take_settled() == []
    client.connect(tasks=[(0, 2)])
    assert sorted(client.take_results()) == numbers
    worker.take_settled()
    bench.check_empty()


def test_a_client_learns_which_of_its_tasks_are_known(bench: Bench) -> None:
    client = bench.client()
    client.submit(*[b"x"] * 3)
    number = client.open(10, count=-1)
    client.lose()
    known = client.connect(tasks=[(0, 3), (50, 60)], arrays=[(number, 10), (99, 5)])
    assert known.tasks == ((0, 3),)
    assert known.arrays == ((number, 10),)
    assert (known.epoch, known.object_address) == (1, "objects")


def test_acknowledging_in_the_held_set_settles(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.finish(task)
    client.lose()
    client.connect(sequence=1)
    assert client.take_results() == {}
    assert worker.take_settled() == [task[0]]
    bench.check_empty()


def test_a_client_that_stays_away_is_forgotten_and_its_work_is_cancelled(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=2)
    client.submit(b"x")
    array = client.open(100)
    client.graph({"a": "", "b": "a"}, "b")
    (task,) = worker.take_tasks()
    (slice_,) = worker.take_slices()
    client.lose()
    bench.advance(29.0)
    assert worker.take(m.CancelAttempts) == []
    bench.advance(2.0)
    assert set(worker.take_one(m.CancelAttempts).rows) == {(task[0], 0, 1), (slice_.attempt, 0, 1)}
    assert worker.take(m.ForgetFunctions)
    worker.finish(task)
    worker.give_back(slice_.attempt, reason=m.ReturnReason.CANCELLED)
    assert sorted(worker.take_settled()) == sorted([task[0], slice_.attempt])
    bench.check_empty()
    assert client.session not in bench.core.state.clients
    assert array
    assert worker.take_slices() == []


def test_the_slots_of_forgotten_work_are_free_when_the_worker_says_so(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    (task,) = worker.take_tasks()
    client.lose(on_purpose=True)
    other = bench.client("other")
    other.submit(b"y")
    assert worker.take_tasks() == []
    worker.finish(task)
    assert len(worker.take_tasks()) == 1


def test_a_client_that_says_goodbye_gets_no_grace(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    (task,) = worker.take_tasks()
    client.lose(on_purpose=True)
    assert worker.take_one(m.CancelAttempts).rows == ((task[0], 0, 1),)
    assert bench.core.state.clients == {}


def test_unacknowledged_results_of_a_forgotten_client_are_settled(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    array = client.open(1)
    (task,) = worker.take_tasks()
    worker.finish(task, objects=(client.object(1),))
    (slice_,) = worker.take_slices()
    worker.finish_slice(slice_)
    client.lose(on_purpose=True)
    assert sorted(worker.take_settled()) == sorted([task[0], slice_.attempt])
    assert bench.deleted == [client.object(1)]
    worker.take(m.ForgetFunctions)
    bench.check_empty()
    assert array


def test_a_client_that_outlived_its_record_goes_on_counting_results(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    worker.finish(*worker.take_tasks())
    client.take_results()
    client.lose()
    bench.advance(100.0)
    client.connect(sequence=1)
    client.submit(b"y")
    worker.finish(*worker.take_tasks())
    assert client.take_one(m.TaskResults).sequence == 2


def test_a_client_numbers_its_functions_anew_on_every_connection(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"old")
    (task,) = worker.take_tasks()
    old = worker.take_one(m.PutFunction).function
    client.lose()
    client.connect(tasks=[(0, 1)])
    client.send(m.DefineFunction(0, "another", b"code"))
    client.functions.add(0)
    client.submit(b"new")
    worker.finish(task)
    assert worker.take_one(m.PutFunction).name == "another"
    (new_task,) = worker.take_tasks()
    assert new_task[3] != old
    assert worker.take_one(m.ForgetFunctions).functions == (old,), "after its last task"


def test_an_incomplete_graph_is_sent_again_from_its_beginning(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    nodes = client.graph({"a": "", "b": "a"}, "b", end=False)
    client.lose()
    assert client.connect(tasks=[(nodes["a"], nodes["b"] + 1)]).tasks == ()
    rows = ((nodes["a"], client.define(), b"a", (), 0, ()), (nodes["b"], 0, b"b", (), 0, (nodes["a"],)))
    client.send(m.GraphNodes(nodes["graph"], (m.DEFAULT_OPTIONS,), rows), m.GraphEnd(nodes["graph"], (nodes["b"],)))
    worker.finish(*worker.take_tasks())
    worker.finish(*worker.take_tasks())
    assert client.take_results() == {nodes["b"]: (Outcome.VALUE, b"done")}
    worker.take_settled()
    bench.check_empty()


def test_nodes_of_a_running_graph_are_known_even_when_their_results_are_gone(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    nodes = client.graph({"a": "", "b": "a", "c": "b"}, "c")
    worker.finish(*worker.take_tasks())
    worker.finish(*worker.take_tasks())
    client.lose()
    known = client.connect(tasks=[(nodes["a"], nodes["c"] + 1)])
    assert known.tasks == ((nodes["a"], nodes["c"] + 1),)


# ------------------------------------------------------------------------------------------------------------- objects


def test_an_object_is_adopted_once_and_deleted_once(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=2)
    object_ = client.object(1)
    client.send(m.HoldObjects(((object_, 100),)))
    client.send(m.HoldObjects(((object_, 100),)))
    client.submit(b"x", b"y", objects=(object_,))
    client.send(m.ReleaseObjects((object_,)))
    first, second = worker.take_tasks()
    worker.finish(first)
    assert (bench.adopted, bench.deleted) == ([object_], [])
    worker.finish(second)
    assert (bench.adopted, bench.deleted) == ([object_], [object_])
    client.send(m.ReleaseObjects((object_,)))
    assert bench.deleted == [object_]


def test_an_object_that_a_client_holds_outlives_its_readers(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    object_ = client.object(1)
    client.send(m.HoldObjects(((object_, 100),)))
    client.submit(b"x", objects=(object_,))
    worker.finish(*worker.take_tasks())
    assert bench.deleted == []
    client.lose(on_purpose=True)
    assert bench.deleted == [object_]


def test_objects_of_results_live_until_the_client_releases_them(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    object_ = client.object(1)
    worker.finish(*worker.take_tasks(), objects=(object_,))
    client.take_results()
    assert (bench.adopted, bench.deleted) == ([object_], [])
    client.send(m.ReleaseObjects((object_,)))
    assert bench.deleted == [object_]


def test_an_object_named_by_two_results_is_released_twice(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x", b"y")
    for _ in range(2):
        worker.finish(*worker.take_tasks(), objects=(client.object(1),))
    client.send(m.ReleaseObjects((client.object(1),)))
    assert bench.deleted == []
    client.send(m.ReleaseObjects((client.object(1),)))
    assert bench.deleted == [client.object(1)]


def test_a_reconnected_client_may_hold_again_what_its_results_name(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    object_ = client.object(1)
    worker.finish(*worker.take_tasks(), objects=(object_,))
    client.take_results()
    client.lose()
    client.connect(sequence=1)
    client.send(m.HoldObjects(((object_, 0),)))
    client.send(m.ReleaseObjects((object_,)))
    assert bench.deleted == [object_]


def test_objects_of_a_dropped_result_are_deleted(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x")
    (task,) = worker.take_tasks()
    client.lose(on_purpose=True)
    worker.finish(task, objects=(client.object(1),))
    assert bench.deleted == [client.object(1)]
    assert number == 0


def test_a_repeated_result_does_not_delete_what_the_first_one_named(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.finish(task, objects=(client.object(1),))
    worker.finish(task, objects=(client.object(1),))
    assert bench.deleted == []


def test_objects_of_rows_live_until_their_row_is_done(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    one, two, three = (client.object(i) for i in (1, 2, 3))
    number = client.open(0, count=4, done=[(3, 4)])
    client.block(number, 0, 4, objects=((0, (one, two)), (1, (two,)), (3, (three,))))
    assert sorted(bench.adopted) == [one, two]
    (slice_,) = worker.take_slices()
    worker.finish_slice(slice_)
    assert bench.deleted == [one]
    (slice_,) = worker.take_slices()
    worker.finish_slice(slice_, objects=[(1, (three,))])
    assert bench.deleted == [one, two]
    assert bench.adopted == [one, two, three]
    client.lose(on_purpose=True)
    assert bench.deleted == [one, two, three]


def test_an_object_lost_and_found_in_one_step_is_never_let_go_of(bench: Bench) -> None:
    client = bench.client()
    object_ = client.object(1)
    client.send(m.HoldObjects(((object_, 1),)))
    client.send(m.ReleaseObjects((object_,)), m.HoldObjects(((object_, 1),)))
    assert (bench.adopted, bench.deleted) == ([object_], [])


def test_a_protected_scheduler_refuses_to_be_shut_down(bench: Bench) -> None:
    client = bench.client()
    client.send(m.Shutdown())
    assert "protected mode" in client.take_one(m.ShutdownRefused).text
    bench.check_empty()


def test_a_shutdown_is_the_last_that_everybody_hears(bench: Bench) -> None:
    bench.core.state.protected = False
    client, other, worker = bench.client("me"), bench.client(), bench.worker()
    client.submit(b"x")
    worker.take_tasks()
    effects = bench.core.handle(Received(client.session, [m.CancelTasks(((0, 0, 1),)), m.Shutdown()]), bench.now)
    assert effects.shutdown == "me asked for it"
    assert set(effects.sends) == {client.session, other.session, worker.session}
    assert {type(messages[-1]) for messages in effects.sends.values()} == {m.Shutdown}
    assert len(effects.sends[worker.session]) == 2
