"""What tasks used travels with their results, and only with them."""

from __future__ import annotations

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from tests.kit.scheduler import Bench


def test_a_profile_comes_with_its_result_and_tells_how_long_the_task_waited(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("w")
    (number,) = client.submit(b"x", profiling=True)
    ((attempt, *_),) = worker.take_tasks()
    bench.advance(5)
    worker.send(m.AttemptResults(((attempt, 0, b"r", (), 1.0),), ((attempt, 0.5, 1000, 2.0),)))
    message = client.take_one(m.TaskResults)
    assert message.profiles == ((number, 0.5, 1000, 3.0, "w"),)


def test_the_profile_of_a_failure_that_is_tried_again_is_dropped(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x", profiling=True, max_retries=1)
    ((attempt, *_),) = worker.take_tasks()
    worker.send(m.AttemptResults(((attempt, int(Outcome.RETRY), b"r", (), 1.0),), ((attempt, 0.5, 1000, 2.0),)))
    bench.advance(1)
    ((attempt, *_),) = worker.take_tasks()
    worker.send(m.AttemptResults(((attempt, 0, b"r", (), 1.0),), ((attempt, 0.7, 2000, 0.0),)))
    assert [row[:2] for row in client.take_one(m.TaskResults).profiles] == [(number, 0.7)]


def test_a_profile_of_what_is_not_known_or_not_its_own_is_dropped(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x", profiling=True)
    ((attempt, *_),) = worker.take_tasks()
    bench.worker("other").send(m.AttemptResults((), ((attempt, 0.5, 1, 0.0), (77, 0.5, 1, 0.0))))
    assert client.take(m.TaskResults) == []
