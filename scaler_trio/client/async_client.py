"""``connect`` and ``AsyncClient``: the calls of ``Client`` for programs that run in Trio or asyncio.

It uses a ``Client`` up to where that would wait, and waits in the event loop instead. What takes time, pickling many
rows and loading many results above all, is done in threads of the loop's own pool, which are given back for every wait.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, ParamSpec, TypeVar, Unpack, overload

from scaler_trio.client.calls.array_call import ArrayCall, Steps
from scaler_trio.client.calls.async_results import AsyncResults
from scaler_trio.client.calls.future import ScalerFuture
from scaler_trio.client.calls.lazy_map import BUFFER_ITEMS
from scaler_trio.client.client import Client
from scaler_trio.client.event_loop import LoopEvent, finish_in_thread, run_in_thread
from scaler_trio.client.options import Options
from scaler_trio.config.enclosing import get_enclosing
from scaler_trio.serialization import ObjectReference, Serializer

P = ParamSpec("P")
T = TypeVar("T")

_END: Final = object()


@asynccontextmanager
async def connect(
    address: str | None = None,
    *,
    token: str | bytes | None = None,
    token_file: str | os.PathLike[str] | None = None,
    timeout: float = 5.0,  # noqa: ASYNC109 - as of Client
    reconnect_timeout: float = 60.0,
    serializer: Serializer | None = None,
) -> AsyncIterator["AsyncClient"]:
    """An ``AsyncClient`` for the time of an ``async with`` block, within Trio or asyncio.

    Its end cancels what is unfinished and disconnects, also when the block is cancelled.

    Args:
        address: as of ``Client``, and so are the others.
        token: the shared secret.
        token_file: a file with the token.
        timeout: seconds for this first connection.
        reconnect_timeout: seconds for which a lost connection is tried again.
        serializer: as of ``Client``.

    Raises:
        ValueError: no address, or not an address.
        ConnectionFailed: nobody answered within ``timeout``, or it is not a scheduler.
        AuthenticationFailed: missing or wrong token.
    """
    client = Client.__new__(Client)
    arguments = (address, token, token_file, timeout, reconnect_timeout, serializer)
    if get_enclosing() is None:
        client._prepare(*arguments)
    else:  # the session that tasks share may have to be connected first
        await run_in_thread(client._prepare, *arguments)
    try:
        await client._session.start_in_loop()
        yield AsyncClient(client)
    finally:
        await finish_in_thread(client.close)


class AsyncClient:
    """What ``connect`` gives: the calls of ``Client``, to be awaited in Trio or asyncio.

    Cancellation: a wait that is cancelled cancels what it waits for, and returns at once. A thread that is reading from
    an iterable of the caller's stops after that item.

    Ownership: it is closed at the end of its ``connect`` block. For the event loop in which it was made; its futures
    may be used in any thread.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def address(self) -> str:
        """Where it is connected to."""
        return self._client.address

    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> ScalerFuture[T]: ...

    @overload
    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> ScalerFuture[T]: ...  # type: ignore[overload-cannot-match]

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> ScalerFuture[T]:
        """Run ``fn(*args, **kwargs)`` on a worker; await what it returns. Never waits for the network.

        The arguments are pickled here and now; what is large is better stored by ``send_object`` first.

        Raises:
            CannotPickle: the function or an argument; the text names it.
            ScalerError: the client is closed, or the scheduler lost for good.
        """
        return self._client.submit(fn, *args, **kwargs)

    @overload
    async def map(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,  # noqa: ASYNC109 - as below
        progress: bool = False,
        return_exceptions: Literal[False] = False,
    ) -> list[T]: ...

    @overload
    async def map(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,  # noqa: ASYNC109 - as below
        progress: bool = False,
        return_exceptions: bool,
    ) -> list[T | BaseException]: ...

    async def map(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,  # noqa: ASYNC109 - it belongs to the map, whose error says how far it came
        progress: bool = False,
        return_exceptions: bool = False,
    ) -> list[T] | list[T | BaseException]:
        """``list(map(fn, *iterables))``, on the workers; as of ``Client.map``. The iterables are read in a thread."""
        return await _run(*self._client._calls.map_call(fn, iterables, timeout, progress, return_exceptions))

    @overload
    async def starmap(
        self,
        fn: Callable[..., T],
        /,
        iterable: Iterable[Iterable[Any]],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as below
        progress: bool = False,
        return_exceptions: Literal[False] = False,
    ) -> list[T]: ...

    @overload
    async def starmap(
        self,
        fn: Callable[..., T],
        /,
        iterable: Iterable[Iterable[Any]],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as below
        progress: bool = False,
        return_exceptions: bool,
    ) -> list[T | BaseException]: ...

    async def starmap(
        self,
        fn: Callable[..., T],
        /,
        iterable: Iterable[Iterable[Any]],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as of map
        progress: bool = False,
        return_exceptions: bool = False,
    ) -> list[T] | list[T | BaseException]:
        """``list(itertools.starmap(fn, iterable))``, on the workers; otherwise like ``map``."""
        return await _run(*self._client._calls.starmap_call(fn, iterable, timeout, progress, return_exceptions))

    @overload
    def imap(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        buffersize: int = BUFFER_ITEMS,
        return_exceptions: Literal[False] = False,
    ) -> AsyncResults[T]: ...

    @overload
    def imap(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        buffersize: int = BUFFER_ITEMS,
        return_exceptions: bool,
    ) -> AsyncResults[T | BaseException]: ...

    def imap(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        buffersize: int = BUFFER_ITEMS,
        return_exceptions: bool = False,
    ) -> AsyncResults[T] | AsyncResults[T | BaseException]:
        """Like ``map``, for ``async for``: items are read as results are asked for, so that an endless iterable works.

        A failed item raises at its place; the iteration can go on after it.

        Args:
            fn: called with one item of each iterable, until the shortest ends.
            buffersize: items in flight: read, and their results not asked for.
            return_exceptions: give exceptions instead of raising them.
        """
        return AsyncResults(
            self._client.imap(fn, *iterables, buffersize=buffersize, return_exceptions=return_exceptions)
        )

    @overload
    def imap_unordered(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        buffersize: int = BUFFER_ITEMS,
        return_exceptions: Literal[False] = False,
    ) -> AsyncResults[T]: ...

    @overload
    def imap_unordered(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        buffersize: int = BUFFER_ITEMS,
        return_exceptions: bool,
    ) -> AsyncResults[T | BaseException]: ...

    def imap_unordered(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        buffersize: int = BUFFER_ITEMS,
        return_exceptions: bool = False,
    ) -> AsyncResults[T] | AsyncResults[T | BaseException]:
        """``imap`` with results in the order in which they come."""
        return AsyncResults(
            self._client.imap_unordered(fn, *iterables, buffersize=buffersize, return_exceptions=return_exceptions)
        )

    @overload
    async def get(
        self, graph: Mapping[str, Any], keys: Sequence[str], *, block: Literal[True] = True
    ) -> dict[str, Any]: ...

    @overload
    async def get(
        self, graph: Mapping[str, Any], keys: Sequence[str], *, block: Literal[False]
    ) -> dict[str, ScalerFuture[Any]]: ...

    @overload
    async def get(self, graph: Mapping[str, Any], keys: Sequence[str], *, block: bool) -> dict[str, Any]: ...

    async def get(self, graph: Mapping[str, Any], keys: Sequence[str], *, block: bool = True) -> dict[str, Any]:
        """Run a graph of tasks; the values of ``keys``, or with ``block=False`` their futures; as of ``Client.get``."""
        client = self._client
        call = client._calls.plan_graph(graph, keys)
        with call.cancelled_on_error():
            await run_in_thread(client._calls.send_graph, call)
            if not block:
                return dict(call.futures)
            return {key: await future for key, future in call.futures.items()}

    async def send_object(self, obj: T, name: str | None = None) -> ObjectReference[T]:
        """Store a value once, for any number of tasks; as of ``Client.send_object``."""
        return await run_in_thread(self._client.send_object, obj, name)

    async def fetch(self, reference: ObjectReference[T]) -> T:
        """The value that a reference stands for, in a copy of its own; as of ``Client.fetch``."""
        return await run_in_thread(self._client.fetch, reference)

    def options(self, **options: Unpack[Options]) -> "AsyncClient":
        """The same client, whose calls carry these options; as of ``Client.options``."""
        return AsyncClient(self._client.options(**options))

    async def clear(self) -> None:
        """Cancel everything unfinished and forget everything stored; references from before are of no use then."""
        await finish_in_thread(self._client.clear)

    async def close(self) -> None:
        """Cancel what is unfinished and disconnect; idempotent. The end of the ``connect`` block does it too."""
        await finish_in_thread(self._client.close)

    async def shutdown(self) -> None:
        """End the whole cluster, and close this client; as of ``Client.shutdown``."""
        await finish_in_thread(self._client.shutdown)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("an AsyncClient belongs to its event loop and does not travel; pass its address")

    def __repr__(self) -> str:
        return repr(self._client).replace("Client", "AsyncClient", 1)

    def _repr_html_(self) -> str:
        """For notebooks."""
        return self._client._html("AsyncClient")


async def _run(call: ArrayCall, steps: Steps) -> list[Any]:
    """Take the steps in threads, and wait between them in the event loop."""
    call.event = event = LoopEvent()

    def step() -> Any:
        try:
            return next(steps, _END)
        except BaseException:
            call.abandon()  # nobody else may do it: the wait for this thread may have been cancelled
            raise

    try:
        while (wait_s := await run_in_thread(step)) is not _END:
            await event.wait(wait_s)
    except (GeneratorExit, RuntimeError):  # perhaps by the garbage collector, when no loop runs: takes no lock
        call.abandon_soon()
        raise
    except BaseException:
        call.abandon()
        raise
    return call.results() if call.unpack is None else await run_in_thread(call.results)
