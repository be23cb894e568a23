"""What every worker manager is told, whatever it starts."""

from attrs import field, frozen, validators

from scaler_protocol import limits
from scaler_trio.managers.core.pace import Pace

NAME_BYTES = limits.NAME_BYTES - 16
"""Of a manager's id: the names of its units are longer by a number."""


@frozen
class ManagerSettings:
    """Settings of one worker manager."""

    scheduler_address: str
    """Where the scheduler listens, as this manager sees it."""

    token: bytes | None = field(repr=False)
    manager: str = field(validator=[validators.min_len(1), validators.max_len(NAME_BYTES)])
    """Its id: policies name it, and its units are called after it."""

    limit: int = field(validator=validators.ge(-1))
    """Units that it may run; -1 = any number."""

    is_fixed: bool = False
    """Whether it always runs that many, whatever the scheduler wants."""

    slots: int = 1
    """Of each unit."""

    capabilities: tuple[tuple[str, int], ...] = ()
    """Of each unit."""

    pace: Pace = field(factory=Pace)
