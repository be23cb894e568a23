"""An actor is a Trio task with a mailbox and a lifecycle: started, run (by default: handle each batch), stopping."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import trio

from scaler_trio.actors.errors import StartTimeout
from scaler_trio.actors.reference import ActorRef

if TYPE_CHECKING:
    from scaler_trio.actors.mailbox import Mailbox
    from scaler_trio.actors.statistics import ActorStatistics, EventHook

M = TypeVar("M")


class Actor(Generic[M]):
    """Base of all actors. A restart makes a new object from the factory, so fields need no resetting.

    All hooks run in the actor's own task, one at a time. An exception from any of them is the failure of the actor, and
    its supervisor decides. Subclasses need not call `super().__init__()`.
    """

    _reference_type: ClassVar[type[ActorRef[Any]]] = ActorRef
    _ref: ActorRef[M] | None = None
    _inherited_on_event: EventHook | None = None

    @property
    def ref(self) -> ActorRef[M]:
        """The actor's own reference, from `started` on."""
        if self._ref is None:
            raise RuntimeError("an actor has its reference only once a supervisor has taken it")
        return self._ref

    async def started(self) -> None:
        """Get ready: the next sibling starts only when this returns. Bounded by `ChildSpec.start_timeout_s`."""

    async def handle(self, batch: list[M]) -> None:
        """Act on everything that was queued, in the order told."""
        raise NotImplementedError(f"{type(self).__name__} overrides neither handle nor run")

    async def run(self, mailbox: Mailbox[M]) -> None:
        """Live. Override for loops that wait for other things than messages.

        When the actor is asked to stop, the mailbox closes: iteration ends after the queued batches, and the body of
        `with mailbox.until_closed():` is cancelled. A `run` that ignores both is cancelled after its stop limit.
        """
        async for batch in mailbox:
            await self.handle(batch)

    async def stopping(self) -> None:
        """Clean up, also after a failure, a cancellation or a start that failed half-way.

        Cancellation: shielded, and cancelled itself after `ChildSpec.stop_timeout_s`.
        """

    def _bind(self, ref: ActorRef[M], mailbox: Mailbox[M], on_event: EventHook | None) -> None:
        self._ref = ref
        self._inherited_on_event = on_event

    async def _main(self, mailbox: Mailbox[M], start_timeout_s: float, report_started: Callable[[], None]) -> None:
        await self._start(start_timeout_s)
        report_started()
        await self.run(mailbox)

    async def _start(self, start_timeout_s: float) -> None:
        with trio.move_on_after(start_timeout_s) as scope:
            await self.started()
        if scope.cancelled_caught:
            raise StartTimeout(self.ref.path, start_timeout_s)

    def _children_statistics(self) -> tuple[ActorStatistics, ...]:
        return ()
