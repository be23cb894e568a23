"""``ScalerExecutor``: a client as a ``concurrent.futures.Executor``, for code that takes one."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from typing import Any, TypeVar

from scaler_trio.client import Client
from scaler_trio.errors import ObjectStorageFailed, ScalerError, SerializationError

T = TypeVar("T")

_SHUT_DOWN = "cannot schedule new futures after shutdown"


class ScalerExecutor(Executor):
    """What ``client.executor()`` returns. Thread-safe; ``map`` submits one task for each item, as others do.

    Ownership: it does not own the client, and ending one does not end the other. At the interpreter's end the client
    is closed, which cancels what is unfinished: shut the executor down, or use it as a context manager.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._is_shut_down = False
        # The client keeps a future alive until it is done, so those that are missing here need nobody to wait.
        self._futures: weakref.WeakSet[Future[Any]] = weakref.WeakSet()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` on a worker.

        What cannot be sent, as it cannot be pickled or stored, fails the future and not this call.

        Raises:
            RuntimeError: the executor was shut down.
            BrokenExecutor: the client is closed or its scheduler lost, which is the cause; also a ``RuntimeError``.
        """
        self._check_open()
        try:
            future = self._client.submit(fn, *args, **kwargs)
        except (SerializationError, ObjectStorageFailed) as error:
            return failed_future(error)
        except ScalerError as error:
            raise BrokenExecutor(f"cannot schedule new futures: {error}") from error
        # The lock is not held above: storing a large argument may wait for room that a callback has to make first.
        with self._lock:
            self._futures.add(future)
        try:
            self._check_open()
        except RuntimeError:
            future.cancel()  # shut down meanwhile, by another thread
            raise
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more; idempotent. The client stays open.

        Args:
            wait: return only when everything that was submitted is done.
            cancel_futures: cancel what is unfinished. That includes what runs, as a client does not follow where its
                tasks are; the executors of the standard library let that finish.
        """
        with self._lock:
            self._is_shut_down = True
            futures = list(self._futures)
        if cancel_futures:
            for future in futures:
                future.cancel()
        if wait:
            _wait_for(futures)

    def _check_open(self) -> None:
        if self._is_shut_down:
            raise RuntimeError(_SHUT_DOWN)


def failed_future(error: BaseException) -> Future[Any]:
    """A future for what could not even be submitted."""
    future: Future[Any] = Future()
    future.set_exception(error.with_traceback(None))  # its frames would keep the arguments alive
    return future


def _wait_for(futures: list[Future[Any]]) -> None:
    wait([future for future in futures if not future.done()])
