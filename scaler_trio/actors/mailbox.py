"""A mailbox is a bounded queue with one reader, a stated policy when full, and delivery in batches.

How to think about this: Trio's price is paid per task switch, so the reader takes all that is queued at once, and
a teller wakes it only when it is parked. Invariants: `used <= capacity` always; tellers wait only while the mailbox is
full, in order, and nobody overtakes them; a message is either accepted (and then delivered, dropped by policy and
counted, or lost with its actor and counted) or its teller gets an exception.
"""

from __future__ import annotations

import contextlib
import enum
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import attrs
import outcome
import trio

from scaler_trio.actors.errors import ActorStopped, MailboxFull

M = TypeVar("M")


class WhenFull(enum.Enum):
    """What happens to a message for which there is no room."""

    #: `tell` waits for room, which is back-pressure; `tell_nowait` raises `MailboxFull`.
    WAIT = "wait"
    #: The oldest queued message gives way and is counted in `dropped`.
    DROP_OLDEST = "drop oldest"
    #: The teller gets `MailboxFull`.
    REJECT = "reject"


@attrs.frozen
class MailboxStatistics:
    """What a monitor shows of one mailbox."""

    used: int
    capacity: int
    when_full: WhenFull
    #: Gave way to newer messages (only with DROP_OLDEST).
    dropped: int
    #: Were queued when their actor ended.
    lost: int
    tellers_waiting: int


class Mailbox(Generic[M]):
    """Bounded queue of one actor. It outlives restarts of the actor; one task at a time reads it."""

    def __init__(self, path: str, *, capacity: int, when_full: WhenFull) -> None:
        if capacity < 1:
            raise ValueError(f"mailbox capacity must be at least 1, not {capacity}")
        self._path = path
        self._capacity = capacity
        self._when_full = when_full
        self._queue: deque[M] = deque()
        self._closed = False
        self._dropped = 0
        self._lost = 0
        self._reader: trio.lowlevel.Task | None = None
        # Tellers waiting for room, oldest first, each with its message. Bounded by the number of tasks.
        self._tellers: dict[trio.lowlevel.Task, M] = {}
        self._open_scopes: set[trio.CancelScope] = set()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def closed(self) -> bool:
        """Whether the actor was asked to stop: what is queued is still delivered, nothing new is accepted."""
        return self._closed

    def put_nowait(self, message: M) -> None:
        """Queue one message.

        Raises:
            MailboxFull: no room, unless the policy is DROP_OLDEST.
            ActorStopped: closed.
        """
        if self._closed:
            raise ActorStopped(self._path)
        queue = self._queue
        if len(queue) >= self._capacity:
            self._make_room()
        queue.append(message)
        if self._reader is not None:
            self._wake_reader()

    def put_all_nowait(self, messages: Sequence[M]) -> None:
        """Queue all messages or, where the policy does not drop, none of them. Raises as `put_nowait`."""
        if self._closed:
            raise ActorStopped(self._path)
        if self._when_full is not WhenFull.DROP_OLDEST and len(self._queue) + len(messages) > self._capacity:
            raise MailboxFull(self._path, self._capacity)
        for message in messages:
            self.put_nowait(message)

    async def put(self, message: M) -> None:
        """Queue one message; with WAIT, wait for room.

        Raises:
            MailboxFull: no room and the policy is REJECT.
            ActorStopped: closed, possibly while waiting; the message was not accepted.

        Cancellation: a cancelled `put` has not queued the message.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._closed and self._when_full is WhenFull.WAIT and len(self._queue) >= self._capacity:
            task = trio.lowlevel.current_task()
            self._tellers[task] = message

            def abort(_: object) -> trio.lowlevel.Abort:
                del self._tellers[task]
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
        else:
            self.put_nowait(message)
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def receive(self) -> list[M]:
        """Wait until something is queued, and take all of it.

        Raises:
            ActorStopped: closed, and everything queued was delivered.
            trio.BusyResourceError: another task is waiting in `receive`.

        Cancellation: nothing is taken.
        """
        if self._queue or self._closed:
            await trio.lowlevel.checkpoint()
        while not self._queue:
            if self._closed:
                raise ActorStopped(self._path)
            await self._park_reader()
        return self.take_nowait()

    def __aiter__(self) -> Mailbox[M]:
        return self

    async def __anext__(self) -> list[M]:
        try:
            return await self.receive()
        except ActorStopped:
            raise StopAsyncIteration from None

    def take_nowait(self) -> list[M]:
        """Take everything queued, possibly nothing; waiting tellers move up into the room that this makes."""
        batch = list(self._queue)
        self._queue.clear()
        self._admit_tellers()
        return batch

    @contextlib.contextmanager
    def until_closed(self) -> Iterator[None]:
        """Cancel the body when the mailbox closes: how an actor with its own `run` loop hears that it shall stop."""
        with trio.CancelScope() as scope:
            if self._closed:
                scope.cancel()
            self._open_scopes.add(scope)
            try:
                yield
            finally:
                self._open_scopes.discard(scope)

    def close(self) -> None:
        """Accept nothing more. Waiting tellers get `ActorStopped`, the reader still gets what is queued. Idempotent."""
        if self._closed:
            return
        self._closed = True
        tellers, self._tellers = self._tellers, {}
        for task in tellers:
            trio.lowlevel.reschedule(task, outcome.Error(ActorStopped(self._path)))
        if self._reader is not None:
            self._wake_reader()
        for scope in self._open_scopes:
            scope.cancel()

    def clear(self) -> None:
        """Lose what is queued, because its actor ended; a next incarnation starts with an empty mailbox."""
        self._lost += len(self._queue)
        self._queue.clear()
        self._admit_tellers()

    def reopen(self) -> None:
        """Accept messages again, for the next incarnation."""
        self._closed = False

    def statistics(self) -> MailboxStatistics:
        """A frozen snapshot."""
        return MailboxStatistics(
            used=len(self._queue),
            capacity=self._capacity,
            when_full=self._when_full,
            dropped=self._dropped,
            lost=self._lost,
            tellers_waiting=len(self._tellers),
        )

    def _make_room(self) -> None:
        if self._when_full is not WhenFull.DROP_OLDEST:
            raise MailboxFull(self._path, self._capacity)
        self._queue.popleft()
        self._dropped += 1

    def _admit_tellers(self) -> None:
        while self._tellers and len(self._queue) < self._capacity:
            task = next(iter(self._tellers))
            self._queue.append(self._tellers.pop(task))
            trio.lowlevel.reschedule(task)

    async def _park_reader(self) -> None:
        if self._reader is not None:
            raise trio.BusyResourceError(f"another task is receiving from the mailbox of {self._path!r}")
        self._reader = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._reader = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            trio.lowlevel.reschedule(reader)
