"""``AsyncResults``: the results of ``imap`` for ``async for``."""

from collections.abc import AsyncIterator
from typing import Final, Generic, TypeVar

from scaler_trio.client.calls.lazy_map import ResultIterator
from scaler_trio.client.event_loop import LoopEvent, finish_in_thread, run_in_thread

YIELD_ITEMS: Final = 64
"""Results that are here and given in a row before other tasks of the loop have a turn."""

T = TypeVar("T")


class AsyncResults(AsyncIterator[T], Generic[T]):
    """The results of an ``AsyncClient``'s ``imap`` or ``imap_unordered``, as they are asked for, by one task at a time.

    A failed item raises at its place, and the iteration can go on after it.

    Cancellation: a wait for a result that is cancelled ends the iteration, and cancels what was not read.

    Ownership: what is not read is cancelled by ``aclose``, by the end of an ``async with`` block, or when this is
    garbage.
    """

    def __init__(self, results: ResultIterator[T]) -> None:
        self._results = results
        self._event = results.wake_with(LoopEvent())
        self._given = 0

    def __aiter__(self) -> "AsyncResults[T]":
        return self

    async def __anext__(self) -> T:
        results = self._results
        self._given += 1
        if self._given % YIELD_ITEMS == 0:
            await self._event.wait(0.0)
        while not results.is_ready:
            try:
                if await run_in_thread(results.advance):
                    break
                await self._event.wait()
            except BaseException:
                results.close()
                raise
            self._event.clear()
        try:
            return results.take()
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Read no further, and cancel what was not read; idempotent."""
        await finish_in_thread(self._results.close)

    async def __aenter__(self) -> "AsyncResults[T]":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return repr(self._results)
