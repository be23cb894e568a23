"""WorkerCore by short scenarios."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome, ReturnReason
from scaler_trio.worker.channel import Manner
from scaler_trio.worker.core import events as e
from scaler_trio.worker.core import tuning
from scaler_trio.worker.core.states import TABLE, Happening, Row, step
from scaler_trio.worker.errors import InternalError, PeerFault
from tests.worker.simulated_worker import CLIENT, SimulatedWorker, slice_message


@pytest.fixture
def one() -> Iterator[SimulatedWorker]:
    """A connected worker of one slot; its invariants are checked after every event."""
    worker = SimulatedWorker(slots=1)
    worker.start(0)
    worker.connect()
    yield worker
    worker.core.check_invariants()


@pytest.fixture
def two() -> Iterator[SimulatedWorker]:
    worker = SimulatedWorker(slots=2)
    worker.start(0)
    worker.start(1)
    worker.connect()
    yield worker
    worker.core.check_invariants()


# --------------------------------------------------------------------------------------------------------- manners


def fed_functions(worker: SimulatedWorker, *options: m.TaskOptions) -> list[tuple[int, Manner | None]]:
    """The key of each task's function, and how it is called, in the feed that brings them."""
    rows = tuple((n, CLIENT, n, 1, b"row", (), n - 1) for n in range(1, len(options) + 1))
    (feed,) = [x for x in worker.core.handle(m.AssignTasks(options, rows), worker.now) if isinstance(x, e.Feed)]
    manners = dict(feed.manners)
    return [(task[0], manners.get(task[0])) for part in feed.parts for task in part]


def test_a_task_with_retries_calls_its_function_in_another_manner_under_another_key(one: SimulatedWorker) -> None:
    one.core.state.functions[1].mean_ns = 1000
    retried = m.TaskOptions(max_retries=3, retry_on=b"classes")
    first, second = fed_functions(one, m.DEFAULT_OPTIONS, retried)
    assert first[1] is None
    assert second[1] == Manner(retry_on=b"classes")
    assert first[0] != second[0]


def test_what_is_called_in_the_same_manner_has_the_same_key(one: SimulatedWorker) -> None:
    one.core.state.functions[1].mean_ns = 1000
    first, second = fed_functions(one, m.TaskOptions(max_retries=3), m.TaskOptions(max_retries=9))
    assert first == second


# --------------------------------------------------------------------------------------------------------- feeding


def test_of_an_unknown_function_one_item_runs_and_one_waits_behind_it(one: SimulatedWorker) -> None:
    one.slice(100)
    assert one.slots[0].limit == 2
    assert one.core.state.queued_rows == 98


def test_of_a_short_function_as_many_are_fed_as_fill_the_time(one: SimulatedWorker) -> None:
    one.slice(10_000, expected_s=100e-6)
    assert one.slots[0].limit == tuning.FEED_NS // 100_000


def test_of_a_very_short_function_no_more_are_fed_than_the_ring_has_room_for(one: SimulatedWorker) -> None:
    one.slice(10_000, expected_s=10e-6)
    assert one.slots[0].limit == tuning.FEED_ITEMS


def test_of_large_rows_no_more_bytes_are_fed_than_the_limit(one: SimulatedWorker) -> None:
    rows = [(n, CLIENT, n, 1, b"x" * 60_000, (), 0) for n in range(1, 101)]
    one.core.state.functions[1].mean_ns = 1000
    one.numbers = 100
    for n in range(1, 101):
        one._assign(n, 1)
    one.do(m.AssignTasks((m.DEFAULT_OPTIONS,), tuple(rows)))
    assert one.slots[0].limit * 60_000 <= tuning.FEED_BYTES + 60_000


def test_a_measured_duration_replaces_the_prediction(one: SimulatedWorker) -> None:
    one.slice(10_000)
    for _ in range(2):  # the second one was fed when nothing was known
        one.claim(0, 1)
        one.finish(0, 1)  # 1 µs in the simulation
        one.look(0)
    assert one.slots[0].limit > 1000


def test_a_slot_is_fed_again_when_little_of_its_time_is_left(one: SimulatedWorker) -> None:
    one.slice(10_000, expected_s=1e-3)
    slot = one.slots[0]
    assert slot.limit == tuning.FEED_NS // 1_000_000
    assert slot.wake_at == slot.limit - tuning.WAKE_NS // 1_000_000


