"""What the async client needs of an event loop, be it Trio's or asyncio's: a wake-up from any thread, and a thread."""

import math
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import sniffio
import trio

from scaler_trio.config.enclosing import waiting

T = TypeVar("T")


class _Sleep(Protocol):
    """One wait of one task."""

    def end(self) -> None:
        """From any thread; of no effect if the loop has ended."""
        ...

    async def run(self, timeout_s: float | None) -> None:
        """Until ``end``, or for that long."""
        ...


class LoopEvent:
    """A ``threading.Event`` for which one task of an event loop waits; made within that loop. ``set`` by any thread."""

    def __init__(self) -> None:
        self._make_sleep: Callable[[], _Sleep] = _TrioSleep if _is_trio() else _AsyncioSleep
        self._is_set = False
        self._sleep: _Sleep | None = None

    def set(self) -> None:
        """Wake the task, now or when it comes to wait."""
        self._is_set = True
        sleep, self._sleep = self._sleep, None
        if sleep is not None:
            sleep.end()

    release = set
    """So that it may park where threads park on a lock."""

    def clear(self) -> None:
        """As if it had never been set."""
        self._is_set = False

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Until it is set, or for ``timeout_s``; whether it is set."""
        sleep = self._make_sleep()
        self._sleep = sleep  # before it is asked: who sets it from now on ends the sleep, or has set it before
        try:
            with waiting():
                await sleep.run(0.0 if self._is_set else timeout_s)
        finally:
            self._sleep = None
        return self._is_set


async def run_in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Call it in a thread of the loop's pool.

    Cancellation: at once; the thread goes on by itself, and what it returns or raises is dropped.
    """
    if _is_trio():
        return await trio.to_thread.run_sync(function, *arguments, abandon_on_cancel=True)
    import asyncio

    return await asyncio.to_thread(function, *arguments)


async def finish_in_thread(function: Callable[[], object]) -> None:
    """Call it in a thread, and wait for its end although this is cancelled; for ends that are bounded by themselves."""
    if _is_trio():
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(function)
        return
    import asyncio

    ending = asyncio.ensure_future(asyncio.to_thread(function))
    cancelled: asyncio.CancelledError | None = None
    while not ending.done():
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError as error:
            cancelled = error
    ending.result()
    if cancelled is not None:
        raise cancelled


def _is_trio() -> bool:
    return sniffio.current_async_library() == "trio"


class _TrioSleep:
    def __init__(self) -> None:
        self._event = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def end(self) -> None:
        try:
            self._token.run_sync_soon(self._event.set)
        except trio.RunFinishedError:
            pass  # nobody is left to be woken

    async def run(self, timeout_s: float | None) -> None:
        with trio.move_on_after(math.inf if timeout_s is None else timeout_s):
            await self._event.wait()


class _AsyncioSleep:
    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def end(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:
            pass  # the loop is closed, and nobody is left to be woken

    async def run(self, timeout_s: float | None) -> None:
        import asyncio

        if timeout_s == 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            pass
