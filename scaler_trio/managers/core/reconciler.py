"""Which units to start and to end, from what is wanted and what is there. Shared by all managers; no clock, no IO.

A unit is known from the moment it is asked for, so nothing is ever asked for twice. Units that serve are never ended
here for lack of need: the scheduler drains those it can spare, and only what it has not seen yet may simply go.
"""

from collections.abc import Iterable

from attrs import define, field, frozen

from scaler_trio.managers.core.events import (
    Effect,
    End,
    Ended,
    Event,
    Failed,
    Found,
    Linked,
    Say,
    Seen,
    Start,
    Tick,
    Unlinked,
    Wanted,
)
from scaler_trio.managers.core.pace import Pace, Starting
from scaler_trio.managers.core.standing import SERVING, TABLE, Standing, Turn
from scaler_trio.words import counted


@frozen
class Counts:
    """Units by standing; what is ending or missing is neither launching nor connected."""

    wanted: int
    launching: int
    connected: int
    draining: int
    ending: int


@define
class _Unit:
    name: str
    standing: Standing
    asked_at: float
    since: float
    deadline: float | None = None  # then it is ended


@define
class Reconciler:
    """The units of one manager."""

    manager: str
    limit: int
    """Units that may be there at one time, those on their way out included; -1 = any number."""

    fixed: int | None
    """So many are kept, whatever the scheduler says; None = as it says."""

    pace: Pace
    now: float
    _units: dict[str, _Unit] = field(factory=dict)
    _wanted: int = 0
    _number: int = 0
    _is_linked: bool = False
    _is_found: bool = False
    _fault: str = ""
    _starting: Starting = field(init=False)
    _out: list[Effect] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._starting = Starting(self.pace, self.now)
        self._wanted = self.fixed or 0

    # ------------------------------------------------------------------------------------------------------- questions

    @property
    def counts(self) -> Counts:
        """How many there are of each."""
        standings = [unit.standing for unit in self._units.values()]
        return Counts(
            self._wanted,
            # One that is missing will come back or be replaced: it is on its way too.
            standings.count(Standing.LAUNCHING) + standings.count(Standing.MISSING),
            standings.count(Standing.CONNECTED),
            standings.count(Standing.DRAINING),
            standings.count(Standing.ENDING),
        )

    @property
    def start_s(self) -> float:
        """From the wish for a unit until it has connected."""
        return self._starting.start_s

    @property
    def problem(self) -> str:
        """Why nothing can be started at present, or ""."""
        return self._fault or self._starting.problem(self.now)

    @property
    def units(self) -> list[str]:
        """Names of all that are there."""
        return list(self._units)

    def next_deadline(self) -> float | None:
        """When ``Tick`` is due."""
        times = [unit.deadline for unit in self._units.values() if unit.deadline is not None]
        if self._lacking() > 0:
            times.append(self._starting.next_at(self.now))
        elif self._starting.problem(self.now):
            times.append(self._starting.not_before)
        return min(times, default=None)

    # ---------------------------------------------------------------------------------------------------------- events

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in what happened; what is to be done."""
        self.now = now
        match event:
            case Wanted():
                self._want(event)
            case Seen():
                self._see(event)
            case Linked():
                self._is_linked = True
                for unit in self._units.values():
                    self._set_deadline(unit)
            case Unlinked():
                self._is_linked = False
                self._each(list(self._units), Turn.LOSE)
            case Found():
                self._find(event.units)
            case Ended():
                self._end(event)
            case Failed():
                if event.text != self._fault:
                    self._out.append(Say(event.text, is_warning=True))
                self._fault = event.text
            case Tick():
                pass
        self._look_at_deadlines()
        self._level()
        out, self._out = self._out, []
        return out

    def _want(self, event: Wanted) -> None:
        if self.fixed is None:
            self._wanted = event.units
        for name in event.drained:
            unit = self._units.get(name)
            if unit is not None:
                self._turn(unit, Turn.DRAIN)
                if unit.standing is Standing.DRAINING:
                    unit.deadline = self.now + event.grace_s

    def _see(self, event: Seen) -> None:
        for name in event.connected:
            unit = self._units.get(name)
            if unit is None:
                continue  # it has ended meanwhile, or is nobody's
            if unit.standing is Standing.LAUNCHING:
                self._starting.connected(self.now - unit.asked_at)
            self._turn(unit, Turn.CONNECT)
        self._each(event.gone, Turn.LOSE)

    def _find(self, names: tuple[str, ...]) -> None:
        for name in [name for name in self._units if name not in names]:
            self._end(Ended(name, "with what had started it"))
        adopted = [name for name in names if name not in self._units]
        for name in adopted:
            self._add(name, Standing.MISSING)
        self._number = max([self._number, *[_number(name) + 1 for name in names]])
        if adopted:
            self._out.append(Say(f"{counted(len(adopted), 'unit')} of an earlier manager taken over: {_some(adopted)}"))
        self._is_found, self._fault = True, ""

    def _end(self, event: Ended) -> None:
        unit = self._units.pop(event.unit, None)
        if unit is None or unit.standing not in SERVING:
            return
        pause_s = self._starting.failed(self.now, self.now - unit.asked_at, f"{event.unit} ended {event.how}")
        after = f"; another one starts in {pause_s:.2g} s" if self._lacking() > 0 else ""
        self._out.append(Say(f"{event.unit} ended {event.how}{after}", is_warning=True))

    def _each(self, names: Iterable[str], turn: Turn) -> None:
        for name in names:
            if (unit := self._units.get(name)) is not None:
                self._turn(unit, turn)

    def _turn(self, unit: _Unit, turn: Turn) -> None:
        before, unit.standing = unit.standing, TABLE[unit.standing, turn]
        if before is not unit.standing:
            unit.since = self.now
        if before is not unit.standing or turn is Turn.LOSE:
            self._set_deadline(unit)

    def _set_deadline(self, unit: _Unit) -> None:
        """While the scheduler is away nobody can connect, so nobody is late."""
        if unit.standing is Standing.DRAINING:
            return  # as it was told
        patience = {Standing.LAUNCHING: self.pace.launch_s, Standing.MISSING: self.pace.missing_s}.get(unit.standing)
        unit.deadline = self.now + patience if patience is not None and self._is_linked else None

    # ----------------------------------------------------------------------------------------------------- what it does

    def _look_at_deadlines(self) -> None:
        for unit in self._units.values():
            if unit.deadline is None or unit.deadline > self.now:
                continue
            seconds = f"{self.now - unit.since:.3g} s"
            if unit.standing is Standing.DRAINING:
                self._out.append(Say(f"{unit.name} has not finished {seconds} after it was told to leave; it is ended"))
            else:
                is_new = unit.standing is Standing.LAUNCHING
                what = "not connected" if is_new else "lost its connection and not come back"
                text = f"{unit.name} has {what} for {seconds}"
                self._starting.failed(self.now, 0.0, text)
                self._out.append(Say(f"{text}; it is ended, and another one takes its place", is_warning=True))
            self._order_end(unit)

    def _level(self) -> None:
        """Start what is missing, and end what nobody has seen yet if it is too much."""
        lacking = self._lacking()
        if lacking < 0:
            unseen = [u for u in self._units.values() if u.standing in (Standing.LAUNCHING, Standing.MISSING)]
            for unit in unseen[lacking:]:  # the newest
                self._order_end(unit)
                self._starting.cool_down(self.now)
        for _ in range(min(lacking, self._starting.allowed(self.now)) if lacking > 0 else 0):
            self._starting.take()
            name = f"{self.manager}-{self._number}"
            self._number += 1
            self._add(name, Standing.LAUNCHING)
            self._out.append(Start(name))

    def _lacking(self) -> int:
        """Units to be started, or, negative, to be ended."""
        if not self._is_found or self._fault:
            return 0
        lacking = self._wanted - len([unit for unit in self._units.values() if unit.standing in SERVING])
        return min(lacking, self.limit - len(self._units)) if self.limit >= 0 and lacking > 0 else lacking

    def _add(self, name: str, standing: Standing) -> None:
        unit = self._units[name] = _Unit(name, standing, self.now, self.now)
        self._set_deadline(unit)

    def _order_end(self, unit: _Unit) -> None:
        self._turn(unit, Turn.END)
        unit.deadline = None
        self._out.append(End(unit.name))


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else -1


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
