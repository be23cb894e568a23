"""How a supervisor shall treat its children: values that make the tree readable where it is put together."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from scaler_trio.actors.actor import Actor
from scaler_trio.actors.mailbox import WhenFull
from scaler_trio.actors.statistics import ChildKind

M = TypeVar("M")


class Strategy(enum.Enum):
    """Who is restarted when a child fails."""

    #: Only the child that failed.
    ONE_FOR_ONE = "one for one"
    #: The child, and those started after it, because they depend on it.
    REST_FOR_ONE = "rest for one"
    #: All children.
    ONE_FOR_ALL = "one for all"


def _valid_name(_: object, __: object, value: str) -> None:
    if not value or "/" in value:
        raise ValueError(f"a child's name must be non-empty and without '/', not {value!r}")


@attrs.frozen
class ChildSpec(Generic[M]):
    """One child of a supervisor."""

    name: str = attrs.field(validator=_valid_name)
    #: Makes the actor, once per start. What it closes over is owned by the actor from then on.
    factory: Callable[[], Actor[M]]
    kind: ChildKind = ChildKind.PERMANENT
    #: Limit for `run` to return once asked (then it is cancelled), and again for `stopping`. A supervisor needs at
    #: least the sum of its children's.
    stop_timeout_s: float = attrs.field(default=5.0, validator=attrs.validators.ge(0), kw_only=True)
    #: Limit for `started`. Generous: a child that hangs there holds up the start of its siblings.
    start_timeout_s: float = attrs.field(default=30.0, validator=attrs.validators.gt(0), kw_only=True)
    #: Enough for a burst while the actor handles its last batch; more only hides that it is too slow.
    mailbox_capacity: int = attrs.field(default=1024, validator=attrs.validators.ge(1), kw_only=True)
    when_full: WhenFull = attrs.field(default=WhenFull.WAIT, kw_only=True)


@attrs.frozen(kw_only=True)
class RestartPolicy:
    """How often, and how fast, a supervisor restarts before it gives up."""

    #: More failures than this within `period_s`, over all children, are escalated. 0: the first one is.
    max_restarts: int = attrs.field(default=5, validator=attrs.validators.ge(0))
    period_s: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    #: Wait before the first restart of a child; doubles with each further one.
    first_backoff_s: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))
    max_backoff_s: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))
    #: A child that ran this long has recovered: its back-off starts again from the first.
    quiet_s: float = attrs.field(default=60.0, validator=attrs.validators.ge(0))

    def backoff_s(self, failures_in_a_row: int) -> float:
        """The wait before the restart that follows the n-th failure in a row (n from 1)."""
        doublings = min(failures_in_a_row - 1, 60)  # keeps the float finite; any real maximum is reached long before
        return min(self.max_backoff_s, self.first_backoff_s * 2.0**doublings)
