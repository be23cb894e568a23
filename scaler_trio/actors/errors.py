"""What can go wrong between actors, split by who has to act on it."""

from __future__ import annotations

from collections.abc import Sequence


class ActorError(Exception):
    """Root of everything this package raises on its own account."""


class ActorStopped(ActorError):
    """The actor has stopped (or, for an ask: was restarted before it replied), so the message has no effect.

    A slow actor gives `AskTimeout` instead, a full mailbox `MailboxFull`.
    """

    def __init__(self, path: str) -> None:
        super().__init__(f"actor {path!r} is not running")
        self.path = path


class MailboxFull(ActorError):
    """The mailbox had no room, and its policy neither lets this teller wait nor drops anything."""

    def __init__(self, path: str, capacity: int) -> None:
        super().__init__(f"mailbox of actor {path!r} is full (capacity {capacity})")
        self.path = path
        self.capacity = capacity


class AskTimeout(ActorError):
    """No reply came within the asker's limit; a later reply is dropped. The actor may still act on the message."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__(f"actor {path!r} did not reply within {timeout_s:g} s")
        self.path = path
        self.timeout_s = timeout_s


class StartTimeout(ActorError):
    """`started` did not complete within `ChildSpec.start_timeout_s`."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__(f"actor {path!r} did not start within {timeout_s:g} s")
        self.path = path
        self.timeout_s = timeout_s


class EndedUnasked(ActorError):
    """A permanent child returned although nobody asked it to stop: the supervisor counts that as a failure."""

    def __init__(self, path: str) -> None:
        super().__init__(f"permanent actor {path!r} ended without being asked to")
        self.path = path


class DuplicateChild(ActorError):
    """The supervisor already has a child of this name."""

    def __init__(self, path: str) -> None:
        super().__init__(f"there is already a child {path!r}")
        self.path = path


class UnknownChild(ActorError):
    """The supervisor has no child of this name (not started yet, or ended without a trace)."""

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no child {path!r}")
        self.path = path


class TooManyChildren(ActorError):
    """The supervisor's limit on children is reached; the factory was not called."""

    def __init__(self, path: str, limit: int) -> None:
        super().__init__(f"supervisor {path!r} has reached its limit of {limit} children")
        self.path = path
        self.limit = limit


class RestartIntensityExceeded(ActorError):
    """Children failed more often than the restart policy allows: the supervisor gives up, its own supervisor decides.

    Attributes:
        path: the child whose failure went past the limit.
        causes: the failures within the period, oldest first; the last one is also `__cause__`.
    """

    def __init__(self, path: str, max_restarts: int, period_s: float, causes: Sequence[Exception]) -> None:
        super().__init__(
            f"child {path!r} failed past the limit of {max_restarts} restarts in {period_s:g} s;"
            f" last cause: {causes[-1]!r}"
        )
        self.path = path
        self.causes = tuple(causes)


def single_failure(error: BaseException) -> BaseException:
    """Return the only leaf of a (nested) exception group, or the error itself.

    A group of several failures stays a group; nothing is ever left out, `trio.Cancelled` included.
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
