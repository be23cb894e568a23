"""What monitors are told has happened: the last events of each kind, numbered in one row over all of them."""

from collections import deque
from heapq import merge
from itertools import islice
from operator import attrgetter

from attrs import define, field, frozen

from scaler_protocol.limits import NAME_BYTES, clip
from scaler_protocol.messages import EventKind

KEPT = 200
"""Events of one kind: a burst of one, as when a fleet connects, does not drive out the others."""

TEXT_BYTES = 1_000
"""Of one event: an answer with all of them stays far below a frame."""


@frozen
class FeedEvent:
    """One thing that happened."""

    number: int
    at: float
    kind: EventKind
    subject: str
    """Name of whom it is about."""

    text: str


@define(eq=False)
class Feed:
    """The ring, and what is new in this step."""

    last: int = 0
    new: list[FeedEvent] = field(factory=list)  # taken with the effects of the step, and logged
    _kept: dict[EventKind, deque[FeedEvent]] = field(
        factory=lambda: {kind: deque(maxlen=KEPT) for kind in EventKind},
    )

    def tell(self, now: float, kind: EventKind, subject: str, text: str) -> None:
        """Remember an event."""
        self.last += 1
        event = FeedEvent(self.last, now, kind, clip(subject, NAME_BYTES), clip(text, TEXT_BYTES))
        self._kept[kind].append(event)
        self.new.append(event)

    def take_new(self) -> list[FeedEvent]:
        """Those since the last time."""
        new, self.new = self.new, []
        return new

    def since(self, after: int) -> list[FeedEvent]:
        """What is kept of those with a greater number, oldest first."""
        newer = [islice((e for e in kept if e.number > after), KEPT) for kept in self._kept.values()]
        return list(merge(*newer, key=attrgetter("number")))
