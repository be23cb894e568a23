"""Items that wait for tasks of their own: whose account, in which order, up to which depth, and when they end early."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from scaler_trio.scheduler.core import fleet, nesting
from tests.kit.scheduler import Bench

if TYPE_CHECKING:
    import pytest


def test_an_item_that_waits_makes_room_for_what_it_waits_for(bench: Bench) -> None:
    outer, inner, worker = bench.client(), bench.client(), bench.worker()
    outer.submit(b"parent")
    (parent,) = worker.take_tasks()
    inner.submit(b"child")
    assert worker.take_tasks() == [], "its only slot is taken"
    worker.send(m.Waiting(((parent[0], 1, inner.session),)))
    (child,) = worker.take_tasks()
    assert child[1] == inner.session
    worker.finish(child)
    worker.send(m.Waiting(((parent[0], 0, inner.session),)))
    worker.finish(parent)
    assert set(inner.take_results()) == {child[2]}
    assert set(outer.take_results()) == {parent[2]}


def test_what_is_deepest_goes_first(bench: Bench) -> None:
    outer, inner, worker = bench.client(), bench.client(), bench.worker()
    outer.submit(b"parent", b"other parent")
    (parent,) = worker.take_tasks()
    inner.submit(b"child")
    worker.send(m.Waiting(((parent[0], 1, inner.session),)))
    (child,) = worker.take_tasks()
    assert child[1] == inner.session, "although the other parent is older"
    root = bench.core.state.clients[outer.session]
    assert bench.core.state.clients[inner.session].root is root


def test_a_worker_where_too_many_wait_gets_only_tasks_of_tasks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "BLOCKED_PER_SLOT", 1)
    outer, inner, worker = bench.client(), bench.client(), bench.worker()
    outer.submit(b"parent", b"other parent")
    (parent,) = worker.take_tasks()
    worker.send(m.Waiting(((parent[0], 1, inner.session),)))
    assert worker.take_tasks() == []
    inner.submit(b"child")
    (child,) = worker.take_tasks()
    assert child[1] == inner.session


def test_tasks_that_are_too_deep_fail(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nesting, "NESTING_DEPTH", 0)
    outer, inner, worker = bench.client(), bench.client(), bench.worker()
    outer.submit(b"parent")
    (parent,) = worker.take_tasks()
    (number,) = inner.submit(b"child")
    worker.send(m.Waiting(((parent[0], 1, inner.session),)))
    assert worker.take_tasks() == []
    ((outcome, text),) = [inner.take_results()[number]]
    assert outcome == Outcome.TOO_DEEP
    assert b"deeper than 0" in text


def test_the_session_of_a_dead_processor_is_forgotten_at_once(bench: Bench) -> None:
    outer, inner, worker = bench.client(), bench.client(), bench.worker(slots=2)
    outer.submit(b"parent")
    (parent,) = worker.take_tasks()
    worker.send(m.Waiting(((parent[0], 1, inner.session),)))
    inner.submit(b"child")
    (child,) = worker.take_tasks()
    worker.send(m.Waiting(((parent[0], 0, inner.session),), (inner.session,)))
    assert inner.session not in bench.core.state.clients
    assert worker.take_one(m.CancelAttempts).rows == ((child[0], 0, 1),)


def test_a_session_that_the_worker_did_not_name_before_is_not_its_to_end(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    worker.send(m.Waiting((), (client.session,)))
    assert client.session in bench.core.state.clients


def test_what_waits_is_counted_anew_after_a_reconnect(bench: Bench) -> None:
    outer, inner, worker = bench.client(), bench.client(), bench.worker()
    outer.submit(b"parent")
    (parent,) = worker.take_tasks()
    worker.send(m.Waiting(((parent[0], 1, inner.session),)))
    record = bench.core.state.workers[worker.session]
    assert (record.items, record.waiting) == (0, 1)
    worker.lose()
    assert (record.items, record.waiting) == (1, 0)


def test_only_its_own_attempts_wait(bench: Bench) -> None:
    client, worker, other = bench.client(), bench.worker("a"), bench.worker("b")
    client.submit(b"x", b"y")
    (mine,) = worker.take_tasks()
    other.send(m.Waiting(((mine[0], 1, bytes(16)),)))
    assert "not its own" in bench.take_fault()


def test_tasks_that_are_too_deep_fail_also_when_they_come_after_the_word_that_their_parent_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nesting, "NESTING_DEPTH", 0)
    outer, inner, worker = bench.client(), bench.client(), bench.worker()
    outer.submit(b"parent")
    (parent,) = worker.take_tasks()
    worker.send(m.Waiting(((parent[0], 1, inner.session),)))
    (number,) = inner.submit(b"child")
    assert worker.take_tasks() == []
    assert inner.take_results()[number][0] == Outcome.TOO_DEEP


def test_a_session_that_ends_in_the_step_of_its_childs_result_leaves_nothing_behind(bench: Bench) -> None:
    outer, inner, worker = bench.client(), bench.client(), bench.worker()
    outer.submit(b"parent")
    (parent,) = worker.take_tasks()
    worker.send(m.Waiting(((parent[0], 1, inner.session),)))
    inner.submit(b"child")
    (child,) = worker.take_tasks()
    worker.send(
        m.AttemptResults(((child[0], 0, b"value", (), 0.1),)),
        m.Waiting(((parent[0], 0, inner.session),), (inner.session,)),
        m.Crashed(((parent[0], 0, True, "killed"),)),
    )
    inner.lose()
    (parent,) = worker.take_tasks()
    worker.finish(parent)
    outer.take_results()
    bench.advance(1)
    assert child[0] in worker.take_settled()
    assert not bench.core.state.attempts


def test_a_suspect_that_waits_keeps_its_worker_to_itself(bench: Bench) -> None:
    outer, inner, other, worker = bench.client(), bench.client(), bench.client(), bench.worker(slots=2)
    first, second = outer.submit(b"a", b"b")
    worker.take_tasks()
    worker.lose()
    bench.advance(1)
    successor = bench.worker("second", slots=2)
    (suspect,) = successor.take_tasks()
    outer.cancel(second if suspect[2] == first else first)
    successor.send(m.Waiting(((suspect[0], 1, inner.session),)))
    inner.submit(b"child")
    (child,) = successor.take_tasks()
    successor.finish(child)
    other.submit(b"innocent")
    assert successor.take_tasks() == []
    successor.send(m.Waiting(((suspect[0], 0, inner.session),)))
    assert successor.take_tasks() == []
    successor.finish(suspect)
    assert [task[4] for task in successor.take_tasks()] == [b"innocent"]
