"""What a slot of a worker may be, as a table with an entry for every (stance × event).

Only active slots are given work, and there are never more of them than the worker offers. A slot whose item waits for
tasks of its own gives its place to another one, a spare or a new one, and takes a place again before it goes on.
"""

from enum import Enum, auto
from typing import Final

from scaler_trio.worker.errors import InternalError


class Stance(Enum):
    """What a slot is doing."""

    __hash__ = object.__hash__

    ACTIVE = "active"  # has one of the places
    BLOCKED = "blocked"  # its item waits for tasks of its own
    RESUMING = "resuming"  # its item has what it waited for; a place is what is missing
    PARKED = "parked"  # a spare: a processor without work
    EMPTY = "empty"  # no processor: the record may be used again


class Turn(Enum):
    """What may happen to it."""

    __hash__ = object.__hash__

    WAIT = auto()  # its item begins to wait
    WANT = auto()  # its item has what it waited for
    GRANT = auto()  # it gets a place and goes on
    END = auto()  # its item ended, however, while it had no place
    TAKE = auto()  # it gets a place that is free
    PARK = auto()  # it gives its place to one that resumes
    VACATE = auto()  # the same, and it has no processor yet
    DIE = auto()  # its processor died


_T: Final = Turn
TABLE: Final[dict[tuple[Stance, Turn], Stance]] = {
    (Stance.ACTIVE, _T.WAIT): Stance.BLOCKED,
    (Stance.ACTIVE, _T.GRANT): Stance.ACTIVE,  # its wait was over before it was seen
    (Stance.ACTIVE, _T.PARK): Stance.PARKED,
    (Stance.ACTIVE, _T.VACATE): Stance.EMPTY,
    (Stance.ACTIVE, _T.DIE): Stance.ACTIVE,  # its successor is
    (Stance.BLOCKED, _T.WANT): Stance.RESUMING,
    (Stance.BLOCKED, _T.END): Stance.PARKED,
    (Stance.BLOCKED, _T.DIE): Stance.EMPTY,
    (Stance.RESUMING, _T.WAIT): Stance.BLOCKED,
    (Stance.RESUMING, _T.WANT): Stance.RESUMING,
    (Stance.RESUMING, _T.GRANT): Stance.ACTIVE,
    (Stance.RESUMING, _T.END): Stance.PARKED,
    (Stance.RESUMING, _T.DIE): Stance.EMPTY,
    (Stance.PARKED, _T.TAKE): Stance.ACTIVE,
    (Stance.PARKED, _T.DIE): Stance.EMPTY,
    (Stance.EMPTY, _T.TAKE): Stance.ACTIVE,
}
"""The next stance; what is not here cannot happen."""


def turn(stance: Stance, event: Turn, what: object) -> Stance:
    """The next stance.

    Raises:
        InternalError: the table says that it cannot happen; the text carries ``what``.
    """
    after = TABLE.get((stance, event))
    if after is None:
        raise InternalError(f"{event.name} cannot happen to a slot that is {stance.value}: {what}")
    return after
