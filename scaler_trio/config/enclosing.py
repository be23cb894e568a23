"""The task that this process is running, if it runs one: where a client made inside a task connects to.

A processor says so once, after its start; ``Client()`` without an address asks here.
"""

from attrs import field, frozen


@frozen
class Enclosing:
    """The scheduler that the running task belongs to."""

    address: str
    token: bytes | None = field(repr=False)


_current: Enclosing | None = None


def set_enclosing(enclosing: Enclosing | None) -> None:
    """Declare that this process runs tasks of that scheduler."""
    global _current
    _current = enclosing


def get_enclosing() -> Enclosing | None:
    """The scheduler of the task that this process runs, or None outside of a worker."""
    return _current