def test_a_slot_that_has_little_is_fed_again_at_half_of_it(one: SimulatedWorker) -> None:
    one.slice(20_000, expected_s=5e-6)
    slot = one.slots[0]
    assert slot.limit == tuning.FEED_ITEMS, "less time than WAKE_NS"
    assert slot.wake_at == slot.limit - tuning.FEED_ITEMS // 2


def test_of_long_items_the_last_one_is_the_moment_to_feed_again(one: SimulatedWorker) -> None:
    one.slice(10, expected_s=10.0)
    assert (one.slots[0].limit, one.slots[0].wake_at) == (2, 2)


def test_with_nothing_queued_there_is_nothing_to_be_woken_for(one: SimulatedWorker) -> None:
    one.slice(10, expected_s=1e-3)
    assert (one.slots[0].limit, one.slots[0].wake_at) == (10, None)


def test_idle_slots_share_what_there_is(two: SimulatedWorker) -> None:
    two.slice(10, expected_s=1e-6)
    assert [slot.limit for slot in two.slots] == [5, 5]


def test_a_second_long_item_goes_to_the_idle_slot_not_behind_the_first(two: SimulatedWorker) -> None:
    two.slice(2, expected_s=1.0)
    assert [slot.limit for slot in two.slots] == [1, 1]


def test_an_idle_slot_takes_what_waits_behind_a_long_item(two: SimulatedWorker) -> None:
    two.slice(4, expected_s=1.0)
    assert [slot.limit for slot in two.slots] == [2, 2]
    for slot in (0, 1):
        two.claim(slot, 1)
    two.look(0)
    two.finish(1, 1)
    two.look(1)
    two.claim(1, 1)
    two.finish(1, 1)
    two.look(1)
    assert two.slots[0].limit == 1  # the one that waited there
    assert two.slots[1].limit == 3


def test_single_tasks_pass_the_rows_that_are_fed_and_not_claimed(one: SimulatedWorker) -> None:
    one.slice(1000, expected_s=1e-3)
    fed = tuning.FEED_NS // 1_000_000
    assert one.slots[0].limit == fed
    one.claim(0, 1)
    task = one.task()
    mixed = tuning.MIXED_NS // 1_000_000
    assert one.slots[0].limit <= 2 + mixed, "more tasks may come: little is given again"
    one.finish(0, 1)
    one.claim(0, 1)
    one.finish(0, 1)
    one.look(0)
    assert (1, task, 0) in one.outcomes, "it ran next"
    one.tick(tuning.MIXED_S)
    one.claim(0, 1)
    one.finish(0, 1)
    one.look(0)
    assert one.slots[0].limit > fed - mixed, "none came for a while: as much as before"


def test_tasks_that_find_an_idle_slot_take_nothing_back(two: SimulatedWorker) -> None:
    two.slice(4, expected_s=50e-3)
    two.claim(0, 1)
    two.claim(1, 1)
    two.finish(1, 2)
    two.look(1)
    limit = two.slots[0].limit
    two.task()
    assert two.slots[0].limit == limit


def test_a_function_is_sent_to_a_processor_once_and_forgotten_when_nothing_uses_it(one: SimulatedWorker) -> None:
    one.task()
    assert len(one.slots[0].functions) == 1
    one.do(m.ForgetFunctions((1,)))
    one.claim(0, 1)
    one.finish(0, 1)
    one.look(0)
    one.task(function=2)
    assert len(one.slots[0].functions) == 1


def test_nothing_is_started_while_unsettled_results_are_over_the_limit(
    one: SimulatedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "KEPT_RESULTS", 1)
    first = one.task()
    one.claim(0, 1)
    one.finish(0, 1)
    one.look(0)
    one.task()
    assert one.slots[0].limit == 1
    one.settle(first)
    assert one.slots[0].limit == 2


def test_a_slice_that_is_begun_goes_on_over_the_limit_because_it_is_settled_as_a_whole(
    one: SimulatedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "KEPT_RESULTS", 1)
    monkeypatch.setattr(tuning, "FEED_NS", 4_000)
    begun, other = one.slice(10, expected_s=1e-6), one.slice(10, expected_s=1e-6)
    at = 0
    while at < 10:
        upto = one.slots[0].limit
        assert at < upto <= 10, "only rows of the slice that is begun"
        one.claim(0, upto - at)
        one.finish(0, upto - at)
        one.look(0)
        at = upto
    assert one.slots[0].limit == 10
    one.settle(begun)
    assert one.slots[0].limit > 10
    assert other in [number for _, number in one.core.state.attempts]


