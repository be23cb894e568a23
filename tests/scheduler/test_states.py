"""The table of transitions is complete, and what it leaves out is argued."""

from __future__ import annotations

from itertools import product

import pytest

from scaler_trio.scheduler.core.errors import IllegalTransition
from scaler_trio.scheduler.core.states import IMPOSSIBLE, ON, TRANSITIONS, TaskEvent, TaskState, transition

PAIRS = list(product(TaskState, TaskEvent))


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_every_pair_of_state_and_event_is_decided_or_argued_to_be_impossible(
    state: TaskState, event: TaskEvent
) -> None:
    assert ((state, event) in TRANSITIONS) != ((state, event) in IMPOSSIBLE)


def test_the_table_has_no_rows_beyond_the_pairs() -> None:
    assert set(TRANSITIONS) | set(IMPOSSIBLE) == set(PAIRS)


def test_every_impossible_pair_has_a_reason() -> None:
    assert all(len(reason) > 20 for reason in IMPOSSIBLE.values())


@pytest.mark.parametrize(("state", "event"), list(IMPOSSIBLE))
def test_an_impossible_pair_raises_with_the_tasks_story(state: TaskState, event: TaskEvent) -> None:
    with pytest.raises(IllegalTransition, match=f"{event.value} in state {state.value}.*submitted") as caught:
        transition(state, event, [(1.0, "submitted")])
    assert caught.value.story == ((1.0, "submitted"),)


def test_nothing_leaves_done() -> None:
    assert {after for (before, _), after in TRANSITIONS.items() if before is TaskState.DONE} == {None}


def test_every_state_is_reached_and_leads_to_done() -> None:
    reached = {after for after in TRANSITIONS.values() if after is not None} | {TaskState.WAITING}
    assert reached == set(TaskState)
    for state in set(TaskState) - {TaskState.DONE}:
        assert TRANSITIONS[state, TaskEvent.ABANDON] is TaskState.DONE


def test_the_table_by_event_is_the_same_table() -> None:
    assert {(state, event): after for event, row in ON.items() for state, after in row.items()} == TRANSITIONS
