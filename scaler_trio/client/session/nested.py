"""Clients within tasks: one session for each processor, which all of them share.

A connection for each call of a recursive function would cost more than the call. So the first client that a task makes
of its own scheduler connects, and that connection stays; each such client is a view of it, which knows what was
submitted through it. Closing a client cancels that, and nothing else.
"""

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from scaler_protocol.messages import TaskOptions
from scaler_trio.client.calls.functions import FunctionCache
from scaler_trio.client.calls.future import ScalerFuture
from scaler_trio.client.core import events as ev
from scaler_trio.client.session.session import Session
from scaler_trio.config import enclosing
from scaler_trio.errors import ClientClosed, ScalerError
from scaler_trio.net import Address

GIVEN: Final = 1_024
"""Numbers that a client remembers before it looks which of them are finished."""


class NestedSession(Session):
    """One client's view of the session that the tasks of this process share."""

    def __init__(self, base: Session) -> None:
        # Not Session's own: a view has no connection, no thread and no state but what it submitted.
        self._base = base
        self._given: set[int] = set()
        self._look_at = GIVEN
        self._seen = 0  # the last number at the last look
        self._is_closed = False
        self.address = base.address
        self.numbers = _Numbers(self)  # type: ignore[assignment]
        self.source = self.objects = base.objects
        self.handle = base.handle  # type: ignore[method-assign]
        self.flush = base.flush  # type: ignore[method-assign]
        self.cancel = base.cancel  # type: ignore[method-assign]
        self.shut_down = base.shut_down  # type: ignore[method-assign]
        self.cancel_soon = base.cancel_soon  # type: ignore[method-assign]
        self.call_soon = base.call_soon  # type: ignore[method-assign]
        self.explain = base.explain  # type: ignore[method-assign]
        self.release = base.release  # type: ignore[method-assign]
        self.reader = base.reader  # type: ignore[method-assign]
        self.call_back = base.call_back  # type: ignore[method-assign]

    @property
    def error(self) -> ScalerError | None:  # type: ignore[override]
        """Why it is of no use any more."""
        return ClientClosed("the client was closed") if self._is_closed else self._base.error

    @property
    def is_forked(self) -> bool:  # type: ignore[override]
        """Whether this process is a child of the one whose session it is."""
        return self._base.is_forked

    def start(self) -> None:
        """It is connected."""

    async def start_in_loop(self) -> None:
        """It is connected."""

    def submit(
        self, function: ev.Function, payload: bytes, objects: tuple[bytes, ...], options: TaskOptions
    ) -> ScalerFuture[Any]:
        """As the session."""
        future = self._base.submit(function, payload, objects, options)
        self.gave(future.task_id)
        return future

    def gave(self, number: int) -> None:
        """A number was used by this client."""
        given = self._given
        given.add(number)
        if len(given) > self._look_at:
            # Only numbers from before the last look: one that was drawn just now may belong to what has not begun.
            unfinished, seen, self._seen = self._base.unfinished(), self._seen, number
            given.difference_update([old for old in list(given) if old <= seen and old not in unfinished])
            self._look_at = 2 * len(given) + GIVEN

    def unfinished(self) -> set[int]:
        """The numbers of what this client has submitted and what has no result yet."""
        return self._given & self._base.unfinished()

    def close(self) -> None:
        """Cancel what is unfinished of this client; the connection stays. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._give_up("the client was closed before the task was done")

    def clear(self) -> None:
        """Cancel what is unfinished of this client."""
        self.check_usable()
        self._give_up("the task was cancelled by clear()")

    def stop_when_idle(self) -> None:
        """The client was dropped: what it has submitted goes on, as without nesting."""

    def _give_up(self, reason: str) -> None:
        given = self._given
        if given and self._base.error is None:
            self._base.give_up(given.__contains__, reason)
        self._given = set()


class _Numbers:
    """The session's numbers, of which the client remembers those that it got."""

    def __init__(self, session: NestedSession) -> None:
        self._session = session

    def __next__(self) -> int:
        number = next(self._session._base.numbers)
        self._session.gave(number)
        return number


class _Submitted(Iterator[int]):
    """The numbers of the shared session, which know where those of the running item begin."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._numbers = session.numbers
        self._item = -1
        self._first = 0

    def __next__(self) -> int:
        number = next(self._numbers)
        if (item := enclosing.current_item()) != self._item:
            self._item, self._first = item, number
        return number

    def give_up_of(self, item: int) -> None:
        """Cancel what the item has submitted, and not what others did that ran in the same go."""
        if self._session.error is None and self._item == item:
            first = self._first
            self._session.give_up(lambda number: number >= first, "the task that had submitted it was cancelled")


_lock = threading.Lock()
_shared: tuple[Session, FunctionCache] | None = None


def join(address: Address, make: Callable[[], Session]) -> tuple[NestedSession, FunctionCache] | None:
    """A view of the shared session, if ``address`` is that of the enclosing task's scheduler; else None.

    Args:
        address: of the scheduler that is wanted.
        make: makes the session, not started, if there is none yet.

    Raises:
        ConnectionFailed: it could not be started.
    """
    global _shared
    around = enclosing.get_enclosing()
    if around is None or str(Address.parse(around.address)) != str(address):
        return None
    with _lock:
        if _shared is None or _shared[0].error is not None:
            session = make()
            session.on_step = lambda: enclosing.tell_unfinished(not session.is_idle)
            session.start()
            submitted = session.numbers = _Submitted(session)
            enclosing.share(session.identity, submitted)
            _shared = session, FunctionCache()
        return NestedSession(_shared[0]), _shared[1]


def _forget() -> None:
    """In a forked child: the session is the parent's, and its lock may be held by a thread that is not here."""
    global _lock, _shared
    _lock = threading.Lock()
    _shared = None


os.register_at_fork(after_in_child=_forget)