# ---------------------------------------------------------------------------------------------------------- results


def test_results_are_kept_until_they_are_settled_and_the_attempt_is_forgotten_then(one: SimulatedWorker) -> None:
    attempt = one.task()
    one.claim(0, 1)
    one.finish(0, 1)
    one.look(0)
    assert one.outcomes[1, attempt, 0] == Outcome.VALUE
    assert one.core.state.kept_results == 1
    one.settle(attempt)
    assert not one.core.state.attempts
    assert one.core.state.kept_bytes == 0


def test_a_batch_of_results_of_several_attempts_is_cut_by_attempt(one: SimulatedWorker) -> None:
    one.core.state.functions[1].mean_ns = 1000
    first, second = one.slice(6), one.slice(5)
    task = one.task()
    one.claim(0, 12)
    one.finish(0, 8)
    one.finish(0, 1, Outcome.ERROR)
    one.finish(0, 3)
    one.look(0)
    results = [x for x in one.sent if isinstance(x, m.SliceResults)]
    assert [(x.attempt, x.lo, x.hi, x.failed) for x in results] == [
        (first, 0, 6, ()),
        (second, 0, 5, ((2, Outcome.ERROR),)),
    ]
    assert bytes(results[1].data) == b"678910"
    assert results[1].seconds == pytest.approx(5e-6)
    (single,) = [x for x in one.sent if isinstance(x, m.AttemptResults)]
    assert single.rows == ((task, 0, b"11", (), pytest.approx(1e-6)),)


# ---------------------------------------------------------------------------------------------------- recall, cancel


def test_a_recall_returns_everything_that_is_not_claimed(one: SimulatedWorker) -> None:
    attempt = one.slice(10_000, expected_s=100e-6)
    one.claim(0, 10)
    one.do(m.Recall(((attempt, 0),)))
    fed = tuning.FEED_NS // 100_000
    assert one.returned_rows(attempt) == [(10, fed, ReturnReason.RECALLED), (fed, 10_000, ReturnReason.RECALLED)]
    one.finish(0, 10)
    one.look(0)
    assert len(one.reported) == 10


def test_a_recall_of_a_tail_leaves_the_rest(one: SimulatedWorker) -> None:
    attempt = one.slice(1000, expected_s=100e-6)
    one.do(m.Recall(((attempt, 900),)))
    assert one.returned_rows(attempt) == [(900, 1000, ReturnReason.RECALLED)]


def test_a_recall_that_comes_too_late_is_answered_by_an_empty_range(one: SimulatedWorker) -> None:
    attempt = one.task()
    one.claim(0, 1)
    one.do(m.Recall(((attempt, 0), (77, 5))))
    rows = [row for x in one.sent if isinstance(x, m.Returned) for row in x.rows]
    assert sorted(rows) == [(attempt, 0, 0, 0), (77, 5, 5, 0)]


def test_a_recall_waits_for_a_page_that_is_locked_and_is_answered_then(one: SimulatedWorker) -> None:
    attempt = one.slice(10)
    one.is_locked = True
    one.do(m.Recall(((attempt, 0),)))
    assert one.returned_rows(attempt) == []
    one.retry_truncates()
    assert sum(hi - lo for lo, hi, _ in one.returned_rows(attempt)) == 10


def test_a_cancelled_row_that_waits_is_returned_and_its_neighbours_run(one: SimulatedWorker) -> None:
    attempt = one.slice(6, expected_s=1e-6)
    one.do(m.CancelAttempts(((attempt, 2, 4),)))
    assert one.returned_rows(attempt) == [(2, 4, ReturnReason.CANCELLED)]
    one.run_everything()
    assert {row for _, _, row in one.reported} == {0, 1, 4, 5}


def test_a_cancelled_row_that_runs_is_interrupted_and_ends_as_cancelled(one: SimulatedWorker) -> None:
    attempt = one.task()
    one.claim(0, 1)
    one.do(m.CancelAttempts(((attempt, 0, 1),)))
    assert one.slots[0].interrupted == {0}
    one.finish(0, 1)
    one.look(0)
    assert one.outcomes[1, attempt, 0] == Outcome.CANCELLED
    assert one.core.next_deadline() is None


