"""The task that this process is running, if it runs one: where a client made inside a task connects to, and who is told
when the task waits.

A processor says so once, after its start; ``Client()`` without an address asks here. All waits of the client go through
``waiting``, so that the client needs to know nothing of workers. The other way round, a processor tells the session
that its tasks share (``Submitted``) when a task was interrupted.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from attrs import field, frozen


@frozen
class Enclosing:
    """The scheduler that the running task belongs to."""

    address: str
    token: bytes | None = field(repr=False)


class Waits(Protocol):
    """A processor, which gives up its slot while its task waits."""

    def waiting(self) -> AbstractContextManager[None]: ...
    def announce(self, session: bytes) -> None: ...
    def tell_unfinished(self, is_any: bool) -> None: ...
    def current(self) -> int: ...


class Submitted(Protocol):
    """What tasks of this process have submitted."""

    def give_up_of(self, item: int) -> None: ...


_NOTHING: Final = nullcontext()

_current: Enclosing | None = None
_waits: Waits | None = None
_submitted: Submitted | None = None


def set_enclosing(enclosing: Enclosing | None) -> None:
    """Declare that this process runs tasks of that scheduler."""
    global _current
    _current = enclosing


def get_enclosing() -> Enclosing | None:
    """The scheduler of the task that this process runs, or None outside of a worker."""
    return _current


def set_waits(waits: Waits | None) -> None:
    """Declare who is told when a task waits; None in a process that user code has forked."""
    global _waits, _submitted
    _waits = waits
    _submitted = None


def waiting() -> AbstractContextManager[None]:
    """Around everything that waits for other tasks. Within a task its slot is free meanwhile.

    The end of it may take a while in a task's main thread: until there is a slot for it again.
    """
    return _NOTHING if _waits is None else _waits.waiting()


def share(session: bytes, submitted: Submitted) -> None:
    """All tasks of this process submit through this session of the enclosing scheduler."""
    global _submitted
    _submitted = submitted
    if _waits is not None:
        _waits.announce(session)


def tell_unfinished(is_any: bool) -> None:
    """Whether anything is unfinished of what the tasks of this process have submitted: it is not to end before."""
    if _waits is not None:
        _waits.tell_unfinished(is_any)


def current_item() -> int:
    """The number of the item that runs in this process, within it."""
    return 0 if _waits is None else _waits.current()


def give_up_of(item: int) -> None:
    """An item was interrupted: what it has submitted is wanted by nobody."""
    if _submitted is not None:
        _submitted.give_up_of(item)
