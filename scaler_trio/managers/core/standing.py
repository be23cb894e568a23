"""What a unit may be for its manager, as a table with an entry for every (standing × event).

A unit that is ended keeps its place until the provisioner says that it is gone: what runs costs money.
"""

from enum import Enum, auto
from typing import Final


class Standing(Enum):
    """Where a unit is in its life."""

    __hash__ = object.__hash__

    LAUNCHING = "launching"  # asked for; not seen by the scheduler yet
    CONNECTED = "connected"
    MISSING = "missing"  # it was connected; it may come back
    DRAINING = "draining"  # the scheduler has told it to leave
    ENDING = "ending"  # the provisioner has


class Turn(Enum):
    """What may happen to it."""

    __hash__ = object.__hash__

    CONNECT = auto()
    LOSE = auto()  # the scheduler does not see it any more, or is away itself
    DRAIN = auto()
    END = auto()


_S, _T = Standing, Turn
TABLE: Final[dict[tuple[Standing, Turn], Standing]] = {
    (_S.LAUNCHING, _T.CONNECT): _S.CONNECTED,
    (_S.LAUNCHING, _T.LOSE): _S.LAUNCHING,
    (_S.LAUNCHING, _T.DRAIN): _S.DRAINING,  # it had connected, and that is still on its way to us
    (_S.LAUNCHING, _T.END): _S.ENDING,
    (_S.CONNECTED, _T.CONNECT): _S.CONNECTED,  # another connection of the same unit
    (_S.CONNECTED, _T.LOSE): _S.MISSING,
    (_S.CONNECTED, _T.DRAIN): _S.DRAINING,
    (_S.CONNECTED, _T.END): _S.ENDING,
    (_S.MISSING, _T.CONNECT): _S.CONNECTED,
    (_S.MISSING, _T.LOSE): _S.MISSING,
    (_S.MISSING, _T.DRAIN): _S.DRAINING,
    (_S.MISSING, _T.END): _S.ENDING,
    (_S.DRAINING, _T.CONNECT): _S.DRAINING,
    (_S.DRAINING, _T.LOSE): _S.DRAINING,  # that is how it leaves
    (_S.DRAINING, _T.DRAIN): _S.DRAINING,
    (_S.DRAINING, _T.END): _S.ENDING,
    (_S.ENDING, _T.CONNECT): _S.ENDING,
    (_S.ENDING, _T.LOSE): _S.ENDING,
    (_S.ENDING, _T.DRAIN): _S.ENDING,
    (_S.ENDING, _T.END): _S.ENDING,
}
"""The next standing; every pair has one."""

SERVING: Final = frozenset({Standing.LAUNCHING, Standing.CONNECTED, Standing.MISSING})
"""What counts towards the number that is wanted."""
