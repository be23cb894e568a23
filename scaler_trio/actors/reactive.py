"""A reactive actor runs in its teller's task step: a tell is a function call, and no task switch is paid.

How to think about this: the actor's own task only sleeps until the next deadline. A tell to an idle actor calls `react`
at once. Run to completion: what is told during a reaction (by the actor itself, or by another reactive actor that it
told) is queued and handled before the outermost tell returns, so `react` is never re-entered. What goes wrong in a
reaction belongs to the actor and not to the teller: it ends the actor's own task, where the supervisor sees it.

Invariants: `_reacting` is true exactly while `react` or `on_deadline` is on the stack; the armed deadline is never
later than `next_deadline()` (it may be earlier, which costs one idle wake-up instead of one cancel scope per message).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import trio

from scaler_trio.actors.actor import Actor
from scaler_trio.actors.errors import ActorError, ActorStopped
from scaler_trio.actors.reference import ActorRef

if TYPE_CHECKING:
    from scaler_trio.actors.mailbox import Mailbox
    from scaler_trio.actors.statistics import EventHook

M = TypeVar("M")


class ReactiveRef(ActorRef[M]):
    """Reference of a reactive actor: telling it is calling it, in the Trio thread.

    The mailbox holds only what is told during a reaction. While no incarnation runs (stopped, failed, or waiting for
    its restart), every tell raises `ActorStopped`: there is no task that would handle the message later.
    """

    _actor: ReactiveActor[M] | None = None

    def tell_nowait(self, message: M) -> None:
        actor = self._actor
        if actor is None:
            raise ActorStopped(self.path)
        actor._accept((message,))

    def tell_all_nowait(self, messages: Sequence[M]) -> None:
        actor = self._actor
        if actor is None:
            raise ActorStopped(self.path)
        actor._accept(messages)

    async def tell(self, message: M) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self.tell_nowait(message)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _attach(self, actor: ReactiveActor[M]) -> None:
        if not self._mailbox.closed:  # it was asked to stop while it started
            self._actor = actor

    def _detach(self) -> None:
        self._actor = None


class ReactiveActor(Actor[M]):
    """Base of actors whose work is plain synchronous code. `started` and `stopping` are as for every actor."""

    _reference_type: ClassVar[type[ActorRef[Any]]] = ReactiveRef
    _inbox: Mailbox[M]
    _failed: trio.Event
    _failure: Exception | None = None
    _reacting = False
    # The deadline for which the actor's own task sleeps now; None while it has none.
    _armed: float | None = None
    # Its sleep; None while it is awake, and then it looks at the deadline itself before it sleeps again.
    _sleep: trio.CancelScope | None = None

    def react(self, batch: Sequence[M]) -> None:
        """Act on the messages. Must not wait, and must not keep `batch`, which belongs to the teller.

        An exception fails the actor; the teller does not see it, but gets `ActorStopped` from its next tell on.
        """
        raise NotImplementedError(f"{type(self).__name__} does not override react")

    def next_deadline(self) -> float | None:
        """When `on_deadline` wants to be called (`trio.current_time()`), or None. Asked after each reaction."""
        return None

    def on_deadline(self, now: float) -> None:
        """Called in the actor's own task once `next_deadline()` has passed; then it must move on, or be None."""

    async def run(self, mailbox: Mailbox[M]) -> None:
        """Sleep until the next deadline, serve it, again; end when the mailbox closes. Not to be overridden."""
        with mailbox.until_closed():
            while not self._failed.is_set():
                await self._sleep_until_due()
                due = None if self._failed.is_set() else self.next_deadline()
                if due is not None and due <= (now := trio.current_time()):
                    self._guarded(self.on_deadline, now)
        if self._failure is not None:
            raise self._failure

    async def _sleep_until_due(self) -> None:
        self._armed = self.next_deadline()
        self._sleep = trio.CancelScope()
        if self._armed is not None:
            self._sleep.deadline = self._armed
        try:
            with self._sleep:
                await self._failed.wait()
        finally:
            self._sleep = None

    def _bind(self, ref: ActorRef[M], mailbox: Mailbox[M], on_event: EventHook | None) -> None:
        super()._bind(ref, mailbox, on_event)
        self._inbox = mailbox
        self._failed = trio.Event()

    def _accept(self, messages: Sequence[M]) -> None:
        if self._reacting:
            self._inbox.put_all_nowait(messages)
            return
        self._guarded(self.react, messages)

    def _guarded(self, reaction: Callable[[Any], None], argument: object) -> None:
        self._reacting = True
        try:
            reaction(argument)
            while self._inbox:
                self.react(self._inbox.take_nowait())
            if self._sleep is not None:
                self._rearm(self._sleep)
        except Exception as error:
            self._fail(error)
        except BaseException as error:  # KeyboardInterrupt is for whoever runs; but the state is half-changed
            interrupted = ActorError(f"the reaction of {self.ref.path!r} was interrupted")
            interrupted.__cause__ = error
            self._fail(interrupted)
            raise
        finally:
            self._reacting = False

    def _rearm(self, sleep: trio.CancelScope) -> None:
        # Only for an earlier deadline: Trio then wakes the sleeping task at the new time, and no task switches now.
        due = self.next_deadline()
        if due is not None and (self._armed is None or due < self._armed):
            self._armed = due
            sleep.deadline = due

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self.ref._detach()
        self._failed.set()
