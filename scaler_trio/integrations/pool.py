"""``ScalerPool``: a client with the methods of ``multiprocessing.Pool``, for programs that were written for one."""

import multiprocessing
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from types import TracebackType
from typing import Any, Generic, TypeVar

from attrs import frozen

from scaler_trio.client import Client, ResultIterator
from scaler_trio.errors import TaskCancelled

T = TypeVar("T")

_NOT_RUNNING = "Pool not running"


class PoolTimeoutError(multiprocessing.TimeoutError, TimeoutError):
    """The result is not there yet; the work goes on."""


class AsyncResult(Generic[T]):
    """What the calls ending in ``_async`` return."""

    def __init__(
        self,
        future: "Future[T]",
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._future = future
        self._callback = callback
        self._error_callback = error_callback
        if callback is not None or error_callback is not None:
            future.add_done_callback(self._call_back)

    def get(self, timeout: float | None = None) -> T:
        """The result, when it is there.

        Raises:
            PoolTimeoutError: it is not there after ``timeout`` seconds; also ``multiprocessing.TimeoutError``.
            Exception: what the call raised.
        """
        self.wait(timeout)
        if not self._future.done():
            raise PoolTimeoutError(f"no result after {timeout} s")
        return self._future.result()

    def wait(self, timeout: float | None = None) -> None:
        """Until the result is there, or for ``timeout`` seconds."""
        wait([self._future], timeout)

    def ready(self) -> bool:
        """Whether it is there."""
        return self._future.done()

    def successful(self) -> bool:
        """Whether the call did not raise.

        Raises:
            ValueError: it is not over.
        """
        if not self._future.done():
            raise ValueError(f"{self!r} not ready")
        return not self._future.cancelled() and self._future.exception() is None

    def _call_back(self, future: "Future[T]") -> None:
        error = CancelledError() if future.cancelled() else future.exception()
        if error is None:
            if self._callback is not None:
                self._callback(future.result())
        elif self._error_callback is not None:
            self._error_callback(error)


class ScalerPool:
    """What ``client.pool()`` returns. Its work runs on all workers of the cluster; ``chunksize`` is of no meaning.

    Ownership: it does not own the client. ``terminate``, and the end of a ``with`` block, cancel what is unfinished of
    this pool and of nobody else.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._is_closed = False
        # What is unfinished keeps itself alive: a task by the client, an array by the thread that waits for it.
        self._futures: weakref.WeakSet[Future[Any]] = weakref.WeakSet()
        self._iterators: weakref.WeakSet[ResultIterator[Any]] = weakref.WeakSet()

    # ------------------------------------------------------------------------------------------------- one call

    def apply(self, func: Callable[..., T], args: Iterable[Any] = (), kwds: Mapping[str, Any] | None = None) -> T:
        """``func(*args, **kwds)`` on a worker."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[T]:
        """The same without waiting. Callbacks run one after the other on a thread of the client."""
        self._check_open()
        future: Future[T] = self._client.submit_verbose(func, tuple(args), kwds)
        return AsyncResult(self._known(future), callback, error_callback)

    # ---------------------------------------------------------------------------------------------- many calls

    def map(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int | None = None) -> list[T]:
        """``[func(item) for item in iterable]``; what the first failed item raised is raised."""
        self._check_open()
        return self._client.map(func, iterable)

    def starmap(
        self, func: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[T]:
        """``[func(*row) for row in iterable]``."""
        self._check_open()
        return self._client.starmap(func, iterable)

    def map_async(
        self,
        func: Callable[[Any], T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """``map`` without waiting; the iterable is read before this returns."""
        return self._many(func, iterable, callback, error_callback)

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """``starmap`` without waiting; the iterable is read before this returns."""
        return self._many(_Star(func), iterable, callback, error_callback)

    def imap(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1) -> ResultIterator[T]:
        """An iterator of results, in order, while items are read as they are needed. It has ``next(timeout)``."""
        self._check_open()
        return self._known_iterator(self._client.imap(func, iterable))

    def imap_unordered(
        self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1
    ) -> ResultIterator[T]:
        """``imap`` with results in the order in which they come."""
        self._check_open()
        return self._known_iterator(self._client.imap_unordered(func, iterable))

    # ------------------------------------------------------------------------------------------------- the end

    def close(self) -> None:
        """Take nothing more."""
        self._is_closed = True

    def terminate(self) -> None:
        """Take nothing more, and cancel what is unfinished."""
        self.close()
        with self._lock:
            futures, iterators = list(self._futures), list(self._iterators)
        for iterator in iterators:
            iterator.close()
        for future in futures:
            future.cancel()

    def join(self) -> None:
        """Wait until everything is done.

        Raises:
            ValueError: neither ``close`` nor ``terminate`` was called before.
        """
        if not self._is_closed:
            raise ValueError("Pool is still running")
        with self._lock:
            futures = list(self._futures)
        wait(futures)

    def __enter__(self) -> "ScalerPool":
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.terminate()

    # -------------------------------------------------------------------------------------------------- inside

    def _check_open(self) -> None:
        if self._is_closed:
            raise ValueError(_NOT_RUNNING)

    def _known(self, future: "Future[T]") -> "Future[T]":
        with self._lock:
            self._futures.add(future)
        return future

    def _known_iterator(self, iterator: ResultIterator[T]) -> ResultIterator[T]:
        with self._lock:
            self._iterators.add(iterator)
        return iterator

    def _many(
        self,
        func: Callable[[Any], T],
        iterable: Iterable[Any],
        callback: Callable[[list[T]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> AsyncResult[list[T]]:
        self._check_open()
        items = iterable if isinstance(iterable, Sequence) else list(iterable)
        # All are in flight: what is terminated is an iterator, which can be closed by another thread.
        results = self._known_iterator(self._client.imap(func, items, buffersize=max(1, len(items))))
        future: Future[list[T]] = Future()
        future.set_running_or_notify_cancel()  # it ends with its items, not before them
        result = AsyncResult(self._known(future), callback, error_callback)

        def run() -> None:
            try:
                with results:
                    values = list(results)
                if len(values) < len(items):
                    raise TaskCancelled(f"the pool was terminated after {len(values)} of {len(items)} items")
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(values)

        threading.Thread(target=run, name="scaler-pool", daemon=True).start()
        return result


@frozen
class _Star:
    """Calls with a row as the arguments."""

    func: Callable[..., Any]

    def __call__(self, row: Iterable[Any]) -> Any:
        return self.func(*row)
