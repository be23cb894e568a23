"""Task arrays: rows in, slices out, results per row."""

from __future__ import annotations

import itertools
import math

import pytest

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome, ReturnReason
from scaler_trio.scheduler.core.tuning import Tuning
from tests.kit.scheduler import Bench, FakeClient, FakeWorker, u32


def run(bench: Bench, client: FakeClient, *workers: FakeWorker) -> dict[int, tuple[Outcome, bytes]]:
    """Finish slices until there are none; all rows."""
    rows: dict[int, tuple[Outcome, bytes]] = {}
    busy = True
    while busy:
        busy = False
        for worker in workers:
            for slice_ in worker.take_slices():
                worker.finish_slice(slice_)
                busy = True
        new = client.take_rows()
        assert not rows.keys() & new.keys()
        rows |= new
    for worker in workers:
        worker.take_settled()
        worker.take(m.Recall)
    return rows


def value(row: int) -> tuple[Outcome, bytes]:
    return Outcome.VALUE, b"row %d" % row


def test_every_row_of_an_array_has_one_result(bench: Bench) -> None:
    client, workers = bench.client(), [bench.worker("a"), bench.worker("b")]
    client.open(1000)
    assert run(bench, client, *workers) == {row: value(row) for row in range(1000)}
    bench.check_empty()


