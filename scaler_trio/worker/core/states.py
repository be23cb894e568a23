"""The life of a row of an attempt in a worker, as a table with an entry for every (state × event).

A row's state is where it is: in the queue, in a slot beyond what its processor has claimed, claimed, being
interrupted, or kept as a result. Rows move in ranges, so the table is asked once per range, never once per item.
"""

from enum import Enum, auto
from typing import Final

from scaler_trio.worker.errors import InternalError


class Row(Enum):
    """Where a row is."""

    __hash__ = object.__hash__  # Enum's own is a Python call, in every look-up of the table

    UNKNOWN = "not here"
    QUEUED = "waiting in the agent"
    FED = "given to a processor, not claimed"
    CLAIMED = "claimed or running"
    STOPPING = "running and interrupted"
    CRASHED = "crashed, and nobody to tell"
    KEPT = "finished, not settled"


class Happening(Enum):
    """What may happen to a row."""

    __hash__ = object.__hash__

    ASSIGN = auto()
    FEED = auto()
    CLAIM = auto()
    TRUNCATE = auto()  # taken back from its slot: a recall, a cancel, a drain, a lost connection, an idle neighbour
    FINISH = auto()
    INTERRUPT = auto()  # cancelled, dropped or out of time while it may be running
    DIE = auto()  # its processor died
    RECALL = auto()
    CANCEL = auto()
    DRAIN = auto()
    DISCONNECT = auto()
    RECONNECT = auto()
    DROP = auto()
    SETTLE = auto()


_H = Happening
_STAYS: Final = {
    # What changes nothing, state by state. A recall, cancel or drain that finds a row in a slot first truncates the
    # slot, and a claimed row is past recalling: it ends as a result. Messages about what is not here are only late.
    Row.UNKNOWN: {_H.RECALL, _H.CANCEL, _H.DRAIN, _H.DISCONNECT, _H.RECONNECT, _H.DROP, _H.SETTLE},
    Row.QUEUED: {_H.ASSIGN, _H.DISCONNECT, _H.RECONNECT, _H.SETTLE},
    Row.FED: {_H.ASSIGN, _H.RECALL, _H.CANCEL, _H.DRAIN, _H.DISCONNECT, _H.RECONNECT, _H.DROP, _H.SETTLE},
    Row.CLAIMED: {_H.ASSIGN, _H.CLAIM, _H.RECALL, _H.CANCEL, _H.DRAIN, _H.DISCONNECT, _H.RECONNECT, _H.DROP, _H.SETTLE},
    Row.STOPPING: {_H.ASSIGN, _H.INTERRUPT, _H.CLAIM, _H.RECALL, _H.CANCEL, _H.DRAIN, _H.DISCONNECT, _H.RECONNECT}
    | {_H.DROP, _H.SETTLE},
    Row.CRASHED: {_H.ASSIGN, _H.RECALL, _H.CANCEL, _H.DRAIN, _H.DISCONNECT, _H.SETTLE},
    Row.KEPT: {_H.ASSIGN, _H.RECALL, _H.CANCEL, _H.DRAIN, _H.DISCONNECT, _H.RECONNECT},
}
_MOVES: Final = {
    (Row.UNKNOWN, _H.ASSIGN): Row.QUEUED,
    (Row.QUEUED, _H.FEED): Row.FED,
    (Row.QUEUED, _H.RECALL): Row.UNKNOWN,
    (Row.QUEUED, _H.CANCEL): Row.UNKNOWN,
    (Row.QUEUED, _H.DRAIN): Row.UNKNOWN,
    (Row.QUEUED, _H.DROP): Row.UNKNOWN,
    (Row.FED, _H.CLAIM): Row.CLAIMED,
    (Row.FED, _H.TRUNCATE): Row.QUEUED,
    (Row.FED, _H.DIE): Row.QUEUED,
    (Row.CLAIMED, _H.TRUNCATE): Row.QUEUED,  # it was given back: its run took longer than predicted
    (Row.CLAIMED, _H.FINISH): Row.KEPT,
    (Row.CLAIMED, _H.INTERRUPT): Row.STOPPING,
    (Row.CLAIMED, _H.DIE): Row.CRASHED,  # the running one; those claimed behind it were only fed
    (Row.STOPPING, _H.FINISH): Row.KEPT,
    (Row.STOPPING, _H.DIE): Row.KEPT,  # as cancelled, or as out of time
    (Row.CRASHED, _H.RECONNECT): Row.UNKNOWN,
    (Row.CRASHED, _H.DROP): Row.UNKNOWN,
    (Row.KEPT, _H.SETTLE): Row.UNKNOWN,
    (Row.KEPT, _H.DROP): Row.UNKNOWN,
}

TABLE: Final[dict[tuple[Row, Happening], Row | None]] = {
    (state, event): state if event in _STAYS[state] else _MOVES.get((state, event))
    for state in Row
    for event in Happening
}
"""The next state; None = it cannot happen."""


def step(state: Row, event: Happening, what: object) -> Row:
    """The next state.

    Raises:
        InternalError: the table says that it cannot happen; the text carries ``what``.
    """
    after = TABLE[state, event]
    if after is None:
        raise InternalError(f"{event.name} cannot happen to a row that is {state.value}: {what}")
    return after
