"""The policy ``simple``: all managers alike, asked in the order of their start-up times."""

from attrs import frozen

from scaler_trio.scheduler.policy.core.sizing import (
    Supply,
    idle_limit_s,
    idle_units,
    launching_wanted,
    most_demanding_first,
    plan_class,
)
from scaler_trio.scheduler.policy.core.view import Desired, Manager, View
from scaler_trio.words import counted


@frozen
class NoScaling:
    """``scaling=no``: nobody is told anything, so each manager keeps what it was started with."""

    def decide(self, view: View) -> list[Desired]:
        """Nothing."""
        return []


@frozen
class SimpleScaling:
    """``scaling=vanilla`` and ``capability``: what finishes the work soonest, with no unit that comes in vain."""

    with_amounts: bool
    """``capability``: amounts of capabilities limit what runs side by side on a unit. ``vanilla`` counts slots only."""

    def decide(self, view: View) -> list[Desired]:
        """More where work waits, fewer where units were idle for longer than it takes to start them again."""
        supplies = [Supply.of(manager) for manager in sorted(view.managers, key=_soonest)]
        for work in sorted(view.work, key=most_demanding_first):
            plan_class(work, supplies, with_amounts=self.with_amounts)
        return [settled(supply, idle_limit_s(supply.manager)) for supply in supplies if supply.manager.limit]


def settled(supply: Supply, idle_s: float, *, why_drain: str = "") -> Desired:
    """What a manager should run after a plan: units that were idle for ``idle_s`` go, unless more are asked for."""
    manager = supply.manager
    serving = len(manager.serving)
    excess = max(0, serving - manager.limit) if manager.limit >= 0 else 0
    going = [] if supply.added else idle_units(manager, idle_s)
    going += [unit for unit in idle_units(manager, 0.0) if unit not in going][: max(0, excess - len(going))]
    launching = launching_wanted(supply)
    reasons = list(supply.reasons)
    if launching < manager.launching:
        reasons.append(f"nothing will be left for {counted(manager.launching - launching, 'starting unit')}")
    if going:
        reasons.append(why_drain or f"{len(going)} of {serving} units were idle for {idle_s:.3g} s or more")
    if manager.problem and not supply.added:
        reasons.append(f"it cannot start units at present: {manager.problem}")
    return Desired(
        manager.name,
        serving - len(going) + launching + supply.added,
        tuple([unit.name for unit in going]),
        "; ".join(reasons),
    )


def _soonest(manager: Manager) -> tuple[float, str]:
    return (manager.start_s, manager.name)