def test_a_row_that_ignores_its_interrupt_is_killed_after_the_grace_and_ends_as_cancelled(one: SimulatedWorker) -> None:
    attempt, other = one.task(), one.task()
    one.claim(0, 1)
    one.do(m.CancelAttempts(((attempt, 0, 1),)))
    assert one.slots[0].is_started
    one.tick(tuning.GRACE_S + 0.01)
    assert one.outcomes[1, attempt, 0] == Outcome.CANCELLED
    assert not any(isinstance(x, m.Crashed) for x in one.sent)
    one.run_everything()
    assert one.outcomes[1, other, 0] == Outcome.VALUE


def test_a_row_that_runs_longer_than_its_timeout_ends_as_timed_out(one: SimulatedWorker) -> None:
    attempt = one.task(options=m.TaskOptions(timeout_s=2.0))
    one.claim(0, 1)
    one.look(0)
    assert one.core.next_deadline() == pytest.approx(102, abs=0.01)
    one.now += 2.1
    one.do(e.Tick())
    one.finish(0, 1)
    one.look(0)
    assert one.outcomes[1, attempt, 0] == Outcome.TIMED_OUT


@pytest.mark.parametrize(("of_task", "of_worker", "ends_after"), [(0.0, 3.0, 3.0), (2.0, 3.0, 2.0), (5.0, 3.0, 3.0)])
def test_nothing_runs_longer_than_its_worker_allows(of_task: float, of_worker: float, ends_after: float) -> None:
    one = SimulatedWorker(slots=1, task_timeout_s=of_worker)
    one.start(0)
    one.connect()
    attempt = one.task(options=m.TaskOptions(timeout_s=of_task))
    one.claim(0, 1)
    one.look(0)
    assert one.core.next_deadline() == pytest.approx(one.now + ends_after, abs=0.01)
    one.now += ends_after
    one.do(e.Tick())
    one.finish(0, 1)
    one.look(0)
    assert one.outcomes[1, attempt, 0] == Outcome.TIMED_OUT


# -------------------------------------------------------------------------------------------------------------- deaths


def test_a_processor_with_too_much_memory_is_killed_at_the_expense_of_what_it_runs(one: SimulatedWorker) -> None:
    first, second = one.task(), one.task()
    one.claim(0, 1)
    one.look(0)
    one.do(e.OverMemory(0, "it used 3 GB"))
    one.do(e.OverMemory(0, "it used 4 GB"))  # the kill is on its way
    crashed = [x for x in one.sent if isinstance(x, m.Crashed)]
    assert [row[:3] for x in crashed for row in x.rows] == [(first, 0, True)]
    assert crashed[0].rows[0][3].startswith("killed as it used 3 GB")
    one.run_everything()
    assert one.outcomes[1, second, 0] == Outcome.VALUE


def test_an_idle_processor_with_too_much_memory_is_replaced_at_nobodys_expense(one: SimulatedWorker) -> None:
    one.task()
    one.run_everything()
    one.do(e.OverMemory(0, "it used 3 GB"))
    assert not any(isinstance(x, m.Crashed) for x in one.sent)
    attempt = one.task()
    one.run_everything()
    assert one.outcomes[1, attempt, 0] == Outcome.VALUE


def test_a_crash_is_charged_to_the_running_row_and_its_neighbours_run_in_the_successor(one: SimulatedWorker) -> None:
    attempt = one.slice(10, expected_s=1e-6)
    one.claim(0, 5)
    one.finish(0, 2)
    one.die(0)
    (crashed,) = [x for x in one.sent if isinstance(x, m.Crashed)]
    assert crashed.rows == ((attempt, 2, True, "killed"),)
    assert {row for _, _, row in one.reported} == {0, 1, 2}
    one.run_everything()
    assert {row for _, _, row in one.reported} == set(range(10))


def test_a_crash_while_disconnected_is_declared_and_told_when_the_scheduler_is_back(one: SimulatedWorker) -> None:
    attempt = one.task()
    one.claim(0, 1)
    one.disconnect()
    one.die(0)
    one.open()
    assert one.held.unfinished == ((1, attempt, CLIENT, attempt, 0, 1, 1),)
    one.answer()
    (crashed,) = [x for x in one.sent if isinstance(x, m.Crashed)]
    assert crashed.rows == ((attempt, 0, True, "killed"),)
    assert not one.core.state.attempts


