"""What goes wrong inside the scheduler, by whose fault it is."""

from collections.abc import Iterable


class PeerFault(Exception):
    """A peer sent what contradicts what it sent before, or what is not its own; its session is closed, nothing else."""


class InternalError(Exception):
    """A fault of ours; the text carries what is known of how it came about."""


class IllegalTransition(InternalError):
    """An event met a task in a state in which it cannot happen."""

    def __init__(self, what: str, story: Iterable[object]) -> None:
        self.story = tuple(story)
        super().__init__(f"{what}; its story: {self.story}")
