"""A reference is how everyone else holds an actor: it stays valid, and the same object, across restarts.

`tell` is at most once: an accepted message may still be lost with its actor. `ask` is a message that carries a `Reply`;
the reply, the asker's deadline and the end of the actor race, and the first one decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import outcome
import trio

from scaler_trio.actors.errors import ActorStopped, AskTimeout

if TYPE_CHECKING:
    from scaler_trio.actors.mailbox import Mailbox, MailboxStatistics

M = TypeVar("M")
T = TypeVar("T")


class Reply(Generic[T]):
    """Where the answer to one ask goes. The first answer counts; later ones, and those too late, are dropped."""

    __slots__ = ("_answered", "_outcome")

    def __init__(self) -> None:
        self._answered = trio.Event()
        self._outcome: outcome.Outcome[T] | None = None

    def send(self, value: T) -> None:
        """Answer the asker. Never raises."""
        self._settle(outcome.Value(value))

    def fail(self, error: Exception) -> None:
        """Raise `error` in the asker: for a question that cannot be answered; the actor itself goes on."""
        self._settle(outcome.Error(error))

    def _settle(self, result: outcome.Outcome[T]) -> None:
        if self._outcome is None:
            self._outcome = result
            self._answered.set()


class ActorRef(Generic[M]):
    """Handle of one actor: tell it, ask it, stop it, look at it. Made by the supervisor, usable from any Trio task."""

    def __init__(self, path: str, mailbox: Mailbox[M], request_stop: Callable[[], None]) -> None:
        #: Names from the root to this actor, joined by "/".
        self.path = path
        self._mailbox = mailbox
        self._request_stop = request_stop
        self._stopped = trio.Event()
        # Asks waiting for this incarnation; each asker removes its own. Bounded by the number of tasks.
        self._asks: set[Reply[Any]] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def tell_nowait(self, message: M) -> None:
        """Queue a message without waiting.

        Raises:
            MailboxFull: no room, unless the mailbox drops its oldest message.
            ActorStopped: the actor has stopped for good, or is stopping. While it waits to be restarted, messages are
                queued for the next incarnation.
        """
        self._mailbox.put_nowait(message)

    def tell_all_nowait(self, messages: Sequence[M]) -> None:
        """Queue several messages, all or (unless the mailbox drops) none. Raises as `tell_nowait`."""
        self._mailbox.put_all_nowait(messages)

    async def tell(self, message: M) -> None:
        """Queue a message; where the mailbox's policy is WAIT, wait for room.

        Raises:
            MailboxFull: no room, and the policy is REJECT.
            ActorStopped: the actor has stopped, possibly while the teller waited.

        Cancellation: a cancelled `tell` has not queued the message.
        """
        await self._mailbox.put(message)

    async def ask(self, make_message: Callable[[Reply[T]], M], *, timeout_s: float) -> T:
        """Tell the message that `make_message` builds around a reply handle, and wait for the reply.

        Args:
            make_message: gets the `Reply` and returns the message that carries it.
            timeout_s: limit for room in the mailbox and the reply together.

        Raises:
            AskTimeout: no reply in time. A reply that arrived in time is never lost to the deadline.
            ActorStopped: the actor stopped, or was restarted, before it replied.
            MailboxFull: as `tell`.
            Exception: whatever the actor gave to `Reply.fail`.

        Cancellation: the reply, if any, is dropped; the actor may still act on the message.
        """
        reply: Reply[T] = Reply()
        self._asks.add(reply)
        try:
            with trio.move_on_after(timeout_s):
                await self.tell(make_message(reply))
                await reply._answered.wait()
        finally:
            self._asks.discard(reply)
        if reply._outcome is None:
            raise AskTimeout(self.path, timeout_s)
        return reply._outcome.unwrap()

    def stop(self) -> None:
        """Ask the actor to stop for good, whatever its kind; the ladder bounds how long it takes. Idempotent."""
        self._request_stop()

    async def wait_stopped(self) -> None:
        """Wait until the actor has stopped for good, that is, will not be restarted."""
        await self._stopped.wait()

    def statistics(self) -> MailboxStatistics:
        """A frozen snapshot of the mailbox."""
        return self._mailbox.statistics()

    def _attach(self, actor: Any) -> None:
        """The incarnation `actor` runs from now on (for references that reach into their actor)."""

    def _detach(self) -> None:
        """The incarnation accepts nothing from now on (the counterpart of `_attach`)."""

    def _incarnation_ended(self) -> None:
        for reply in self._asks:
            reply.fail(ActorStopped(self.path))

    def _retire(self) -> None:
        self._stopped.set()
