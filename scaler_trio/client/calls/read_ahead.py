"""``ReadAhead``: an iterable that may have to wait for its next item, read by a thread of its own."""

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

LOOK_S: Final = 1.0
"""How often a thread that has read enough looks whether its reader is garbage, which takes no lock to wake it."""


class ReadAhead(Iterator[Any]):
    """Items that are here now: ``StopIteration`` says that there are none at the moment, ``is_done`` that none come.

    Its thread ends with the items, with ``stop``, or with the process.
    """

    def __init__(self, rows: Iterator[Any], most: int, wake: Callable[[], None]) -> None:
        self.is_done = False
        self.is_stopped = False
        self.failure: BaseException | None = None  # what the iterable raised; set before `is_done`
        self.in_flight = 0  # items that were taken and are not finished, which count as well
        self._rows = rows
        self._most = most
        self._wake = wake  # called when something is there after there was nothing, and at the end
        self._items: deque[Any] = deque()
        self._room = threading.Event()
        self._is_begun = False

    def __next__(self) -> Any:
        try:
            return self._items.popleft()
        except IndexError:
            raise StopIteration from None

    @property
    def has_news(self) -> bool:
        """Whether there are items, or it has ended. Begins to read, if it has not."""
        if not self._is_begun:
            self._is_begun = True
            context = contextvars.copy_context()
            threading.Thread(target=context.run, args=(self._run,), name="scaler-imap", daemon=True).start()
        return bool(self._items) or self.is_done

    @property
    def count(self) -> int:
        """Items that are here."""
        return len(self._items)

    def make_room(self, in_flight: int) -> None:
        """So many are unfinished now."""
        self.in_flight = in_flight
        if in_flight + len(self._items) <= self._most // 2 and not self._room.is_set():
            self._room.set()

    def stop(self) -> None:
        """Read no further."""
        self.is_stopped = True
        self._room.set()

    def _run(self) -> None:
        items = self._items
        try:
            while not self.is_stopped:
                if self.in_flight + len(items) >= self._most:
                    self._room.clear()
                    if self.in_flight + len(items) >= self._most:
                        self._room.wait(LOOK_S)
                    continue
                items.append(next(self._rows))
                if len(items) == 1:
                    self._wake()
        except StopIteration:
            pass
        except BaseException as error:  # a SystemExit too is for who asks for results
            self.failure = error
        finally:
            self.is_done = True
            self._wake()
