"""The joblib backend "scaler_trio". Importing this module registers it, with joblib's ``register_parallel_backend``.

joblib knows no other way for a backend from outside: its own table of those that it loads by name is closed.
"""

import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import joblib
from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

from scaler_trio.client import Client
from scaler_trio.integrations.executor import failed_future

_Call = tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]
_Shape = tuple[int, tuple[int, ...], dict[str, int]]  # a call whose parts are places in a list of values

LEAST_JOBS = 2
"""What ``n_jobs=-1`` is at least: with one job joblib runs everything in its own process."""


class ScalerTrioBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib ships no types
    """What ``joblib.parallel_config("scaler_trio")`` creates.

    Ownership: a client that was given stays its owner's; one of its own closes itself when the backend is dropped.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(
        self,
        client: Client | None = None,
        *,
        n_workers: int | None = None,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
    ) -> None:
        """Connect, unless there is a client.

        Args:
            client: what runs the work; without it ``Client()``.
            n_workers: what ``n_jobs=-1`` stands for; without it the number of this machine's processors. It is how
                much joblib hands out at a time, and no limit of the cluster.
            nesting_level: joblib's own.
            inner_max_num_threads: joblib's own, and not supported.

        Raises:
            ValueError: ``n_workers`` is not positive, or there is neither a client nor an address.
            ConnectionFailed: see ``Client``.
        """
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        if n_workers is not None and n_workers < 1:
            raise ValueError(f"n_workers is {n_workers}; it must be positive")
        try:
            self._client = client if client is not None else Client()
        except ValueError as error:
            error.add_note('for joblib: parallel_config("scaler_trio", client=client)')
            raise
        self._n_workers = n_workers if n_workers is not None else max(LEAST_JOBS, joblib.cpu_count())
        self._lock = threading.Lock()
        self._futures: weakref.WeakSet[Future[Any]] = weakref.WeakSet()  # the client keeps unfinished ones alive

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many jobs joblib hands out at a time; -1 is all, -2 all but one."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            n_jobs = self.default_n_jobs
        return n_jobs if n_jobs > 0 else max(1, self._n_workers + 1 + n_jobs)

    def submit(self, func: Any, callback: Callable[[Future[Any]], object] | None = None) -> Future[Any]:
        """Run a batch of calls on a worker. Called by the user's thread, and by callbacks.

        An error fails the future: raised in a callback, nobody would hear of it, and joblib would wait for ever.
        """
        shapes, values = take_apart(func.items)
        try:
            future: Future[Any] = self._client.submit(run_batch, self.get_nested_backend(), shapes, *values)
        except Exception as error:
            future = failed_future(error)
        with self._lock:
            self._futures.add(future)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """The results of a batch, or what one of its calls raised."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what is unfinished; the backend stays usable."""
        with self._lock:
            futures = list(self._futures)
        for future in futures:
            future.cancel()


def take_apart(calls: Sequence[_Call]) -> tuple[list[_Shape], list[Any]]:
    """Calls as places in a list of values.

    The client stores a large argument of its own once, however many batches have it; within a batch it would see
    only one large list.
    """
    values: list[Any] = []
    places: dict[int, int] = {}

    def place(value: Any) -> int:
        found = places.setdefault(id(value), len(values))
        if found == len(values):
            values.append(value)
        return found

    shapes = [
        (place(function), tuple([place(value) for value in args]), {name: place(kwargs[name]) for name in kwargs})
        for function, args, kwargs in calls
    ]
    return shapes, values


def run_batch(nested: tuple[Any, int | None], shapes: Sequence[_Shape], /, *values: Any) -> list[Any]:
    """Run the calls of a batch, on a worker; ``nested`` is the backend of calls of joblib within them."""
    backend, n_jobs = nested
    with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
        return [
            values[function](*[values[at] for at in args], **{name: values[at] for name, at in kwargs.items()})
            for function, args, kwargs in shapes
        ]


joblib.register_parallel_backend("scaler_trio", ScalerTrioBackend)
