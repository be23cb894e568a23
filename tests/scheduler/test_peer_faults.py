"""What a peer does wrong closes its own session and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scaler_protocol import ErrorCode, limits
from scaler_protocol import messages as m
from scaler_trio.scheduler.core.events import ClientConnected, Received, WorkerConnected
from tests.kit.scheduler import Bench, FakeClient, FakeWorker, u32

DEFAULT = m.DEFAULT_OPTIONS


def block(task: int = 0, start: int = 0, count: int = 2, **more: Any) -> m.ArrayBlock:
    parts: dict[str, Any] = {"void": (), "objects": (), "offsets": u32([0, 1, 2]), "data": b"01", "page_rows": 1}
    return m.ArrayBlock(task=task, start=start, count=count, **{**parts, **more})


# Functions 0 and array 100 (rows 0 to 2 of 10), task 50 and graph 60 (node 61, incomplete) are there.
CLIENT_FAULTS: dict[str, list[Any]] = {
    "says what it holds twice": [m.ClientHeld(0, (), ())],
    "acknowledges what was never sent": [m.AckResults(1)],
    "defines a function twice": [m.DefineFunction(0, "f", b"")],
    "submits with an unknown function": [m.SubmitTasks((DEFAULT,), ((1, 9, b"", (), 0),))],
    "submits with options that are not there": [m.SubmitTasks((DEFAULT,), ((1, 0, b"", (), 1),))],
    "submits the same number twice": [m.SubmitTasks((DEFAULT,), ((1, 0, b"", (), 0), (1, 0, b"", (), 0)))],
    "submits a task with an array's number": [m.SubmitTasks((DEFAULT,), ((100, 0, b"", (), 0),))],
    "opens an array with a task's number": [m.OpenArray(50, 0, DEFAULT, 1, ())],
    "opens an array with an unknown function": [m.OpenArray(1, 9, DEFAULT, 1, ())],
    "opens an array with an empty done range": [m.OpenArray(1, 0, DEFAULT, 5, ((3, 3),))],
    "opens an array with a done range beyond its end": [m.OpenArray(1, 0, DEFAULT, 5, ((3, 6),))],
    "sends a block of no array": [block(1)],
    "sends a block that overlaps": [block(100, 1)],
    "sends a block beyond the array's end": [block(100, 9)],
    "sends too few offsets": [block(100, 2, offsets=u32([0, 2]))],
    "sends offsets that descend": [block(100, 2, offsets=u32([0, 3, 2]))],
    "sends offsets that do not begin at 0": [block(100, 2, offsets=u32([1, 1, 2]))],
    "sends offsets that end early": [block(100, 2, offsets=u32([0, 1, 1]))],
    "sends a void row outside of the block": [block(100, 2, void=(4,))],
    "sends objects of a row before the block": [block(100, 2, objects=((1, ()),))],
    "ends an array before its rows": [m.EndArray(100, 1)],
    "ends an array after its count": [m.EndArray(100, 11)],
    "sends a node with an unknown function": [m.GraphNodes(60, (DEFAULT,), ((62, 9, b"", (), 0, ()),))],
    "sends a node with options that are not there": [m.GraphNodes(60, (DEFAULT,), ((62, 0, b"", (), 5, ()),))],
    "sends a node that takes its own result": [m.GraphNodes(60, (DEFAULT,), ((62, 0, b"", (), 0, (62,)),))],
    "sends a circle": [m.GraphNodes(60, (DEFAULT,), ((62, 0, b"", (), 0, (63,)), (63, 0, b"", (), 0, (62,))))],
    "sends a node that takes a task's result": [m.GraphNodes(60, (DEFAULT,), ((62, 0, b"", (), 0, (50,)),))],
    "sends a node with a task's number": [m.GraphNodes(60, (DEFAULT,), ((50, 0, b"", (), 0, ()),))],
    "sends the same node twice": [m.GraphNodes(60, (DEFAULT,), ((62, 0, b"", (), 0, ()), (62, 0, b"", (), 0, ())))],
    "wants what is no node": [m.GraphEnd(60, (61, 62))],
    "sends what only workers send": [m.WorkerStatus(0, 0, 0.0, 0)],
}

# Attempt numbers are those of the task and of the array's slice that the worker has, and of another worker's task.
WORKER_FAULTS: dict[str, Callable[[int, int, int], Any]] = {
    "says what it holds twice": lambda task, part, other: m.WorkerHeld(1, (), "", 0.0, (), ()),
    "reports another worker's task": lambda task, part, other: m.AttemptResults(
        ((task, 0, b"", (), 0.0), (other, 0, b"", (), 0.0))
    ),
    "returns another worker's task": lambda task, part, other: m.Returned(((task, 0, 1, 0), (other, 0, 1, 0))),
    "lets another worker's task crash": lambda task, part, other: m.Crashed(
        ((task, 0, True, ""), (other, 0, True, ""))
    ),
    "reports a slice as a task": lambda task, part, other: m.AttemptResults(((part, 0, b"", (), 0.0),)),
    "reports a task as a slice": lambda task, part, other: rows(task),
    "reports rows of another worker": lambda task, part, other: rows(other),
    "reports rows beyond its slice": lambda task, part, other: rows(part, 0, 3),
    "reports no rows": lambda task, part, other: rows(part, 1, 1),
    "sends too few lengths": lambda task, part, other: rows(part, lengths=b""),
    "sends lengths that do not add up": lambda task, part, other: rows(part, lengths=u32([7])),
    "sends a failure of a row outside": lambda task, part, other: rows(part, failed=((1, 1),)),
    "sends objects of a row outside": lambda task, part, other: rows(part, objects=((1, ()),)),
    "sends what only clients send": lambda task, part, other: m.AckResults(0),
}


def rows(attempt: int, lo: int = 0, hi: int = 1, **more: Any) -> m.SliceResults:
    parts: dict[str, Any] = {"failed": (), "objects": (), "lengths": u32([1] * (hi - lo)), "data": b"x" * (hi - lo)}
    return m.SliceResults(attempt=attempt, lo=lo, hi=hi, seconds=0.0, **{**parts, **more})


def tables(bench: Bench) -> Any:
    """What must not change: everything that is about tasks."""
    state = bench.core.state
    return (
        {c.session: (dict(c.tasks), [(a.number, a.received, a.count, list(a.done)) for a in c.arrays.values()])
         for c in state.clients.values()},
        {number: (attempt.worker.session, list(attempt.open)) for number, attempt in state.attempts.items()},
        dict(state.references.counts),
        [c.unassigned_bytes for c in state.clients.values()],
    )  # fmt: skip


@pytest.mark.parametrize("fault", CLIENT_FAULTS)
def test_a_clients_fault_closes_its_session_and_changes_nothing(bench: Bench, fault: str) -> None:
    client, bystander = bench.client(), bench.client("bystander")
    bystander.submit(b"x")
    client.define()
    client.send(m.SubmitTasks((DEFAULT,), ((50, 0, b"x", (), 0),)))
    client.send(m.OpenArray(100, 0, DEFAULT, 10, ()), block(100))
    if "node" not in fault:
        before = tables(bench)
    else:
        client.send(m.GraphNodes(60, (DEFAULT,), ((61, 0, b"", (), 0, ()),)))
        before = tables(bench)
        before[0][client.session][0].pop(61)  # an incomplete graph ends with its connection
    client.send(*CLIENT_FAULTS[fault])
    assert bench.closes[0].session == client.session
    assert bench.closes[0].code is ErrorCode.NOT_YOURS
    assert bench.take_fault()
    assert tables(bench) == before
    assert bystander.is_connected
    worker = bench.worker()
    worker.finish(*worker.take_tasks())
    worker.finish(*worker.take_tasks())
    assert len(bystander.take_results()) == 1


@pytest.mark.parametrize("fault", WORKER_FAULTS)
def test_a_workers_fault_closes_its_session_and_changes_nothing(bench: Bench, fault: str) -> None:
    client, worker = bench.client(), bench.worker("bad", slots=2)
    client.submit(b"x")
    client.open(2)
    (task,), (part,) = worker.take_tasks(), worker.take_slices()
    client.submit(b"y")
    other = bench.worker("good", slots=8)
    (other_task,) = other.take_tasks()
    before = tables(bench)
    worker.send(WORKER_FAULTS[fault](task[0], part.attempt, other_task[0]))
    assert bench.closes[0].session == worker.session
    assert bench.take_fault()
    assert tables(bench) == before
    assert other.is_connected
    worker.connect(unfinished=[worker.held(task), worker.held(part)])
    worker.finish(task)
    assert client.take_results()


def test_a_peer_that_does_not_say_first_what_it_holds_is_closed(bench: Bench) -> None:
    client, worker = FakeClient(bench, "c", ""), FakeWorker(bench, "w", "", 1, {})
    bench.event(ClientConnected(client.session))
    bench.event(WorkerConnected(worker.session))
    client.send(m.AckResults(0))
    assert bench.take_fault() == "a client's first message says what it holds"
    worker.send(m.WorkerStatus(0, 0, 0.0, 0))
    assert bench.take_fault() == "a worker's first message says what it holds"


def test_what_was_read_behind_a_fault_is_ignored(bench: Bench) -> None:
    client = bench.client()
    client.define()
    client.send(m.AckResults(7), m.SubmitTasks((DEFAULT,), ((1, 0, b"", (), 0),)))
    client.send(m.SubmitTasks((DEFAULT,), ((2, 0, b"", (), 0),)))
    assert len(bench.closes) == 1
    assert not bench.core.state.clients[client.session].tasks


def test_messages_of_nobody_are_ignored(bench: Bench) -> None:
    bench.event(Received(b"nobody", [m.AckResults(0)]))
    assert not bench.closes


def test_a_client_cannot_open_more_arrays_than_the_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARRAYS_PER_CLIENT", 3)
    client = bench.client()
    for _ in range(4):
        client.open(1)
    assert bench.take_fault() == "more than 3 arrays are open"


def test_a_client_cannot_define_more_functions_than_the_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FUNCTIONS_PER_CLIENT", 3)
    client = bench.client()
    for number in range(4):
        client.define(number)
    assert bench.take_fault() == "more than 3 functions are defined"


def test_a_client_cannot_ask_for_more_sets_of_capabilities_than_the_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CAPABILITY_CLASSES_PER_CLIENT", 3)
    client = bench.client()
    for number in range(10):
        client.submit(b"x", priority=number)
    for number in range(3):
        client.submit(b"x", capabilities=((f"c{number}", -1),))
    assert bench.take_fault() == "tasks ask for more than 3 sets of capabilities"
