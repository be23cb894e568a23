"""The policy ``waterfall_v1``: managers in tiers, filled in order and drained in reverse."""

from itertools import groupby

from attrs import evolve, frozen

from scaler_trio.scheduler.policy.core.simple import settled
from scaler_trio.scheduler.policy.core.sizing import (
    Supply,
    idle_limit_s,
    most_demanding_first,
    plan_class,
    slots_for,
)
from scaler_trio.scheduler.policy.core.view import Desired, Manager, Unit, View, Work
from scaler_trio.words import counted


@frozen
class Rule:
    """One line of the policy's content."""

    priority: int
    """Smaller is asked first; managers of the same priority are one tier."""

    manager: str
    limit: int = -1
    """Units, besides what the manager itself allows; -1 = no other limit."""


@frozen
class Waterfall:
    """A tier is asked only when those before it have all that they may have, or cannot deliver."""

    rules: tuple[Rule, ...]

    def decide(self, view: View) -> list[Desired]:
        """The same sizing as ``simple``, tier by tier; managers without a rule are left alone."""
        known = {manager.name: manager for manager in view.managers}
        asked = [rule for rule in self.rules if rule.manager in known and known[rule.manager].limit]
        ranked = sorted(asked, key=lambda rule: rule.priority)
        supplies = [Supply.of(_limited(known[rule.manager], rule)) for rule in ranked]
        others = [Supply.of(manager) for manager in view.managers if not manager.limit]  # they serve, unasked
        missing = [rule.manager for rule in self.rules if rule.manager not in known]
        for work in sorted(view.work, key=most_demanding_first):
            plan_class(work, [*others, *supplies], with_amounts=True, in_order=True)
        decided: list[Desired] = []
        before: list[Supply] = list(others)
        for priority, tier in groupby(zip(ranked, supplies, strict=True), key=lambda pair: pair[0].priority):
            its = [supply for _, supply in tier]
            later = [s.manager for r, s in zip(ranked, supplies, strict=True) if r.priority > priority]
            _hand_back(its, later, view.work)
            for supply in its:
                desired = self._tier(supply, view.work, before, later)
                skipped = [s.manager.name for s in before if s.manager.problem] + missing
                if supply.added and skipped:
                    desired = evolve(desired, reason=f"{desired.reason}; skipped: {', '.join(skipped)}")
                decided.append(desired)
            before += its
        return decided

    def _tier(self, supply: Supply, works: tuple[Work, ...], before: list[Supply], later: list[Manager]) -> Desired:
        manager = supply.manager
        if before and not supply.added and manager.units and _carried(works, [s.manager for s in before]):
            names = ", ".join([s.manager.name for s in before if s.manager.serving])
            going = tuple([unit.name for unit in manager.serving])
            return Desired(
                manager.name,
                0,
                going,
                f"{names} can do all that there is, so {counted(len(going), 'unit')} here can go",
            )
        if any(one.serving for one in later):
            return settled(supply, float("inf"))  # those behind it go first
        return settled(supply, idle_limit_s(manager))


def _hand_back(tier: list[Supply], later: list[Manager], works: tuple[Work, ...]) -> None:
    """Ask this tier for what those behind it run: it may have been away, or full, when that began."""
    running = sum([min(unit.busy, unit.slots) for manager in later for unit in manager.serving])
    for supply in tier:
        manager = supply.manager
        if not any(work.running and slots_for(manager, work, with_amounts=True) for work in works):
            continue
        running -= sum([unit.slots - min(unit.busy, unit.slots) for unit in manager.serving])
        launching = manager.launching * manager.slots
        supply.wanted_launching = max(supply.wanted_launching, min(launching, max(0, running)))
        running -= launching + supply.added * manager.slots
        more = min(-(-running // manager.slots), manager.room - supply.added)
        if more > 0:
            supply.added += more
            running -= more * manager.slots
            supply.reasons.append(f"tiers behind it run {running + more * manager.slots} items that it could run")


def _carried(works: tuple[Work, ...], managers: list[Manager]) -> bool:
    """Whether the connected units of these have a slot for every item that there is."""
    free = {manager.name: sum([unit.slots for unit in manager.serving]) for manager in managers}
    for work in sorted(works, key=most_demanding_first):
        needed = work.queued + work.running
        for manager in managers:
            if needed and slots_for(manager, work, with_amounts=True):
                taken = min(needed, free[manager.name])
                free[manager.name] -= taken
                needed -= taken
        if needed:
            return False
    return any(_slots(manager.serving) for manager in managers)


def _limited(manager: Manager, rule: Rule) -> Manager:
    if rule.limit < 0:
        return manager
    limit = rule.limit if manager.limit < 0 else min(rule.limit, manager.limit)
    return evolve(manager, limit=limit)


def _slots(units: tuple[Unit, ...]) -> int:
    return sum([unit.slots for unit in units])
