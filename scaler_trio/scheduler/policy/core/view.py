"""What a policy sees of the cluster, and what it decides. Times are in seconds.

A *unit* is what a manager starts and stops as one: a worker process, a container, a machine.
"""

from typing import Protocol, TypeAlias

from attrs import frozen

Capabilities: TypeAlias = tuple[tuple[str, int], ...]
"""Name and amount; -1 = it is there, without amount."""


def capabilities_in_words(capabilities: Capabilities) -> str:
    """For reasons, logs and monitors."""
    return ", ".join([name if amount < 0 else f"{name}={amount}" for name, amount in capabilities])


@frozen
class Work:
    """The unfinished items of one class: those that need the same Python and the same capabilities."""

    python: str
    capabilities: Capabilities
    queued: int
    """Items that are not running: they may be given to any worker that fits."""

    running: int
    seconds_each: float
    """Expected of one item."""

    known: bool = True
    """Whether that was measured; otherwise it is only how long the running ones have run already."""


@frozen
class Unit:
    """A connected unit."""

    name: str
    slots: int
    busy: int
    """Items that are with it."""

    idle_s: float = 0.0
    """How long it has had none."""

    draining: bool = False


@frozen
class Manager:
    """A worker manager, or, with ``limit`` 0, workers that nobody can ask for."""

    name: str
    limit: int
    """Units that it may run; -1 = any number."""

    slots: int
    """Of each unit."""

    start_s: float
    """From the wish for a unit until it has connected."""

    units: tuple[Unit, ...] = ()
    launching: int = 0
    """Units that were started and have not connected."""

    python: str = ""
    capabilities: Capabilities = ()
    problem: str = ""
    """Why it cannot start units at present; "" = it can."""

    @property
    def serving(self) -> tuple[Unit, ...]:
        """The units that are given work."""
        return tuple([unit for unit in self.units if not unit.draining])

    @property
    def room(self) -> int:
        """Units that it may start besides those that it has; those that drain still take their place."""
        if self.problem:
            return 0
        return max(0, self.limit - len(self.units) - self.launching) if self.limit >= 0 else 1 << 30


@frozen
class View:
    """All that a policy decides by."""

    work: tuple[Work, ...]
    managers: tuple[Manager, ...]


@frozen
class Desired:
    """What one manager should run."""

    manager: str
    units: int
    """Connected, without those that drain, and launching ones together."""

    drain: tuple[str, ...] = ()
    """Units to be given nothing more: they leave when they are done."""

    reason: str = ""
    """In words for the operator, with the numbers that decided."""


class Policy(Protocol):
    """What ``policy_engine_type`` names: built-in, or a class of the user's."""

    def decide(self, view: View) -> list[Desired]:
        """What each manager should run; a manager that is left out goes on as it is."""
        ...
