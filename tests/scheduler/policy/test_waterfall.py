"""Tiers: filled in order, drained in reverse."""

import pytest

from scaler_trio.scheduler.policy.core.view import Desired, Manager, View, Work
from scaler_trio.scheduler.policy.core.waterfall import Rule, Waterfall
from tests.scheduler.policy.test_sizing import decide, manager, work

TIERS = Waterfall((Rule(1, "first", 4), Rule(2, "second")))


def first(**there: object) -> Manager:
    """The manager of the first tier."""
    return manager("first", **there)  # type: ignore[arg-type]


def second(**there: object) -> Manager:
    """The manager of the second tier."""
    return manager("second", **there)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("works", "managers", "units"),
    [
        ([work(3, each=5.0)], [first(), second()], (3, 0)),
        ([work(9, each=5.0)], [first(), second()], (4, 5)),
        ([work(9, each=50.0)], [first(start=60.0), second(start=0.5)], (4, 5)),  # the order counts, not who is quicker
        ([work(3, each=5.0)], [first(start=60.0), second(start=0.5)], (1, 0)),
        ([work(9, each=5.0)], [first(problem="no quota"), second()], (0, 8)),
        ([work(9, 2, each=5.0)], [first(busy=2, problem="no quota"), second(launching=3)], (2, 8)),
        # The first has what it may have, and the second what is needed besides.
        ([work(0, 6, each=5.0)], [first(busy=4), second(busy=2)], (4, 2)),
        # Down in reverse: what is idle in the first tier stays while the second has anything.
        ([work(0, 1, each=5.0)], [first(idle=4), second(busy=1)], (4, 0)),
        ([], [first(idle=4), second(draining=1)], (0, 0)),
        ([], [first(idle=4), second()], (0, 0)),
        # The first has returned and can carry all: what runs on the second ends there, and nothing more goes to it.
        ([work(0, 3, each=5.0)], [first(busy=1, idle=2), second(busy=2)], (3, 0)),
        ([work(9, 3, each=5.0)], [first(busy=1), second(busy=2)], (4, 8)),
        ([work(0, 2, each=5.0)], [first(), second(busy=2)], (2, 2)),  # it has returned with nothing: it is asked
        ([work(0, 2, each=5.0)], [first(launching=2), second(busy=2)], (2, 2)),
        ([work(0, 2, each=5.0)], [first(problem="no quota"), second(busy=2)], (0, 2)),
    ],
)
def test_tiers(works: list[Work], managers: list[Manager], units: tuple[int, int]) -> None:
    found = decide(TIERS, works, *managers)
    assert (found["first"].units, found["second"].units) == units, found


def test_a_tier_that_is_not_there_is_skipped_and_it_is_said() -> None:
    found = decide(TIERS, [work(3, each=5.0)], second())["second"]
    assert found.units == 3
    assert "skipped: first" in found.reason


def test_a_manager_without_a_rule_is_left_alone() -> None:
    decided: list[Desired] = TIERS.decide(View((work(3, each=5.0),), (manager("third"), first())))
    assert [one.manager for one in decided] == ["first"]


def test_what_drains_says_who_takes_over() -> None:
    found = decide(TIERS, [work(0, 1, each=5.0)], first(idle=2), second(busy=1))["second"]
    assert found.drain == ("second-busy-0",)
    assert found.reason == "first can do all that there is, so 1 unit here can go"


def test_a_tier_that_does_not_fit_does_not_stand_in_the_way() -> None:
    found = decide(TIERS, [work(2, each=5.0, gpu=1)], first(), second(gpu=1))
    assert (found["first"].units, found["second"].units) == (0, 2)
