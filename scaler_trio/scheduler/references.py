"""Who refers to which stored object: an object is adopted at its first reference and deleted after its last."""

from collections.abc import Iterable

from attrs import define, field

from scaler_trio.scheduler.effects import Effects


@define
class ObjectReferences:
    """A count per object. What refers to it is written at the callers: holders, unfinished readers, unreleased results."""

    effects: Effects
    counts: dict[bytes, int] = field(factory=dict)

    def add(self, objects: Iterable[bytes]) -> None:
        """One more reference to each."""
        counts = self.counts
        for object_ in objects:
            count = counts.get(object_, 0)
            counts[object_] = count + 1
            if count == 0:
                self.effects.adopt.append(object_)

    def remove(self, objects: Iterable[bytes]) -> None:
        """One reference less to each; an unknown object is ignored."""
        counts = self.counts
        for object_ in objects:
            count = counts.get(object_, 0)
            if count > 1:
                counts[object_] = count - 1
            elif count == 1:
                del counts[object_]
                self.effects.delete.append(object_)

    def discard(self, objects: Iterable[bytes]) -> None:
        """Objects of a result that is dropped: deleted unless something else refers to them."""
        self.effects.delete.extend([o for o in objects if o not in self.counts])
