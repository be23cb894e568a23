"""What a task is called, and what it prints, on its way to its client."""

from __future__ import annotations

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from tests.kit.scheduler import Bench


def test_a_name_stands_in_the_story_and_before_what_happened_to_the_task(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    slow, deadly = client.submit(b"x", b"y", name="census", crash_limit=1)
    assert bench.core.story(client.session, slow)[0] == "its name is census"
    ((attempt, *_),) = worker.take_tasks()
    worker.finish((attempt,), outcome=Outcome.TIMED_OUT, result=b"too long")
    ((attempt, *_),) = worker.take_tasks()
    worker.send(m.Crashed(((attempt, 0, True, "killed"),)))
    results = client.take_results()
    assert results[slow][1] == b"census: too long"
    assert results[deadly][1].startswith(b"census: killed")


def test_what_a_task_prints_goes_to_its_client_and_to_nobody_else(bench: Bench) -> None:
    one, other, worker = bench.client("one"), bench.client("other"), bench.worker(slots=2)
    (number,) = one.submit(b"x", stream_output=True)
    (task,) = worker.take_tasks()
    array = other.open(1, stream_output=True)
    (slice_,) = worker.take_slices()
    worker.send(m.AttemptOutput(((task[0], 0, 1, 0, b"a\n"), (slice_.attempt, 0, 2, 7, b"b\n"))))
    assert one.take_one(m.TaskOutput).rows == ((number, 0, 1, 0, b"a\n"),)
    assert other.take_one(m.TaskOutput).rows == ((array, 0, 2, 7, b"b\n"),)


def test_output_of_what_has_ended_is_dropped(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x", stream_output=True)
    (task,) = worker.take_tasks()
    worker.finish(task)
    client.take_results()
    worker.send(m.AttemptOutput(((task[0], 0, 1, 0, b"late\n"), (12345, 0, 1, 0, b"never heard of\n"))))
    assert client.take(m.TaskOutput) == []


def test_output_of_another_workers_attempt_is_a_fault(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x", stream_output=True)
    (task,) = worker.take_tasks()
    bench.worker("other").send(m.AttemptOutput(((task[0], 0, 1, 0, b"forged\n"),)))
    assert "not its own" in bench.take_fault()
