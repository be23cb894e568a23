"""Who refers to which stored object: an object is adopted at its first reference and deleted after its last."""

from collections.abc import Iterable

from attrs import define, field

from scaler_trio.scheduler.core.effects import Effects


@define
class ObjectReferences:
    """A count per object. Who refers to it: a client that holds it, an unfinished reader, an unreleased result."""

    counts: dict[bytes, int] = field(factory=dict)
    adopted: dict[bytes, None] = field(factory=dict)  # in this step
    deleted: dict[bytes, None] = field(factory=dict)  # in this step

    def add(self, objects: Iterable[bytes]) -> None:
        """One more reference to each."""
        counts = self.counts
        for object_ in objects:
            count = counts.get(object_, 0)
            counts[object_] = count + 1
            if count == 0:
                if object_ in self.deleted:  # lost and found within one step: it was never let go of
                    del self.deleted[object_]
                else:
                    self.adopted[object_] = None

    def remove(self, objects: Iterable[bytes]) -> None:
        """One reference less to each; an unknown object is ignored."""
        counts = self.counts
        for object_ in objects:
            count = counts.get(object_, 0)
            if count > 1:
                counts[object_] = count - 1
            elif count == 1:
                del counts[object_]
                self.deleted[object_] = None

    def discard(self, objects: Iterable[bytes]) -> None:
        """Objects of a result that is dropped: deleted unless something else refers to them."""
        for object_ in objects:
            if object_ not in self.counts:
                self.deleted[object_] = None

    def flush(self, effects: Effects) -> None:
        """Have the changes of this step carried out."""
        if self.adopted:
            effects.adopt.extend(self.adopted)
            self.adopted.clear()
        if self.deleted:
            effects.delete.extend(self.deleted)
            self.deleted.clear()
