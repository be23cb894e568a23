"""Slots whose items wait for tasks of their own, by short scenarios on the core."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scaler_protocol import messages as m
from scaler_protocol.messages import ReturnReason
from scaler_trio.worker.core import tuning
from scaler_trio.worker.core.stances import Stance, Turn, turn
from scaler_trio.worker.errors import InternalError
from tests.worker.simulated_worker import SimulatedWorker


@pytest.fixture
def one() -> Iterator[SimulatedWorker]:
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


def stances(worker: SimulatedWorker) -> list[Stance]:
    return [slot.stance for slot in worker.core.state.slots]


def block(worker: SimulatedWorker, slot: int) -> int:
    """A task runs there and waits."""
    number = worker.task()
    worker.claim(slot, 1)
    worker.wait(slot)
    worker.look(slot)
    return number


def test_a_slot_whose_item_waits_gives_its_place_to_a_new_processor(one: SimulatedWorker) -> None:
    parent = block(one, 0)
    assert stances(one) == [Stance.BLOCKED, Stance.ACTIVE]
    assert one.waiting == {parent: 1}
    one.start(1)
    child = one.task()
    assert one.slots[1].limit == 1
    one.claim(1, 1)
    one.finish(1, 1)
    one.look(1)
    assert (1, child, 0) in one.reported


def test_what_waits_behind_goes_back_to_the_scheduler(one: SimulatedWorker) -> None:
    number = one.slice(10)
    one.claim(0, 1)
    one.wait(0)
    one.look(0)
    returned = sorted(one.returned_rows(number))
    assert sum(hi - lo for lo, hi, _ in returned) == 9
    assert {reason for _, _, reason in returned} == {ReturnReason.NEIGHBOUR_WAITS}


def test_an_item_goes_on_at_once_where_a_slot_is_idle(one: SimulatedWorker) -> None:
    parent = block(one, 0)
    one.start(1)
    one.want(0)
    one.look(0)
    assert stances(one) == [Stance.ACTIVE, Stance.PARKED]
    assert one.waiting == {parent: 0}
    one.finish(0, 1)
    one.look(0)
    assert (1, parent, 0) in one.reported


def test_an_item_that_wants_to_go_on_goes_before_what_is_queued(one: SimulatedWorker) -> None:
    block(one, 0)
    one.start(1)
    one.task()
    later = one.task()
    one.claim(1, 1)
    one.want(0)
    one.look(0)
    assert stances(one) == [Stance.RESUMING, Stance.ACTIVE]
    assert one.slots[0].waiting, "no permission yet"
    one.finish(1, 1)
    one.look(1)
    assert stances(one) == [Stance.ACTIVE, Stance.PARKED]
    assert not one.slots[0].waiting
    one.finish(0, 1)
    one.look(0)
    one.claim(0, 1)
    one.finish(0, 1)
    one.look(0)
    assert (1, later, 0) in one.reported


def test_a_wait_that_another_thread_ends_needs_no_permission(one: SimulatedWorker) -> None:
    parent = block(one, 0)
    one.start(1)
    one.want(0, asks=False)
    one.look(0)
    one.finish(0, 1)
    one.look(0)
    assert (1, parent, 0) in one.reported
    assert stances(one).count(Stance.ACTIVE) == 1


def test_a_processor_that_dies_while_its_item_waits_has_its_session_ended(one: SimulatedWorker) -> None:
    parent = block(one, 0)
    session = one.slots[0].session
    one.die(0)
    assert one.ended == {session}
    assert (1, parent, 0) in one.reported, "as crashed"
    assert stances(one) == [Stance.EMPTY, Stance.ACTIVE]


def test_a_new_connection_is_told_what_waits(one: SimulatedWorker) -> None:
    parent = block(one, 0)
    one.disconnect()
    one.connect()
    assert one.waiting == {parent: 1}


def test_spares_end_after_a_while_all_but_one_for_each_place(one: SimulatedWorker) -> None:
    for slot in range(4):
        block(one, slot)
        one.start(slot + 1)
    for slot in range(3, -1, -1):
        one.want(slot)
        one.look(slot)
        one.finish(slot, 1)
        one.look(slot)
    assert stances(one).count(Stance.PARKED) == 4
    one.tick(tuning.SPARE_S + 0.1)
    assert stances(one).count(Stance.PARKED) == 1
    assert stances(one).count(Stance.ACTIVE) == 1


def test_a_spare_stays_as_long_as_something_is_unfinished_that_it_has_submitted(one: SimulatedWorker) -> None:
    for slot in range(4):
        block(one, slot)
        one.start(slot + 1)
    for slot in range(3, -1, -1):
        one.want(slot)
        one.look(slot)
        one.finish(slot, 1)
        one.look(slot)
    one.unfinished = {0, 1, 2, 3, 4}
    one.tick(tuning.SPARE_S + 0.1)
    assert stances(one).count(Stance.PARKED) == 4
    one.unfinished = {2}
    one.tick(tuning.SPARE_S + 0.1)
    kept = [number for number, stance in enumerate(stances(one)) if stance is Stance.PARKED]
    assert 2 in kept or one.core.state.slots[2].stance is Stance.ACTIVE
    assert len(kept) <= 2


def test_the_cancel_of_an_item_that_waits_interrupts_it(one: SimulatedWorker) -> None:
    parent = block(one, 0)
    one.do(m.CancelAttempts(((parent, 0, 1),)))
    assert one.slots[0].interrupted == {0}


def test_what_the_table_does_not_know_cannot_happen() -> None:
    with pytest.raises(InternalError, match="WAIT cannot happen to a slot that is parked"):
        turn(Stance.PARKED, Turn.WAIT, 3)


def test_what_waits_in_one_slot_is_taken_back_for_another_also_after_nested_tasks(two: SimulatedWorker) -> None:
    two.task()
    two.claim(0, 1)
    two.wait(0)
    two.look(0)
    two.start(2)
    two.want(0)
    two.look(0)
    two.finish(0, 1)
    two.look(0)
    assert two.core.state.is_nested, "a spare is kept"
    for _ in range(2):  # how long its rows take is learnt
        two.slice(40)
        for _ in range(60):
            for slot in range(3):
                two.claim(slot, 1)
                two.finish(slot, 1)
                two.look(slot)
    for function in two.core.state.functions.values():
        function.mean_ns = 2_000_000
    two.slice(40)
    busy, idle = [slot.number for slot in two.core.state.slots if slot.stance is Stance.ACTIVE]
    while two.slots[idle].done < two.slots[idle].limit:
        two.claim(idle, 1)
        two.finish(idle, 1)
    two.claim(busy, 1)
    two.look(busy)
    before = two.slots[busy].limit
    two.look(idle)
    assert two.slots[busy].limit < before
    assert two.slots[idle].limit > two.slots[idle].done