def test_a_slice_ships_only_its_own_rows(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    number = client.open(100, name="n")
    (slice_,) = worker.take_slices()
    assert (slice_.task, slice_.lo, slice_.hi, slice_.first, slice_.page_rows) == (number, 0, 1, 0, 1)
    assert (slice_.client, slice_.options.name, slice_.expected_s) == (client.session, "n", 0.0)
    assert (bytes(slice_.data), bytes(slice_.offsets)) == (b"0", u32([0, 1]))
    worker.finish_slice(slice_)
    (slice_,) = worker.take_slices()
    assert (slice_.lo, slice_.hi, bytes(slice_.data), bytes(slice_.offsets)) == (1, 2, b"1", u32([0, 1]))


def test_pages_are_shipped_whole_and_a_slice_may_begin_inside_one(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    number = client.open(0, count=200)
    client.block(number, 0, 200, page_rows=64)
    slices = []
    while given := worker.take_slices():
        slices += given
        for slice_ in given:
            worker.finish_slice(slice_)
    assert slices[-1].hi == 200
    for slice_ in slices:
        assert slice_.first <= slice_.lo < slice_.first + 64
        assert slice_.first % 64 == 0
        offsets = memoryview(slice_.offsets).cast("B").cast("I").tolist()
        pages = [bytes(slice_.data[a:b]) for a, b in itertools.pairwise(offsets)]
        assert pages == [b"%d" % page for page in range(slice_.first, slice_.hi, 64)]
    assert any(slice_.lo % 64 for slice_ in slices)


def test_slices_grow_to_the_time_that_a_slice_should_take(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(10_000)
    for _ in range(5):
        (slice_,) = worker.take_slices()
        assert slice_.hi - slice_.lo == 1, "one row until the function is known"
        worker.finish_slice(slice_, seconds_each=0.001)
    slices = worker.take_slices()
    full = round(bench.tuning.slice_s / 0.001)
    ahead = math.ceil(bench.tuning.feed_rows_s / bench.tuning.slice_s)
    assert [slice_.hi - slice_.lo for slice_ in slices] == [full] * ahead, "and as much ahead as feeding allows"
    assert slices[0].expected_s == pytest.approx(0.001)


def test_long_rows_go_one_by_one_with_nothing_ahead(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(100)
    for _ in range(10):
        (slice_,) = worker.take_slices()
        assert slice_.hi - slice_.lo == 1
        worker.finish_slice(slice_, seconds_each=1.0)


def test_a_slow_start_does_not_last_when_rows_become_short(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(5000)
    sizes: list[int] = []
    while slices := worker.take_slices():
        for slice_ in slices:
            sizes.append(slice_.hi - slice_.lo)
            worker.finish_slice(slice_, seconds_each=0.2 if slice_.lo < 10 else 0.001)
    assert sizes[:10] == [1] * 10
    assert max(sizes[:150]) >= bench.tuning.slice_s / 0.001 / 2


def test_near_the_end_slices_shrink_so_that_all_workers_end_together(bench: Bench) -> None:
    bench = Bench(tuning=Tuning(slice_s=0.02, least_slice_s=0.001, feed_rows_s=0.05))
    client, workers = bench.client(), [bench.worker(name) for name in "abcd"]
    client.open(1000)
    sizes: list[int] = []
    while True:
        slices = [(worker, slice_) for worker in workers for slice_ in worker.take_slices()]
        if not slices:
            break
        sizes += [slice_.hi - slice_.lo for _, slice_ in slices]
        for worker, slice_ in slices:
            worker.finish_slice(slice_, seconds_each=0.002)
        client.take_rows()
    assert max(sizes) == 10
    assert sizes[-4:] == sorted(sizes[-4:], reverse=True)
    assert sizes[-1] <= 2


def test_near_the_end_a_slice_is_cut_no_finer_than_is_worth_a_message(bench: Bench) -> None:
    client, workers = bench.client(), [bench.worker(name) for name in "abcd"]
    client.open(1000)
    sizes: list[int] = []
    while slices := [(worker, slice_) for worker in workers for slice_ in worker.take_slices()]:
        sizes += [slice_.hi - slice_.lo for _, slice_ in slices]
        for worker, slice_ in slices:
            worker.finish_slice(slice_, seconds_each=0.002)
        client.take_rows()
    known = [size for size in sizes[:-1] if size > 1]
    assert min(known) * 0.002 >= bench.tuning.least_slice_s
    assert sum(sizes) == 1000


def test_rows_may_come_block_by_block_with_the_count_at_the_end(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    number = client.open(10, count=-1)
    rows = run(bench, client, worker)
    client.block(number, 10, 10)
    rows |= run(bench, client, worker)
    assert bench.core.state.clients[client.session].arrays
    client.send(m.EndArray(number, 20))
    assert sorted(rows) == list(range(20))
    bench.check_empty()


def test_a_block_that_comes_again_is_ignored(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    number = client.open(10)
    client.block(number, 0, 10)
    assert sorted(run(bench, client, worker)) == list(range(10))
    bench.check_empty()


def test_void_rows_are_never_run_nor_reported(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    number = client.open(0, count=10)
    client.block(number, 0, 10, void=(0, 4, 5, 9))
    assert sorted(run(bench, client, worker)) == [1, 2, 3, 6, 7, 8]
    bench.check_empty()


def test_an_array_of_nothing_but_void_rows_ends_by_itself(bench: Bench) -> None:
    client = bench.client()
    number = client.open(0, count=3)
    client.block(number, 0, 3, void=(0, 1, 2, 2))
    bench.check_empty()


def test_an_array_without_rows_ends_by_itself(bench: Bench) -> None:
    client = bench.client()
    client.open(0, count=0)
    number = client.open(0, count=-1)
    client.send(m.EndArray(number, 0))
    bench.check_empty()


def test_rows_that_are_done_already_are_not_run_again(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(20, done=[(0, 5), (10, 12), (19, 20)])
    assert sorted(run(bench, client, worker)) == [*range(5, 10), *range(12, 19)]
    bench.check_empty()


def test_blocks_that_the_client_leaves_out_are_done(bench: Bench) -> None:
    """A client frees a block of which every row is done, and has not room to name every such range."""
    client, worker = bench.client(), bench.worker()
    number = client.open(0, count=40, done=[(0, 5)])
    client.block(number, 10, 10)
    client.block(number, 30, 5)
    assert sorted(run(bench, client, worker)) == [*range(10, 20), *range(30, 35)]
    client.send(m.EndArray(number, 40))
    bench.check_empty()


def test_a_row_that_failed_is_named_with_its_outcome(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(1)
    (slice_,) = worker.take_slices()
    worker.finish_slice(slice_, failed=[(0, int(Outcome.ERROR))])
    assert client.take_rows() == {0: (Outcome.ERROR, b"row 0")}


def test_a_slice_may_be_reported_in_parts(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(1000)
    for _ in range(5):
        worker.finish_slice(*worker.take_slices())
    client.take_rows()
    worker.take_settled()
    slice_ = worker.take_slices()[0]
    middle = (slice_.lo + slice_.hi) // 2
    worker.finish_slice(slice_, hi=middle)
    assert sorted(client.take_rows()) == list(range(slice_.lo, middle))
    assert worker.take_settled() == [], "the rest is still open"
    worker.finish_slice(slice_, lo=middle)
    assert sorted(client.take_rows()) == list(range(middle, slice_.hi))
    assert worker.take_settled() == [slice_.attempt]


def test_results_of_rows_that_are_partly_done_are_cut(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(1000)
    for _ in range(5):
        worker.finish_slice(*worker.take_slices())
    client.take_rows()
    slice_ = worker.take_slices()[0]
    lo, hi = slice_.lo, slice_.hi
    worker.finish_slice(slice_, lo=lo + 3, hi=lo + 5)
    worker.finish_slice(slice_, failed=[(lo + 4, 1), (lo + 7, 1)])
    rows = client.take_rows()
    assert sorted(rows) == list(range(lo, hi))
    assert {row for row, (outcome, _) in rows.items() if outcome is Outcome.ERROR} == {lo + 7}
    assert all(payload == b"row %d" % row for row, (_, payload) in rows.items())


def test_cancelled_rows_end_at_once_if_nobody_has_them(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    number = client.open(20)
    client.cancel(number, 5, 15)
    assert {row: outcome for row, (outcome, _) in client.take_rows().items()} == dict.fromkeys(
        range(5, 15), Outcome.CANCELLED
    )
    assert sorted(run(bench, client, worker)) == [*range(5), *range(15, 20)]
    bench.check_empty()


def test_rows_may_be_cancelled_before_they_come(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    number = client.open(0, count=20)
    client.cancel(number, 5, 1 << 40)
    client.block(number, 0, 10)
    client.block(number, 10, 10)
    rows = run(bench, client, worker)
    assert [row for row, (outcome, _) in sorted(rows.items()) if outcome is Outcome.CANCELLED] == list(range(5, 20))
    assert sorted(rows) == list(range(20))
    bench.check_empty()


def test_cancelled_rows_at_a_worker_end_when_it_answers(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    number = client.open(200)
    for _ in range(5):
        worker.finish_slice(*worker.take_slices(), seconds_each=0.002)
    client.take_rows()
    slices = worker.take_slices()
    client.cancel(number, 0, 200)
    reported = client.take_rows()
    at_worker = {row for slice_ in slices for row in range(slice_.lo, slice_.hi)}
    assert set(reported) == set(range(5, 200)) - at_worker
    cancels = [row for message in worker.take(m.CancelAttempts) for row in message.rows]
    assert cancels == [(slice_.attempt, slice_.lo, slice_.hi) for slice_ in slices]
    worker.finish_slice(slices[0], hi=slices[0].lo + 1)
    for attempt, lo, hi in cancels:
        worker.give_back(attempt, lo, hi, ReturnReason.CANCELLED)
    rows = client.take_rows()
    assert rows.pop(slices[0].lo)[0] is Outcome.VALUE
    assert {outcome for outcome, _ in rows.values()} == {Outcome.CANCELLED}
    assert set(reported) | set(rows) | {slices[0].lo} == set(range(5, 200))
    worker.take_settled()
    bench.check_empty()


def test_an_array_that_is_cut_short_ends_with_the_rows_that_came(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    number = client.open(10, count=100)
    client.cancel(number, 0, 10)
    client.send(m.EndArray(number, 10))
    for slice_ in worker.take_slices():
        worker.give_back(slice_.attempt, slice_.lo, slice_.hi, ReturnReason.CANCELLED)
    assert sorted(client.take_rows()) == list(range(10))
    worker.take(m.CancelAttempts), worker.take_settled()
    bench.check_empty()


def test_rows_that_come_back_are_given_out_again_before_new_ones(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    client.open(100)
    (slice_,) = worker.take_slices()
    worker.give_back(slice_.attempt, 0, 1, ReturnReason.NEIGHBOUR_CRASHED)
    (again,) = worker.take_slices()
    assert (again.lo, again.hi, again.attempt != slice_.attempt) == (0, 1, True)
    assert worker.take_settled() == [slice_.attempt]


def test_rows_that_the_worker_stopped_for_a_reason_of_its_own_run_again(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(1)
    (slice_,) = worker.take_slices()
    worker.finish_slice(slice_, failed=[(0, int(Outcome.CANCELLED))])
    assert client.take_rows() == {}
    (again,) = worker.take_slices()
    worker.finish_slice(again)
    assert client.take_rows() == {0: value(0)}


def test_arrays_and_tasks_of_one_client_take_turns_by_age(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(2)
    client.submit(b"x")
    order: list[str] = []
    for _ in range(3):
        for slice_ in worker.take_slices():
            order.append(f"row {slice_.lo}")
            worker.finish_slice(slice_)
        for task in worker.take_tasks():
            order.append("task")
            worker.finish(task)
    assert order == ["row 0", "row 1", "task"]


def test_an_array_is_explained_by_its_story(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("w1")
    number = client.open(2)
    worker.take_slices()
    assert any("slice 0 1 w1" in line for line in bench.core.story(client.session, number))


def test_a_large_array_costs_the_scheduler_slices_not_rows(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    number = client.open(0, count=100_000)
    for start in range(0, 100_000, 10_000):
        client.block(number, start, 10_000, page_rows=64)
    slices = 0
    rows = 0
    while rows < 100_000:
        for slice_ in worker.take_slices():
            slices += 1
            worker.finish_slice(slice_, seconds_each=10e-6)
        rows += len(client.take_rows())
    assert slices < 150
    worker.take_settled()
    bench.check_empty()


def test_late_results_of_rows_that_nobody_knows_are_settled_and_their_objects_deleted(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.open(1)
    (slice_,) = worker.take_slices()
    worker.finish_slice(slice_)
    client.take_rows()
    worker.take_settled()
    worker.finish_slice(slice_, objects=[(0, (client.object(1),))])
    assert worker.take_settled() == [slice_.attempt]
    assert bench.deleted == [client.object(1)]
    bench.check_empty()


def test_rows_that_were_given_back_and_reported_all_the_same_count_once(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker("a")
    client.open(1)
    (slice_,) = worker.take_slices()
    worker.give_back(slice_.attempt, 0, 1, ReturnReason.NEIGHBOUR_CRASHED)
    (again,) = worker.take_slices()
    worker.finish_slice(slice_)
    worker.finish_slice(again)
    assert client.take_rows() == {0: value(0)}
    worker.take_settled()
    bench.check_empty()


def test_a_result_for_a_row_that_another_worker_runs_ends_it_and_stops_the_other(bench: Bench) -> None:
    client, slow = bench.client(), bench.worker("slow")
    client.open(50)
    for _ in range(5):
        slow.finish_slice(*slow.take_slices())
    client.take_rows()
    slices = slow.take_slices()
    slow.lose()
    bench.advance(1.0)
    fast = bench.worker("fast")
    (suspect,) = fast.take_slices()
    slow.connect(unfinished=[slow.held(slice_) for slice_ in slices])
    slow.finish_slice(slices[0], failed=[(slices[0].lo + 1, 1)], objects=[(slices[0].lo, (client.object(1),))])
    fast.finish_slice(suspect, objects=[(suspect.lo, (client.object(2),))])
    rows = client.take_rows()
    assert rows[slices[0].lo + 1][0] is Outcome.ERROR
    assert bench.deleted == [client.object(2)], "what the loser's result named"