def test_processors_that_die_at_once_are_replaced_ever_more_slowly_and_then_given_up(one: SimulatedWorker) -> None:
    waits = []
    for _ in range(tuning.FAILED_STARTS):
        one.die(0)
        deadline = one.core.next_deadline()
        if deadline is None:
            break
        waits.append(deadline - one.now)
        one.now = deadline
        one.do(e.Tick())
    assert waits == sorted(waits)
    assert waits[0] == pytest.approx(tuning.START_BACKOFF_S)
    assert one.failed is not None
    assert "5 processors in a row" in one.failed


# ---------------------------------------------------------------------------------------------------------- connection


def test_without_a_connection_nothing_is_started_and_what_runs_runs_on(one: SimulatedWorker) -> None:
    attempt = one.slice(10, expected_s=1e-6)
    one.claim(0, 3)
    one.disconnect()
    assert one.slots[0].limit == 3
    one.finish(0, 3)
    one.look(0)
    one.open()
    held = one.held
    assert held.unfinished == ((1, attempt, CLIENT, attempt, 3, 10, 0),)
    assert held.finished == ((1, attempt, CLIENT, attempt, 0, 3, 0),)
    assert {row for _, _, row in one.reported} == {0, 1, 2}  # sent again behind the held-set
    assert one.slots[0].limit == 3
    one.answer()
    one.run_everything()
    assert len(one.reported) == 10


def test_what_the_scheduler_drops_is_forgotten_wherever_it_is(one: SimulatedWorker) -> None:
    running, queued, finished = one.task(), one.slice(5), one.task()
    one.claim(0, 1)
    one.disconnect()
    one.connect(drop=((1, running), (1, queued), (1, finished)))
    assert one.slots[0].interrupted == {0}
    one.finish(0, 1)
    one.look(0)
    assert not one.core.state.attempts
    assert one.core.state.queued_rows == 0


def test_attempts_of_an_older_epoch_are_finished_beside_new_ones_of_the_same_number(one: SimulatedWorker) -> None:
    one.slice(3)
    one.disconnect()
    one.connect(epoch=2)
    one.numbers = 0
    one.do(slice_message(1, 2, 1, 4, 0.0, m.DEFAULT_OPTIONS))
    assert set(one.core.state.attempts) == {(1, 1), (2, 1)}
    one.do(m.CancelAttempts(((1, 0, 5),)))
    assert set(one.core.state.attempts) == {(1, 1)}


def test_function_numbers_of_a_connection_mean_nothing_on_the_next(one: SimulatedWorker) -> None:
    one.task()
    one.task()
    one.task()
    one.disconnect()
    one.connect()
    one.task()
    keys = {attempt.function.key for attempt in one.core.state.attempts.values()}
    assert len(keys) == 2


def test_a_duplicate_assignment_changes_nothing(one: SimulatedWorker) -> None:
    attempt = one.slice(5)
    one.do(slice_message(attempt, 5, 1, 4, 0.0, m.DEFAULT_OPTIONS))
    one.run_everything()
    assert len(one.reported) == 5


def test_inputs_that_come_ahead_stand_before_those_of_the_row(one: SimulatedWorker) -> None:
    one.numbers = 1
    one._assign(1, 1)
    one.do(m.AssignInputs(1, (b"a", b"b")))
    one.do(m.AssignTasks((m.DEFAULT_OPTIONS,), ((1, CLIENT, 1, 1, b"row", (b"c",), 0),)))
    work = one.core.state.attempts[1, 1].work
    assert work is not None
    assert tuple(work[1]) == (b"a", b"b", b"c")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (m.AssignTasks((m.DEFAULT_OPTIONS,), ((1, CLIENT, 1, 99, b"", (), 0),)), "function 99"),
        (m.AssignTasks((), ((1, CLIENT, 1, 1, b"", (), 0),)), "options 0 of 0"),
        (slice_message(1, 5, 99, 4, 0.0, m.DEFAULT_OPTIONS), "function 99"),
        (m.AssignSlice(1, CLIENT, 1, 5, 5, 1, m.DEFAULT_OPTIONS, 0, 1, 0.0, bytes(8), b""), "rows 5 to 5"),
        (m.AssignSlice(1, CLIENT, 1, 0, 5, 1, m.DEFAULT_OPTIONS, 0, 1, 0.0, bytes(8), b""), "do not hold rows"),
        (m.AssignSlice(1, CLIENT, 1, 0, 1, 1, m.DEFAULT_OPTIONS, 0, 1, 0.0, bytes(8), b"x"), "offset table"),
        (m.PutFunction(1, "f", b""), "defined twice"),
    ],
)
def test_a_message_that_makes_no_sense_is_refused_and_changes_nothing(
    one: SimulatedWorker, message: object, words: str
) -> None:
    with pytest.raises(PeerFault, match=words):
        one.do(message)
    assert not one.core.state.attempts
    one.core.check_invariants()


