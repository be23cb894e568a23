"""What the scheduler says when somebody asks why a task is not done yet."""

from __future__ import annotations

from scaler_protocol import messages as m
from tests.kit.scheduler import Bench, FakeClient


def explain(client: FakeClient, number: int) -> list[str]:
    client.send(m.Explain(17, number))
    answer = client.take_one(m.Explanation)
    assert answer.request == 17
    return answer.text.splitlines()


def test_a_task_without_workers_says_so_and_tells_its_story(bench: Bench) -> None:
    client = bench.client()
    (task,) = client.submit(b"a")
    bench.advance(2.0)
    now, *story = explain(client, task)
    assert now.endswith("it is ready, and waits for a worker: none is connected")
    assert story == ["    2.000 s ago: submitted"]


def test_a_task_behind_others_names_the_workers_that_fit(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("w")
    running, queued = client.submit(b"a", b"b")
    assert "it runs at worker w" in explain(client, running)[0]
    assert "1 fits and is busy with other work" in explain(client, queued)[0]
    (other,) = client.submit(b"c", capabilities=(("gpu", 1),))
    assert "none of those connected fits" in explain(client, other)[0]
    client.cancel(running)
    assert "it was cancelled, and worker w was told to stop it" in explain(client, running)[0]
    worker.lose()
    assert "worker w, which is not connected at the moment" in explain(client, running)[0]


def test_a_node_names_the_inputs_that_it_waits_for(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    nodes = client.graph({"a": "", "b": "", "c": "ab"}, "c", end=False)
    assert "the rest of its graph has not arrived" in explain(client, nodes["c"])[0]
    client.send(m.GraphEnd(nodes["graph"], (nodes["c"],)))
    (first,) = worker.take_tasks()
    worker.finish(first)
    text = explain(client, nodes["c"])[0]
    assert "it waits for 1 of 2 nodes that it needs" in text
    assert text.endswith(f"task {nodes['b']})")


def test_an_array_says_how_far_it_is(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    array = client.open(5)
    (slice_,) = worker.take_slices()
    text = explain(client, array)[0]
    assert "0 of 5 items are done, 1 are with 1 slices at workers, the rest waits for a worker" in text
    worker.finish_slice(slice_)
    assert "1 of 5 items are done" in explain(client, array)[0]


def test_what_is_not_there_is_no_fault(bench: Bench) -> None:
    client = bench.client()
    assert explain(client, 99) == ["the scheduler has no task 99 of this client: it ended, or has not arrived"]


def test_a_task_that_rests_says_until_when(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (task,) = client.submit(b"a", max_retries=2)
    (attempt,) = worker.take_tasks()
    worker.finish(attempt, outcome=m.Outcome.RETRY)
    assert "it raised, and rests for another 0.1 s before try 2 of 3" in explain(client, task)[0]


def test_a_suspect_says_what_it_waits_for(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=2)
    first, _ = client.submit(b"a", b"b")
    worker.lose()
    bench.advance(1.0)
    assert "it is run alone to see whether it was the cause" in explain(client, first)[0]


def test_who_keeps_the_amount_that_is_missing(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("w", slots=2, gpu=1)
    parent, child = client.submit(b"a", b"b", capabilities=(("gpu", 1),))
    text = explain(client, child)[0]
    assert "gpu=1 is not free at any of the 1 that offer it" in text
    assert "kept by tasks that wait" not in text
    ((attempt, *_),) = worker.take_tasks()
    worker.send(m.Waiting(((attempt, 1, bytes(16)),)))
    text = explain(client, child)[0]
    assert f"kept by tasks that wait for tasks of their own: function-0 (task {parent}, at worker w)" in text
