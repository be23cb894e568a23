"""Worker managers in the scheduler: what policies see, and how what they want is carried out."""

from __future__ import annotations

from typing import Any

import pytest

from scaler_protocol import messages as m
from scaler_trio.scheduler.core.events import Decided, ManagerConnected
from scaler_trio.scheduler.core.viewing import view
from scaler_trio.scheduler.policy.core.view import Desired, Manager, Unit, View
from tests.kit.scheduler import Bench, FakePeer, FakeWorker


class FakeManager(FakePeer):
    """A connected worker manager."""

    def __init__(self, bench: Bench, **status: Any) -> None:
        super().__init__(bench, "tier at a host", "3.11")
        self.is_connected = True
        bench.event(ManagerConnected(self.session, self.name, self.python))
        fields: dict[str, Any] = {
            "manager": "tier",
            "kind": "baremetal_native",
            "limit": 4,
            "slots": 1,
            "start_s": 0.5,
            "capabilities": (),
            "launching": 0,
            "problem": "",
            "wanted": 0,
        }
        self.send(m.ManagerStatus(**{**fields, **status}))

    def asked(self) -> list[m.DesiredUnits]:
        """What it was asked for since last time."""
        return self.take(m.DesiredUnits)


def look(bench: Bench) -> View:
    bench.core.state.now = bench.now
    return view(bench.core.state)


def unit(bench: Bench, name: str) -> FakeWorker:
    return bench.worker(name, manager="tier")


def test_the_view_counts_units_and_work(bench: Bench) -> None:
    client = bench.client()
    FakeManager(bench, limit=7, launching=2, start_s=3.0)
    unit(bench, "tier-1")
    bench.worker("nobody's")
    client.submit(*[b"x"] * 5)
    bench.advance(2.0)
    seen = look(bench)
    (work,) = seen.work
    assert (work.queued, work.running, work.known) == (3, 2, False)
    assert work.seconds_each == pytest.approx(4.0)
    tier = next(manager for manager in seen.managers if manager.name == "tier")
    assert tier == Manager("tier", 7, 1, 3.0, (Unit("tier-1", 1, 1, 0.0),), 2, "3.11")
    other = next(manager for manager in seen.managers if manager.limit == 0)
    assert [one.name for one in other.units] == ["nobody's"]


def test_rows_of_arrays_and_kinds_of_work_are_counted_apart(bench: Bench) -> None:
    client = bench.client()
    client.open(50)
    client.submit(b"a", b"b", capabilities=(("gpu", 1),))
    seen = {work.capabilities: work for work in look(bench).work}
    assert seen[()].queued == 50
    assert seen[("gpu", 1),].queued == 2


def test_measured_durations_are_known(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    for _ in range(5):
        client.submit(b"x")
        ((attempt, *_),) = worker.take_tasks()
        worker.finish((attempt,), seconds=0.25)
    client.submit(b"x", b"y")
    (work,) = look(bench).work
    assert work.known
    assert work.seconds_each == pytest.approx(0.25)


def test_idle_time_grows(bench: Bench) -> None:
    FakeManager(bench)
    unit(bench, "tier-1")
    bench.advance(7.0)
    assert look(bench).managers[0].units[0].idle_s == pytest.approx(7.0)


def test_a_manager_is_asked_once_for_each_change(bench: Bench) -> None:
    manager = FakeManager(bench)
    bench.event(Decided([Desired("tier", 3, (), "work waits")]))
    bench.event(Decided([Desired("tier", 3, (), "work waits still")]))
    assert [(told.units, told.reason) for told in manager.asked()] == [(3, "work waits")]
    bench.event(Decided([Desired("tier", 1, (), "less"), Desired("not there", 5)]))
    assert [told.units for told in manager.asked()] == [1]


def test_a_unit_that_is_to_go_is_drained_and_gets_nothing_more(bench: Bench) -> None:
    client, manager = bench.client(), FakeManager(bench)
    going = unit(bench, "tier-1")
    bench.event(Decided([Desired("tier", 0, ("tier-1",), "idle")]))
    assert going.take(m.Drain)
    assert manager.asked()[0].drained == ("tier-1",)
    client.submit(b"x")
    assert going.take_tasks() == []
    assert look(bench).managers[0].serving == ()


def test_two_managers_of_one_id(bench: Bench) -> None:
    FakeManager(bench)
    FakeManager(bench)
    assert "connected already" in bench.take_fault()


def test_a_manager_that_comes_back_is_asked_again(bench: Bench) -> None:
    first = FakeManager(bench)
    bench.event(Decided([Desired("tier", 2)]))
    first.lose()
    second = FakeManager(bench)
    bench.event(Decided([Desired("tier", 2)]))
    assert [told.units for told in second.asked()] == [2]


def test_a_manager_hears_of_its_units(bench: Bench) -> None:
    unit(bench, "tier-1")
    manager = FakeManager(bench)
    assert manager.take(m.Units) == [m.Units(("tier-1",), ())]
    second = unit(bench, "tier-2")
    bench.worker("nobody's")
    assert manager.take(m.Units) == [m.Units(("tier-2",), ())]
    second.lose()
    assert manager.take(m.Units) == [m.Units((), ("tier-2",))]
