"""What monitors are told: how the cluster is, what has happened, why a task is not done."""

from __future__ import annotations

import pytest

from scaler_protocol import messages as m
from scaler_protocol.messages import EventKind
from scaler_trio.cli.status import COLUMNS, as_dict
from scaler_trio.scheduler.core.events import Decided, MonitorConnected, StorageSeen
from scaler_trio.scheduler.core.feed import KEPT, Feed
from scaler_trio.scheduler.core.records import Storage
from scaler_trio.scheduler.core.status import CLIENTS
from scaler_trio.scheduler.policy.core.view import Desired
from tests.kit.scheduler import Bench, FakePeer
from tests.scheduler.test_managers import FakeManager, unit


class FakeMonitor(FakePeer):
    """A connected monitor."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, "top", "")
        self.is_connected = True
        bench.event(MonitorConnected(self.session, self.name))

    def status(self, after: int = 0) -> m.ClusterStatus:
        self.send(m.AskStatus(after))
        return self.take_one(m.ClusterStatus)

    def explain(self, task: int, client: str = "") -> str:
        self.send(m.ExplainTask(5, task, client))
        answer = self.take_one(m.Explanation)
        assert answer.request == 5
        return answer.text


def events(status: m.ClusterStatus, kind: EventKind) -> list[tuple[str, str]]:
    return [(row[3], row[4]) for row in status.events if row[2] == kind]


def test_an_empty_cluster_says_so(bench: Bench) -> None:
    monitor = FakeMonitor(bench)
    bench.advance(3.0)
    status = monitor.status()
    assert (status.workers, status.slots, status.running, status.queued, status.waiting) == (0, 0, 0, 0, 0)
    assert (status.managers, status.clients, status.events, status.work) == ((), (), (), ())
    assert status.up_s == pytest.approx(3.0)
    assert not status.is_storage_connected
    assert status.storage_address == "objects"


def test_work_workers_clients_and_managers_are_counted(bench: Bench) -> None:
    monitor, client = FakeMonitor(bench), bench.client("mine")
    FakeManager(bench, launching=2, problem="no more of them")
    bench.worker("nobody's", slots=2)
    unit(bench, "tier-1")
    client.submit(*[b"x"] * 5)
    client.submit(b"y", capabilities=(("gpu", 2), ("fast", -1)))
    bench.event(Decided([Desired("tier", 3, (), "work waits")]))
    bench.event(StorageSeen(Storage(True, 7, 1_000, 20)))
    status = monitor.status()
    assert (status.workers, status.slots, status.draining) == (2, 3, 0)
    assert (status.running, status.queued) == (3, 3)
    assert (status.objects, status.objects_memory_bytes, status.objects_disk_bytes) == (7, 1_000, 20)
    assert status.is_storage_connected
    found = as_dict(status)
    assert [one["capabilities"] for one in found["work"]] == ["", "fast, gpu=2"]
    alone, tier = found["managers"]
    assert (alone["id"], alone["connected"], alone["desired"]) == ("", 1, -1)
    assert (tier["id"], tier["desired"], tier["launching"], tier["connected"]) == ("tier", 3, 2, 1)
    assert (tier["reason"], tier["problem"]) == ("work waits", "no more of them")
    (one,) = found["clients"]
    assert (one["name"], one["unfinished"], one["oldest_function"]) == ("mine", 6, "function-0")


def test_every_row_has_a_name_for_each_cell(bench: Bench) -> None:
    monitor, client = FakeMonitor(bench), bench.client()
    FakeManager(bench)
    client.submit(b"x")
    status = monitor.status()
    for name, columns in COLUMNS.items():
        assert all(len(row) == len(columns) for row in getattr(status, name)), name
        assert getattr(status, name), name


def test_a_change_of_capacity_is_one_event_with_reason_and_inputs(bench: Bench) -> None:
    monitor = FakeMonitor(bench)
    FakeManager(bench)
    unit(bench, "tier-1")
    for _ in range(3):
        bench.event(Decided([Desired("tier", 3, (), "work waits")], "5 items queued"))
    bench.event(Decided([Desired("tier", 0, ("tier-1",), "idle")], "nothing queued"))
    assert events(monitor.status(), EventKind.CAPACITY) == [
        ("tier", "3 units wanted, 0 before: work waits (5 items queued)"),
        ("tier", "0 units wanted, 3 before, 1 unit told to leave: idle (nothing queued)"),
    ]


def test_who_comes_and_goes_is_told(bench: Bench) -> None:
    monitor = FakeMonitor(bench)
    client, worker, manager = bench.client("c"), bench.worker("w", slots=2), FakeManager(bench)
    client.submit(b"x")
    worker.lose()
    manager.lose()
    client.lose(on_purpose=True)
    status = monitor.status()
    assert events(status, EventKind.WORKER) == [
        ("w", "has connected: 2 slots"),
        ("w", "lost its connection, with 1 item"),
    ]
    assert events(status, EventKind.MANAGER) == [
        ("tier", "has connected from tier at a host: up to 4 units of 1 slot"),
        ("tier", "is not connected any more; its units serve on"),
    ]
    assert events(status, EventKind.CLIENT) == [("c", "has connected"), ("c", "has left, with 1 unfinished task")]


def test_a_manager_that_cannot_start_units_says_why_and_when_it_can_again(bench: Bench) -> None:
    monitor, manager = FakeMonitor(bench), FakeManager(bench)
    status = m.ManagerStatus("tier", "baremetal_native", 4, 1, 0.5, (), 0, "no quota", 0)
    manager.send(status)
    manager.send(status)
    manager.send(m.ManagerStatus("tier", "baremetal_native", 4, 1, 0.5, (), 0, "", 0))
    assert events(monitor.status(), EventKind.MANAGER)[1:] == [
        ("tier", "cannot start units: no quota"),
        ("tier", "can start units again"),
    ]


def test_only_newer_events_are_sent_and_a_burst_of_one_kind_keeps_the_others(bench: Bench) -> None:
    feed = Feed()
    feed.tell(0.0, EventKind.CAPACITY, "tier", "wanted")
    for number in range(3 * KEPT):
        feed.tell(1.0, EventKind.WORKER, "w", str(number))
    kept = feed.since(0)
    assert [event.number for event in kept] == [1, *range(2 * KEPT + 2, 3 * KEPT + 2)]
    assert [event.text for event in feed.since(feed.last - 2)] == [str(3 * KEPT - 2), str(3 * KEPT - 1)]
    monitor = FakeMonitor(bench)
    bench.client("a")
    last = monitor.status().events[-1][0]
    assert monitor.status(last).events == ()
    bench.client("b")
    assert [row[3] for row in monitor.status(last).events] == ["b"]


def test_of_many_clients_those_with_most_work_are_shown(bench: Bench) -> None:
    monitor = FakeMonitor(bench)
    for number in range(CLIENTS + 5):
        client = bench.client(f"c{number}")
        client.submit(*[b"x"] * (number + 1))
    status = monitor.status()
    assert [row[1] for row in status.clients] == [f"c{number}" for number in range(CLIENTS + 4, 4, -1)]
    assert status.clients_left_out == 5


def test_a_task_is_explained_to_a_monitor_whoever_owns_it(bench: Bench) -> None:
    monitor, first, second = FakeMonitor(bench), bench.client("first"), bench.client("second")
    (task,) = first.submit(b"x")
    assert monitor.explain(task).startswith(f"task {task} of first ({first.session[:4].hex()}), function-0: ")
    assert "none is connected" in monitor.explain(task, "first")
    assert monitor.explain(task, "second").startswith(f"the scheduler has no task {task} of client 'second'")
    assert monitor.explain(task, "third") == "no client 'third' is known here: it has gone, or never came"
    second.submit(b"x")
    assert len([line for line in monitor.explain(task).splitlines() if line.startswith("task ")]) == 2
    assert monitor.explain(task, second.session.hex()).startswith(f"task {task} of second")


def test_without_clients_there_is_nobody_whose_task_it_could_be(bench: Bench) -> None:
    assert FakeMonitor(bench).explain(3) == "no client is connected"


def test_a_monitor_that_sends_something_else_is_closed(bench: Bench) -> None:
    FakeMonitor(bench).send(m.CancelTasks(()))
    assert "a monitor does not send CancelTasks" in bench.take_fault()


def test_a_monitor_that_left_is_forgotten_and_a_shutdown_is_told_to_those_that_stay(bench: Bench) -> None:
    gone, stays = FakeMonitor(bench), FakeMonitor(bench)
    gone.lose()
    assert bench.core.state.monitors == {stays.session}
    bench.core.state.protected = False
    bench.client().send(m.Shutdown("enough"))
    assert stays.take_one(m.Shutdown)