def test_an_assignment_before_the_held_sets_are_exchanged_is_refused() -> None:
    worker = SimulatedWorker()
    worker.open()
    with pytest.raises(PeerFault, match="before WorkerKnown"):
        worker.do(slice_message(1, 5, 1, 4, 0.0, m.DEFAULT_OPTIONS))


# -------------------------------------------------------------------------------------------------------------- leaving


def test_a_drain_returns_what_waits_finishes_what_runs_and_leaves_when_it_is_settled(one: SimulatedWorker) -> None:
    attempt = one.slice(10, expected_s=1e-6)
    one.claim(0, 2)
    one.do(m.Drain(5.0))
    assert one.returned_rows(attempt) == [(2, 10, ReturnReason.DRAINING)]
    one.finish(0, 2)
    one.look(0)
    assert one.left is None
    one.settle(attempt)
    assert one.left == "drained"


def test_a_drain_kills_at_its_end_what_still_runs_and_charges_nobody(one: SimulatedWorker) -> None:
    attempt = one.task()
    one.claim(0, 1)
    one.do(m.Drain(5.0))
    one.tick(5.1)
    (crashed,) = [x for x in one.sent if isinstance(x, m.Crashed)]
    assert crashed.rows == ((attempt, 0, False, "killed on purpose, as the worker's time to drain was over; killed"),)
    assert one.left == "drained"


def test_what_is_assigned_while_draining_goes_back(one: SimulatedWorker) -> None:
    running = one.task()
    one.claim(0, 1)
    one.do(m.Drain(5.0))
    attempt = one.slice(3)
    assert one.returned_rows(attempt) == [(0, 3, ReturnReason.DRAINING)]
    assert one.returned_rows(running) == []


def test_a_goodbye_ends_it(one: SimulatedWorker) -> None:
    one.do(m.Goodbye("closing time"))
    assert one.left == "the scheduler said goodbye: closing time"


# ---------------------------------------------------------------------------------------------------------- the table


def test_the_table_has_an_entry_for_every_state_and_event() -> None:
    assert set(TABLE) == {(state, event) for state in Row for event in Happening}


def test_every_state_can_be_reached_and_left() -> None:
    for state in Row:
        into = {key for key, after in TABLE.items() if after is state and key[0] is not state}
        out = {key for key, after in TABLE.items() if key[0] is state and after not in (state, None)}
        assert into, state
        assert out, state


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (Row.UNKNOWN, Happening.FEED),
        (Row.KEPT, Happening.FINISH),
        (Row.QUEUED, Happening.DIE),
        (Row.FED, Happening.FINISH),
    ],
)
def test_an_impossible_transition_names_what_it_happened_to(state: Row, event: Happening) -> None:
    with pytest.raises(InternalError, match="attempt 7"):
        step(state, event, "attempt 7")


def test_the_story_of_an_attempt_tells_what_became_of_it(one: SimulatedWorker) -> None:
    attempt = one.slice(4)
    one.do(m.CancelAttempts(((attempt, 3, 4),)))
    one.run_everything()
    assert [line.split(" ", 1)[1] for line in one.core.state.story(attempt)] == [
        "assigned [0, 4)",
        "returned, cancel [3, 4)",
        "finished [0, 1)",
        "finished [1, 2)",
        "finished [2, 3)",
    ]


def test_an_internal_error_tells_what_happened_before(one: SimulatedWorker) -> None:
    attempt = one.slice(4)
    impossible = e.Progress(0, e.Taken(7, bytes(4), b"", b"", {}, [0, 1]), 8, None, 0.0)
    with pytest.raises(InternalError, match=rf"results from 7; it was given Progress.*{attempt} assigned \[0, 4\)"):
        one.do(impossible)
