"""Crashes of processors, loss of workers, and workers that come back."""

from __future__ import annotations

import pytest

from scaler_protocol import messages as m
from scaler_protocol.messages import NoticeKind, Outcome
from tests.kit.scheduler import Bench, FakeWorker


def settle(*workers: FakeWorker) -> None:
    for worker in workers:
        worker.take_settled()
        worker.take(m.CancelAttempts)
        worker.answer_recalls()


# ------------------------------------------------------------------------------------------------------------- crashes


def test_a_crashed_task_runs_again_and_its_client_is_told(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.crash(task[0])
    assert client.take_one(m.Notices).rows == (
        (number, 0, int(NoticeKind.RETRY), "run again after crash 1 of 3: killed by SIGSEGV"),
    )
    worker.finish(*worker.take_tasks())
    assert client.take_results() == {number: (Outcome.VALUE, b"done")}
    settle(worker)
    bench.check_empty()


@pytest.mark.parametrize("limit", [1, 3])
def test_a_task_that_always_crashes_fails_at_its_limit_with_the_cause(bench: Bench, limit: int) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x", crash_limit=limit)
    for _ in range(limit):
        (task,) = worker.take_tasks()
        worker.crash(task[0])
    text = f"killed by SIGSEGV (crash {limit}, limit {limit})".encode()
    assert client.take_results() == {number: (Outcome.CRASHED, text)}
    assert len(client.take(m.Notices)) == limit - 1
    settle(worker)
    bench.check_empty()


def test_a_death_on_purpose_is_not_charged(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.submit(b"x", crash_limit=1)
    for _ in range(5):
        (task,) = worker.take_tasks()
        worker.crash(task[0], charged=False)
    worker.finish(*worker.take_tasks())
    assert [outcome for outcome, _ in client.take_results().values()] == [Outcome.VALUE]


def test_a_crashed_row_is_counted_for_itself_only(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(100)
    for _ in range(5):
        worker.finish_slice(*worker.take_slices())
    rows = client.take_rows()
    crashes = 0
    while True:
        slices = worker.take_slices()
        if not slices:
            break
        for slice_ in slices:
            if slice_.lo <= 50 < slice_.hi:
                crashes += 1
                worker.finish_slice(slice_, hi=50) if slice_.lo < 50 else None
                worker.crash(slice_.attempt, 50)
                worker.give_back(slice_.attempt, 51, slice_.hi, m.ReturnReason.NEIGHBOUR_CRASHED)
            else:
                worker.finish_slice(slice_)
        rows |= client.take_rows()
    assert crashes == 3
    assert {row for row, (outcome, _) in rows.items() if outcome is not Outcome.VALUE} == {50}
    assert rows[50] == (Outcome.CRASHED, b"killed by SIGSEGV (crash 3, limit 3)")
    assert len(rows) == 100
    client.take(m.Notices)
    settle(worker)
    bench.check_empty()


def test_a_cancelled_task_that_crashes_is_cancelled(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x")
    (task,) = worker.take_tasks()
    client.cancel(number)
    worker.crash(task[0])
    assert client.take_results()[number][0] is Outcome.CANCELLED
    settle(worker)
    bench.check_empty()


# ---------------------------------------------------------------------------------------------------------------- loss


def test_a_lost_workers_task_waits_for_its_grace_and_then_goes_to_another(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    client.submit(b"x")
    worker.take_tasks()
    worker.lose()
    other = bench.worker("b")
    bench.advance(0.49)
    assert other.take_tasks() == []
    bench.advance(0.02)
    assert len(other.take_tasks()) == 1
    (notice,) = client.take_one(m.Notices).rows
    assert "its worker 'a' was lost while it ran alone there" in notice[3]


def test_a_worker_that_says_goodbye_gets_no_grace_and_nothing_is_charged(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    client.submit(b"x", crash_limit=1)
    worker.take_tasks()
    worker.lose(on_purpose=True)
    other = bench.worker("b")
    other.finish(*other.take_tasks())
    assert [outcome for outcome, _ in client.take_results().values()] == [Outcome.VALUE]
    settle(other)
    bench.check_empty()
    assert list(bench.core.state.workers) == [other.session]


def test_a_task_that_kills_every_worker_alone_fails_at_its_crash_limit(bench: Bench) -> None:
    client = bench.client()
    (number,) = client.submit(b"x")
    for name in "abc":
        worker = bench.worker(name)
        assert len(worker.take_tasks()) == 1
        worker.lose()
        bench.advance(1.0)
    outcome, text = client.take_results()[number]
    assert outcome is Outcome.CRASHED
    assert text == b"its worker 'c' was lost while it ran alone there (crash 3, limit 3)"
    client.take(m.Notices)
    bench.advance(60.0)
    bench.check_empty()
    assert bench.core.state.workers == {}


def test_suspects_of_a_workers_death_are_isolated_until_the_culprit_is_alone(bench: Bench) -> None:
    """Row 77 kills its worker. Nobody else may be charged, and everybody else must end."""
    client = bench.client()
    client.open(400)
    names = iter(range(1000))
    workers = [bench.worker(str(next(names))) for _ in range(4)]
    rows: dict[int, tuple[Outcome, bytes]] = {}
    deaths = []
    while len(rows) < 400:
        progressed = False
        for worker in list(workers):
            for slice_ in worker.take_slices():
                progressed = True
                if not worker.is_connected:
                    break
                if slice_.lo <= 77 < slice_.hi:
                    deaths.append(slice_.hi - slice_.lo)
                    worker.lose()
                    workers.remove(worker)
                    workers.append(bench.worker(str(next(names))))
                    break
                worker.finish_slice(slice_, seconds_each=0.0008)
        rows |= client.take_rows()
        for worker in workers:
            settle(worker)
        if not progressed:
            bench.advance(0.6)
    assert {row: outcome for row, (outcome, _) in rows.items() if outcome is not Outcome.VALUE} == {77: Outcome.CRASHED}
    assert deaths == sorted(deaths, reverse=True)
    assert deaths[-3:] == [1, 1, 1]
    assert len(deaths) <= 6
    client.take(m.Notices)
    bench.advance(60.0)
    bench.check_empty()


def test_a_suspect_has_its_worker_to_itself(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a", slots=4)
    client.submit(b"1", b"2")
    worker.lose()
    bench.advance(1.0)
    other = bench.worker("b", slots=4)
    client.submit(b"3")
    first = other.take_tasks()
    assert len(first) == 1, "one suspect and nothing else"
    other.finish(*first)
    second = other.take_tasks()
    other.finish(*second)
    assert [row[4] for row in first + second + other.take_tasks()] == [b"1", b"2", b"3"]


def test_a_busy_worker_is_run_empty_for_a_suspect(bench: Bench) -> None:
    client, busy, dying = bench.client(), bench.worker("busy", slots=2), bench.worker("dying", slots=2)
    client.submit(*[b"x"] * 20)
    tasks = busy.take_tasks()
    assert len(dying.take_tasks()) == 2
    dying.lose()
    bench.advance(1.0)
    busy.finish(tasks[0], seconds=1.0)
    assert busy.take_tasks() == [], "it is kept free for the suspect"
    busy.finish(tasks[1], seconds=1.0)
    (suspect,) = busy.take_tasks()
    busy.finish(suspect, seconds=1.0)
    (suspect,) = busy.take_tasks()
    busy.finish(suspect, seconds=1.0)
    assert len(busy.take_tasks()) == 2


def test_a_worker_is_not_kept_free_for_a_suspect_that_was_cancelled(bench: Bench) -> None:
    client, busy, dying = bench.client(), bench.worker("busy", slots=2), bench.worker("dying", slots=2)
    numbers = client.submit(*[b"x"] * 20)
    tasks = busy.take_tasks()
    dying.lose()
    bench.advance(1.0)
    busy.finish(tasks[0], seconds=1.0)
    assert busy.take_tasks() == []
    done = {row[2] for row in tasks}
    for number in numbers[:4]:
        if number not in done:
            client.cancel(number)
    assert len(busy.take_tasks()) == 1


# --------------------------------------------------------------------------------------------------------- coming back


def test_a_worker_that_comes_back_in_time_goes_on(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    (number,) = client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.lose()
    bench.advance(0.3)
    assert worker.connect(unfinished=[worker.held(task)]).drop == ()
    assert worker.take_tasks() == []
    worker.finish(task)
    assert client.take_results() == {number: (Outcome.VALUE, b"done")}
    settle(worker)
    bench.check_empty()


def test_what_is_missing_at_a_worker_that_comes_back_is_given_out_again(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a", slots=2)
    client.submit(b"1", b"2")
    first, second = worker.take_tasks()
    worker.lose()
    worker.connect(unfinished=[worker.held(second)])
    (again,) = worker.take_tasks()
    assert again[4] == first[4]
    worker.finish(again, second)
    assert len(client.take_results()) == 2
    settle(worker)
    bench.check_empty()


def test_results_that_were_lost_on_their_way_come_again(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    (number,) = client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.lose()
    worker.connect(finished=[worker.held(task)])
    assert worker.take_tasks() == []
    worker.finish(task)
    assert client.take_results() == {number: (Outcome.VALUE, b"done")}
    settle(worker)
    bench.check_empty()


def test_a_settlement_that_was_lost_on_its_way_is_told_again(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.finish(task)
    worker.lose()
    client.take_results()
    assert worker.connect(finished=[worker.held(task)]).drop == ((1, task[0]),)
    worker.finish(task)
    assert client.take_results() == {}
    assert worker.take_settled() == [task[0]]
    bench.check_empty()


def test_a_result_that_is_not_yet_acknowledged_may_come_again(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.finish(task)
    worker.lose()
    assert worker.connect(finished=[worker.held(task)]).drop == ()
    worker.finish(task)
    assert worker.take_settled() == []
    assert len(client.take_results()) == 1
    assert worker.take_settled() == [task[0]]
    bench.check_empty()


def test_a_worker_that_comes_back_late_goes_on_with_what_nobody_else_has(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    (number,) = client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.lose()
    bench.advance(2.0)
    assert worker.connect(unfinished=[worker.held(task)]).drop == ()
    assert worker.take_tasks() == []
    worker.finish(task)
    assert client.take_results() == {number: (Outcome.VALUE, b"done")}
    client.take(m.Notices)
    settle(worker)
    bench.check_empty()


@pytest.mark.parametrize("winner", ["old", "new"])
def test_a_race_is_won_by_the_first_result_and_the_loser_is_cancelled(bench: Bench, winner: str) -> None:
    client, old = bench.client(), bench.worker("old")
    (number,) = client.submit(b"x")
    (task,) = old.take_tasks()
    old.lose()
    bench.advance(1.0)
    new = bench.worker("new")
    (again,) = new.take_tasks()
    assert old.connect(unfinished=[old.held(task)]).drop == ()
    first, its, second, other = (old, task, new, again) if winner == "old" else (new, again, old, task)
    first.finish(its, result=b"first")
    assert client.take_results() == {number: (Outcome.VALUE, b"first")}
    assert second.take_one(m.CancelAttempts).rows == ((other[0], 0, 1),)
    second.finish(other, result=b"second")
    assert client.take_results() == {}
    client.take(m.Notices)
    settle(old, new)
    bench.check_empty()


@pytest.mark.parametrize("winner", ["old", "new"])
def test_a_race_of_slices_is_won_row_by_row(bench: Bench, winner: str) -> None:
    client, old = bench.client(), bench.worker("old")
    client.open(40)
    for _ in range(5):
        old.finish_slice(*old.take_slices(), seconds_each=0.001)
    client.take_rows()
    slices = old.take_slices()
    old.lose()
    bench.advance(1.0)
    new = bench.worker("new")
    (again,) = new.take_slices()
    old.connect(unfinished=[old.held(slice_) for slice_ in slices])
    assert again.lo == slices[0].lo
    if winner == "old":
        old.finish_slice(slices[0])
        assert new.take_one(m.CancelAttempts).rows == ((again.attempt, again.lo, again.hi),)
        new.finish_slice(again)
    else:
        new.finish_slice(again)
        assert old.take_one(m.CancelAttempts).rows == ((slices[0].attempt, again.lo, again.hi),)
        old.give_back(slices[0].attempt, again.lo, again.hi, m.ReturnReason.CANCELLED)
    rows = client.take_rows()
    for _ in range(50):
        for worker in (old, new):
            for slice_ in worker.take_slices():
                worker.finish_slice(slice_)
        rows |= client.take_rows()
    if winner == "old":
        assert sorted(rows) == sorted({row for s in slices[:1] for row in range(s.lo, s.hi)} | set(rows))
    for slice_ in slices[1:]:
        old.finish_slice(slice_)
    open_rows = bench.core.state.workers[old.session].attempts.values()
    for attempt in list(open_rows):
        for lo, hi in list(attempt.open):
            old.finish_slice(slices[0], lo, hi)
    for _ in range(50):
        rows |= client.take_rows()
        for worker in (old, new):
            for slice_ in worker.take_slices():
                worker.finish_slice(slice_)
    assert sorted(rows) == list(range(5, 40))
    client.take(m.Notices)
    settle(old, new)
    bench.check_empty()


def test_a_late_worker_is_told_to_stop_what_is_done_by_now(bench: Bench) -> None:
    client, old = bench.client(), bench.worker("old")
    client.submit(b"x")
    (task,) = old.take_tasks()
    old.lose()
    bench.advance(1.0)
    new = bench.worker("new")
    new.finish(*new.take_tasks())
    old.connect(unfinished=[old.held(task)])
    assert old.take_one(m.CancelAttempts).rows == ((task[0], 0, 1),)
    old.give_back(task[0], reason=m.ReturnReason.CANCELLED)
    assert len(client.take_results()) == 1
    client.take(m.Notices)
    settle(old, new)
    bench.check_empty()


def test_a_cancel_that_came_while_the_worker_was_away_reaches_it(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    (number,) = client.submit(b"x")
    array = client.open(1)
    (task,) = worker.take_tasks()
    worker.lose()
    client.cancel(number)
    client.cancel(array)
    worker.connect(unfinished=[worker.held(task)])
    assert worker.take_one(m.CancelAttempts).rows == ((task[0], 0, 1),)
    worker.give_back(task[0], reason=m.ReturnReason.CANCELLED)
    assert client.take_results()[number][0] is Outcome.CANCELLED
    assert client.take_rows()[0][0] is Outcome.CANCELLED
    settle(worker)
    bench.check_empty()


def test_a_worker_that_stays_away_is_forgotten_and_so_are_its_attempts(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.lose()
    bench.advance(100.0)
    assert bench.core.state.workers == {}
    assert worker.connect(unfinished=[worker.held(task)]).drop == ((1, task[0]),)
    assert len(worker.take_tasks()) == 1


def test_a_second_connection_of_a_worker_supersedes_the_first(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    client.submit(b"x")
    (task,) = worker.take_tasks()
    worker.connect(unfinished=[worker.held(task)])
    assert bench.core.state.fleet.slots == 1
    assert worker.take_tasks() == []
    worker.finish(task)
    client.submit(b"y")
    assert worker.take(m.PutFunction), "functions are sent once per connection"
    assert len(worker.take_tasks()) == 1


def test_a_worker_may_come_back_with_other_slots_and_capabilities(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    worker.lose()
    worker.slots, worker.amounts = 3, {"gpu": -1}
    worker.connect()
    client.submit(*[b"x"] * 3, capabilities=(("gpu", -1),))
    assert len(worker.take_tasks()) == 3
