"""What monitors and logs see of an actor tree: frozen values, never the actors themselves."""

from __future__ import annotations

import enum
from collections.abc import Callable

import attrs

from scaler_trio.actors.mailbox import MailboxStatistics


class ChildKind(enum.Enum):
    """When a child that ended is started again."""

    #: Always, unless it was asked to stop.
    PERMANENT = "permanent"
    #: Only after a failure.
    TRANSIENT = "transient"
    #: Never; it is forgotten when it ends.
    TEMPORARY = "temporary"


class ActorState(enum.Enum):
    """Where an actor is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    #: Asked to stop, or cleaning up after its end.
    STOPPING = "stopping"
    #: Ended, waiting for its restart.
    BACKING_OFF = "backing off"
    #: Ended, not to be restarted.
    STOPPED = "stopped"


@attrs.frozen
class ActorStatistics:
    """One actor, and everything below it."""

    name: str
    kind: ChildKind
    state: ActorState
    restarts: int
    mailbox: MailboxStatistics
    children: tuple[ActorStatistics, ...] = ()


class ActorEventKind(enum.Enum):
    """What happened to an actor, as its supervisor saw it."""

    STARTED = "started"
    FAILED = "failed"
    RESTARTED = "restarted"
    #: Ended without failure: asked to, or at its own wish.
    ENDED = "ended"
    #: Did not stop within its limit and was cancelled.
    CANCELLED = "cancelled"
    #: Failed past the restart intensity: its supervisor gives up.
    ESCALATED = "escalated"


@attrs.frozen
class ActorEvent:
    """One line for a log."""

    kind: ActorEventKind
    path: str
    restarts: int
    cause: Exception | None = None
    #: How long the supervisor waits before it restarts the actor (only with FAILED, when it does).
    backoff_s: float | None = None


EventHook = Callable[[ActorEvent], None]
