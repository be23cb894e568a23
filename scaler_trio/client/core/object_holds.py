"""Which stored objects a client holds: those that it wrote and keeps, and those that delivered results name."""

from collections.abc import Iterable, Sequence

from attrs import define, field

from scaler_protocol import Message, limits
from scaler_protocol.messages import HoldObjects, ReleaseObjects


@define
class ObjectHolds:
    """The client's side of objects' lives."""

    written: dict[bytes, int] = field(factory=dict)  # objects that the client wrote and keeps: size
    named: dict[bytes, int] = field(factory=dict)  # by results that were delivered and not released: how often
    releases: list[bytes] = field(factory=list)  # not yet told: they wait until no row that may name them is unsent

    def count(self, objects: Iterable[bytes]) -> None:
        """A delivered result names these."""
        for object_ in objects:
            self.named[object_] = self.named.get(object_, 0) + 1

    def release(self, objects: Iterable[bytes]) -> None:
        """The client needs these no longer."""
        for object_ in objects:
            if self.written.pop(object_, None) is None and (count := self.named.pop(object_, 0)) > 1:
                self.named[object_] = count - 1
            self.releases.append(object_)

    def release_late(self, objects: Sequence[bytes]) -> None:
        """A result that nobody wants any more names these; what a delivered result names too is kept."""
        self.releases += [object_ for object_ in objects if object_ not in self.named]

    def take_releases(self) -> list[Message]:
        """What to tell the scheduler, once."""
        objects, self.releases = self.releases, []
        size = limits.BATCH_ROWS
        return [ReleaseObjects(tuple(objects[at : at + size])) for at in range(0, len(objects), size)]

    def declare(self) -> list[Message]:
        """Everything again, for a new connection. The size of a result's object is not known here."""
        rows = [*self.written.items(), *[(object_, 0) for object_ in self.named if object_ not in self.written]]
        size = limits.BATCH_ROWS
        return [HoldObjects(tuple(rows[at : at + size])) for at in range(0, len(rows), size)]
