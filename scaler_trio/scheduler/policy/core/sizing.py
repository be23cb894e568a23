"""How many more units finish the work sooner, and which may go.

A new unit is worth asking for if, when it will be there, something is left for each of its slots that nobody else has
begun, and if that is at least a fair part of what its start costs. What is not known is guessed so that an empty
cluster starts quickly, and a working one waits until it knows.
"""

from attrs import define, field

from scaler_trio.scheduler.policy.core.view import Manager, Unit, Work
from scaler_trio.words import counted

WORTH = 0.25
"""The least work for a new unit, as a part of its start-up time: below it, it would come only to go again."""

LEAST_S = 2e-6
"""No item is expected to take less."""

GUESS_S = 1.0
"""What an item takes of which nothing is known, where nothing runs that could tell; or a start-up time, if longer."""

PROBE_S = 1.0
"""Where a start takes longer, one unit comes first and shows what an item takes."""

PATIENCE = 4.0
"""A unit that is starting is not wanted any more if nothing would be left for it even if items took so much longer."""

IDLE_LEAST_S = 2.0
"""A unit is kept idle at least this long, and at least as long as another start would take: it costs no more."""

IDLE_MOST_S = 60.0


def slots_for(manager: Manager, work: Work, *, with_amounts: bool) -> int:
    """Slots of one unit of the manager that could run the work side by side; 0 = it does not fit."""
    if work.python and manager.python and work.python != manager.python:
        return 0
    offered = dict(manager.capabilities)
    slots = manager.slots
    for name, amount in work.capabilities:
        has = offered.get(name)
        if has is None or 0 <= has < amount:
            return 0
        if with_amounts and has >= 0 and amount > 0:
            slots = min(slots, has // amount)
    return slots


@define
class Supply:
    """The slots of one manager while a plan is made: what work of earlier classes takes is taken out."""

    manager: Manager
    now: int  # connected
    soon: int  # launching, arriving within `start_s` …
    added: int = 0  # … and units that the plan asks for
    wanted_launching: int = 0  # slots of launching units that something is left for
    reasons: list[str] = field(factory=list)

    @classmethod
    def of(cls, manager: Manager) -> "Supply":
        """What is there before anything is planned."""
        slots = sum([unit.slots for unit in manager.serving])
        return cls(manager, slots, manager.launching * manager.slots)


def plan_class(work: Work, supplies: list[Supply], *, with_amounts: bool, in_order: bool = False) -> None:
    """Ask for what finishes the work of one class soonest.

    Args:
        work: the class.
        supplies: of all managers, in the order in which they are asked.
        with_amounts: whether amounts of capabilities limit what runs side by side on a unit.
        in_order: a manager is asked only if all before it, that fit, have all that they may have.
    """
    fitting = [(supply, slots_for(supply.manager, work, with_amounts=with_amounts)) for supply in supplies]
    fitting = [(supply, slots) for supply, slots in fitting if slots]
    here = sum([supply.now for supply, _ in fitting])
    coming: list[tuple[int, float]] = []  # (slots, when they are there)
    for supply, slots in fitting:
        manager = supply.manager
        start_s = manager.start_s
        there_s = 0.0 if in_order else start_s  # a later tier leaves to the earlier ones what they can take
        guess_s = max(LEAST_S, work.seconds_each if work.known else max(GUESS_S, start_s))
        # Who was asked for is sent back only if nothing is left for it whatever the items take: expectations change.
        keeps = min(supply.soon, _left(work, PATIENCE * guess_s, here, coming, start_s))
        supply.wanted_launching += keeps
        if keeps:
            coming.append((keeps, there_s))
        each_s = max(LEAST_S, work.seconds_each if here else guess_s)
        left = _left(work, each_s, here, coming, start_s)
        room = manager.room - supply.added
        worth = int(left * each_s / (WORTH * start_s)) if start_s > 0 else left
        if left and not here and not coming:
            worth = max(worth, 1)  # nobody else will ever run it
        if not work.known and not here and start_s > PROBE_S:
            worth = min(worth, 0 if coming else 1)
        more = min(-(-left // slots), -(-worth // slots), room)
        if more > 0:
            supply.added += more
            coming.append((min(more * slots, left), there_s))
            guess = "" if work.known else "perhaps "
            supply.reasons.append(
                f"{left} of {counted(work.queued, 'queued item')} of {guess}{_seconds(each_s)} will be left "
                f"when a new unit is there, in {_seconds(start_s)}"
            )
        if in_order and not manager.problem and room - max(more, 0) > 0:
            break
    _take(work, fitting)


def _left(work: Work, each_s: float, here: int, coming: list[tuple[int, float]], at_s: float) -> int:
    """Queued items that nobody will have begun by then. Slots that are busy now are half through what they run."""
    busy = min(work.running, here)
    slots = [(busy, each_s / 2), (here - busy, 0.0), *coming]
    begun = sum([count * (int((at_s - ready_s) / each_s) + 1) for count, ready_s in slots if ready_s <= at_s])
    return max(0, work.queued - begun)


def _take(work: Work, fitting: list[tuple[Supply, int]]) -> None:
    """These items keep slots busy, which are not there for other classes."""
    needed = work.queued + work.running
    for supply, _ in fitting:
        taken = min(needed, supply.now)
        supply.now -= taken
        needed -= taken
    for supply, _ in fitting:
        taken = min(needed, supply.soon)
        supply.soon -= taken
        needed -= taken


def idle_limit_s(manager: Manager) -> float:
    """How long its units are kept although they have nothing to do."""
    return min(IDLE_MOST_S, max(IDLE_LEAST_S, manager.start_s))


def idle_units(manager: Manager, after_s: float) -> list[Unit]:
    """Those that had nothing for that long, the longest idle first."""
    idle = [unit for unit in manager.serving if not unit.busy and unit.idle_s >= after_s]
    return sorted(idle, key=lambda unit: -unit.idle_s)


def launching_wanted(supply: Supply) -> int:
    """Launching units that something is left for."""
    return min(supply.manager.launching, -(-supply.wanted_launching // supply.manager.slots))


def most_demanding_first(work: Work) -> tuple[int, int]:
    """The order of classes in a plan: what few units fit has the first choice."""
    return (-len(work.capabilities), -sum([amount for _, amount in work.capabilities if amount > 0]))


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s"
