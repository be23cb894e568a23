"""What happens to a reconciler, and what it wants done. Times are in seconds; units are known by name."""

from typing import TypeAlias

from attrs import frozen


@frozen
class Wanted:
    """The scheduler wants so many units, those that drain not counted."""

    units: int
    drained: tuple[str, ...] = ()
    """They were told to leave …"""

    grace_s: float = 0.0
    """… and have this long; then they are ended."""


@frozen
class Seen:
    """The scheduler says which units have connected to it, and which connections have ended."""

    connected: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@frozen
class Linked:
    """The scheduler is there; it says next which units it sees."""


@frozen
class Unlinked:
    """The scheduler is away: nothing can be known about what is connected to it."""


@frozen
class Found:
    """All units that the provisioner has, at its start and whenever it had to look anew."""

    units: tuple[str, ...]


@frozen
class Ended:
    """A unit is no more, or could not be started."""

    unit: str
    how: str
    """In words."""


@frozen
class Failed:
    """The provisioner itself cannot work at present."""

    text: str


@frozen
class Tick:
    """Time has passed."""


Event: TypeAlias = Wanted | Seen | Linked | Unlinked | Found | Ended | Failed | Tick


@frozen
class Start:
    """Start a unit of this name. The provisioner answers only if it ends."""

    unit: str


@frozen
class End:
    """End a unit, busy or not. The provisioner answers ``Ended``."""

    unit: str


@frozen
class Say:
    """Tell the operator."""

    text: str
    is_warning: bool = False


Effect: TypeAlias = Start | End | Say
