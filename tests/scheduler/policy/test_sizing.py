"""How many units are asked for, case by case."""

import pytest

from scaler_trio.scheduler.policy.core.simple import NoScaling, SimpleScaling
from scaler_trio.scheduler.policy.core.view import Desired, Manager, Policy, Unit, View, Work

VANILLA = SimpleScaling(with_amounts=False)
CAPABILITY = SimpleScaling(with_amounts=True)


def work(queued: int, running: int = 0, each: float = 1.0, *, known: bool = True, **capabilities: int) -> Work:
    """Items of one class."""
    return Work("3.11", tuple(capabilities.items()), queued, running, each, known)


def manager(
    name: str = "m",
    *,
    limit: int = 8,
    start: float = 0.5,
    busy: int = 0,
    idle: int = 0,
    idle_s: float = 100.0,
    launching: int = 0,
    slots: int = 1,
    problem: str = "",
    draining: int = 0,
    **capabilities: int,
) -> Manager:
    """A manager with so many busy, idle, draining and launching units."""
    units = [Unit(f"{name}-busy-{i}", slots, slots) for i in range(busy)]
    units += [Unit(f"{name}-idle-{i}", slots, 0, idle_s + i / 10) for i in range(idle)]
    units += [Unit(f"{name}-going-{i}", slots, 1, draining=True) for i in range(draining)]
    return Manager(name, limit, slots, start, tuple(units), launching, "3.11", tuple(capabilities.items()), problem)


def decide(policy: Policy, works: list[Work], *managers: Manager) -> dict[str, Desired]:
    """By manager."""
    return {one.manager: one for one in policy.decide(View(tuple(works), managers))}


@pytest.mark.parametrize(
    ("works", "there", "units"),
    [
        ([], {}, 0),
        # From nothing.
        ([work(8, each=1.0, known=False)], {"limit": 4}, 4),
        ([work(1, known=False)], {}, 1),
        ([work(3, known=False)], {}, 3),
        ([work(15, known=False)], {"limit": 8}, 8),
        ([work(8, known=False)], {"start": 60.0}, 1),  # the first one shows what an item takes
        ([work(8, known=False)], {"start": 60.0, "launching": 1}, 1),
        ([work(1, each=0.001)], {"start": 60.0}, 1),  # nobody else will ever run it
        ([work(200, each=0.005)], {"start": 3.0}, 1),  # a second of work in all: for one, not for eight
        ([work(2000, each=0.005)], {"start": 3.0}, 8),
        ([work(100, known=False)], {"limit": -1}, 100),
        ([work(100, known=False)], {"limit": -1, "slots": 4}, 25),
        # Somebody is there.
        ([work(199, 1, each=0.005)], {"start": 3.0, "busy": 1}, 1),  # done before another one comes
        ([work(199, 1, each=0.004, known=False)], {"start": 3.0, "busy": 1}, 1),  # not known to be long
        ([work(199, 1, each=0.4, known=False)], {"start": 3.0, "busy": 1}, 8),  # it turns out to be
        ([work(7, 1, each=2.0)], {"limit": 4, "busy": 1}, 4),
        ([work(2, 4, each=2.0)], {"busy": 4}, 6),
        ([work(2, 4, each=0.1)], {"busy": 4}, 4),
        ([work(0, 4)], {"busy": 4}, 4),
        # Those that are coming count.
        ([work(8, known=False)], {"limit": 8, "launching": 8}, 8),
        ([work(8, known=False)], {"limit": 8, "launching": 3}, 8),
        ([work(7, 1, each=0.001, known=False)], {"limit": 4, "busy": 1, "launching": 3}, 4),  # not sent back on a guess
        ([work(7, 1, each=0.001)], {"limit": 4, "busy": 1, "launching": 3}, 1),  # now it is known
        ([], {"launching": 3}, 0),
        # Down.
        ([], {"idle": 3}, 0),
        ([], {"idle": 3, "idle_s": 0.5}, 3),  # hysteresis
        ([], {"idle": 3, "idle_s": 10.0, "start": 30.0}, 3),  # … of a start-up time
        ([work(0, 7)], {"busy": 7, "idle": 1}, 7),
        ([work(0, 2)], {"busy": 2, "draining": 3}, 2),
        ([work(9, 2, each=5.0)], {"limit": 4, "busy": 2, "draining": 2}, 2),  # those that drain take their place
        # Trouble.
        ([work(9, each=5.0)], {"problem": "no quota"}, 0),
        ([work(9, 1, each=5.0)], {"busy": 1, "problem": "no quota"}, 1),
        # Work that does not fit.
        ([work(9, each=5.0, gpu=-1)], {}, 0),
        ([work(9, each=5.0, gpu=-1)], {"gpu": -1}, 8),
        ([work(9, each=5.0, gpu=4)], {"gpu": 2}, 0),
    ],
)
def test_vanilla(works: list[Work], there: dict[str, object], units: int) -> None:
    it = manager(**there)  # type: ignore[arg-type]
    desired = decide(VANILLA, works, it)["m"]
    assert desired.units == units, desired
    assert desired.units == len(it.serving) + it.launching or desired.reason


def test_the_longest_idle_go_and_busy_ones_never() -> None:
    there = manager(busy=2, idle=2, idle_s=50.0)
    desired = decide(VANILLA, [], there)["m"]
    assert desired.drain == ("m-idle-1", "m-idle-0")
    assert "2 of 4 units were idle for 2 s or more" in desired.reason


def test_amounts_limit_what_runs_side_by_side_under_capability() -> None:
    there = manager(slots=4, gpu=2)
    assert decide(VANILLA, [work(8, each=5.0, gpu=1)], there)["m"].units == 2
    assert decide(CAPABILITY, [work(8, each=5.0, gpu=1)], there)["m"].units == 4


def test_each_class_is_sized_for_who_fits_it() -> None:
    found = decide(
        CAPABILITY, [work(3, each=5.0), work(2, each=5.0, gpu=1)], manager("cpu", start=0.1), manager("gpu", gpu=1)
    )
    assert (found["cpu"].units, found["gpu"].units) == (3, 2)


def test_the_quicker_one_is_asked_first_and_the_slower_one_for_what_remains() -> None:
    quick, slow = manager("quick", limit=4, start=0.5), manager("slow", limit=100, start=60.0)
    short = decide(VANILLA, [work(40, each=1.0)], quick, slow)
    assert (short["quick"].units, short["slow"].units) == (4, 0)
    long = decide(VANILLA, [work(40, each=100.0)], quick, slow)
    assert (long["quick"].units, long["slow"].units) == (4, 36)


def test_workers_that_nobody_asked_for_count_and_are_not_told() -> None:
    found = decide(VANILLA, [work(4, 4, each=0.1)], manager("own", limit=0, busy=4), manager("m", start=3.0))
    assert found["m"].units == 0
    assert "own" not in found


def test_no_scaling_tells_nobody() -> None:
    assert NoScaling().decide(View((work(100),), (manager(),))) == []


def test_a_plan_is_stable() -> None:
    """What was asked for and is coming is not asked for again, nor sent back, while the work stays."""
    launching = 0
    for _ in range(5):
        desired = decide(VANILLA, [work(40, each=2.0)], manager(limit=16, start=5.0, launching=launching))["m"]
        launching = desired.units
        assert launching == 16
