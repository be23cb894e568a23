"""One child as its supervisor keeps it: a reference that lasts, and one incarnation of the actor after another.

The stop ladder needs no task: asking closes the mailbox and sets the deadline of the incarnation's own cancel scope, so
asking, the bounded wait and the cancellation are one call, and `Life.ended` tells when it is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs
import trio

from scaler_trio.actors.actor import Actor
from scaler_trio.actors.errors import single_failure
from scaler_trio.actors.mailbox import Mailbox
from scaler_trio.actors.statistics import ActorState, ActorStatistics, ChildKind, EventHook

if TYPE_CHECKING:
    from scaler_trio.actors.reference import ActorRef
    from scaler_trio.actors.specification import ChildSpec

M = TypeVar("M")


@attrs.define(eq=False)
class Life(Generic[M]):
    """One incarnation, from the factory's call to the end of `stopping`."""

    actor: Actor[M]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    #: Started, or ended before that.
    settled: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)
    #: When `started` completed; None until then.
    started_at: float | None = None
    #: Somebody asked it to stop, so that its end is no crash.
    asked: bool = False
    #: It overran its stop limit, so that `run` or `stopping` was cancelled.
    forced: bool = False
    #: Why it ended, if by an exception.
    failure: Exception | None = None
    #: Called when `started` has completed.
    on_started: Callable[[], None] | None = None


class Child(Generic[M]):
    """A child over all its incarnations."""

    def __init__(self, spec: ChildSpec[M], path: str, *, dynamic: bool = False) -> None:
        self.spec = spec
        self.path = path
        # It is forgotten, and not kept as stopped, when it has ended for good.
        self.passing = dynamic or spec.kind is ChildKind.TEMPORARY
        self.mailbox: Mailbox[M] = Mailbox(path, capacity=spec.mailbox_capacity, when_full=spec.when_full)
        self.ref: ActorRef[M] | None = None
        self.life: Life[M] | None = None
        self.state = ActorState.STOPPED
        self.restarts = 0
        self.failures_in_a_row = 0
        # Its supervisor wants it again: set while it stops because of a sibling, and while it waits for its restart.
        self.returning = False

    def begin(self, on_event: EventHook | None) -> Life[M]:
        """Make the next incarnation; `live` must follow without a checkpoint. Raises what the factory raises."""
        self.life = None
        actor = self.spec.factory()
        if self.ref is None:
            self.ref = actor._reference_type(self.path, self.mailbox, self.request_stop)
        actor._bind(self.ref, self.mailbox, on_event)
        self.mailbox.reopen()
        self.life = Life(actor)
        self.state = ActorState.STARTING
        self.returning = False
        return self.life

    async def live(self, life: Life[M]) -> None:
        """Run the incarnation. An exception becomes `life.failure`; only cancellation from outside escapes."""
        try:
            with life.scope:
                try:
                    await life.actor._main(self.mailbox, self.spec.start_timeout_s, self._report_started)
                finally:
                    await self._clean_up(life)
        except Exception as error:
            failure = single_failure(error)
            assert isinstance(failure, Exception)
            life.failure = failure
        finally:
            life.forced = life.forced or (life.asked and life.scope.cancelled_caught)
            self._end(life)

    def request_stop(self, *, returning: bool = False) -> None:
        """Put the incarnation on the stop ladder, for good or (`returning`) until its supervisor starts it again."""
        life = self.life
        if life is None or life.ended.is_set():
            if life is not None:
                life.asked = True
            if not returning:
                self.retire()
            return
        self.returning = returning and (self.returning or not life.asked)  # a stop for good stays for good
        self.mailbox.close()
        if not life.asked:
            life.asked = True
            life.scope.deadline = trio.current_time() + self.spec.stop_timeout_s
        if self.ref is not None:
            self.ref._detach()
        if self.state is ActorState.RUNNING:
            self.state = ActorState.STOPPING

    def comes_back(self, life: Life[M]) -> bool:
        """Whether the supervisor shall start the child again after this incarnation's end."""
        if life.asked:
            return self.returning and self.spec.kind is not ChildKind.TEMPORARY
        if self.spec.kind is ChildKind.TRANSIENT:
            return life.failure is not None
        return self.spec.kind is ChildKind.PERMANENT

    def retire(self) -> None:
        """The last incarnation has ended, no other will begin: whoever still tells or waits learns it. Idempotent."""
        self.mailbox.close()
        self.mailbox.clear()
        self.state = ActorState.STOPPED
        self.returning = False
        if self.ref is not None:
            self.ref._incarnation_ended()
            self.ref._retire()

    def statistics(self) -> ActorStatistics:
        """A frozen snapshot of the child and everything below it."""
        return ActorStatistics(
            name=self.spec.name,
            kind=self.spec.kind,
            state=self.state,
            restarts=self.restarts,
            mailbox=self.mailbox.statistics(),
            children=() if self.life is None or self.life.ended.is_set() else self.life.actor._children_statistics(),
        )

    def _report_started(self) -> None:
        assert self.life is not None
        assert self.ref is not None
        self.life.started_at = trio.current_time()
        self.state = ActorState.STOPPING if self.life.asked else ActorState.RUNNING
        self.ref._attach(self.life.actor)
        self.life.settled.set()
        if self.life.on_started is not None:
            self.life.on_started()

    async def _clean_up(self, life: Life[M]) -> None:
        self.state = ActorState.STOPPING
        life.actor.ref._detach()
        with trio.move_on_after(self.spec.stop_timeout_s, shield=True) as limit:
            await life.actor.stopping()
        life.forced = limit.cancelled_caught

    def _end(self, life: Life[M]) -> None:
        assert self.ref is not None
        self.ref._incarnation_ended()
        self.mailbox.clear()
        self.state = ActorState.BACKING_OFF
        if self.comes_back(life):
            self.mailbox.reopen()
        else:
            self.retire()
        life.ended.set()
        life.settled.set()
