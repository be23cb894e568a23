"""``RayStyle``: a client with Ray's calls for tasks and objects, for programs that were written for them.

What Ray has beyond tasks and objects is not here: no actors, no placement groups, no libraries.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from contextlib import AbstractContextManager, nullcontext
from functools import partial, update_wrapper
from typing import Any, TypeVar

from scaler_trio.client import Client, waiting
from scaler_trio.serialization import ObjectReference

Reference = Future[Any] | ObjectReference[Any]
"""What stands for a value: a call's, or one that ``put`` stored."""

T = TypeVar("T")

_AMOUNTS = {"num_gpus": "gpu"}
_PLAIN = ("num_cpus",)


class RemoteFunction:
    """What the decorator ``remote`` makes of a function."""

    def __init__(self, client: Client, function: Callable[..., Any], settings: dict[str, Any]) -> None:
        self._client = client
        self._calls = client.options(**_options(settings)) if settings else client
        self._function = function
        update_wrapper(self, function)

    def remote(self, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Call it on a worker, as soon as all futures among the arguments are done; a failed one fails the call."""
        waits = {value for value in (*args, *kwargs.values()) if isinstance(value, Future)}
        if not waits:
            return self._calls.submit(self._function, *args, **kwargs)
        return _Chained(partial(self._calls.submit, self._function), args, kwargs, waits)

    def options(self, **settings: Any) -> "RemoteFunction":
        """The same function with other settings, as ``remote`` takes them."""
        return RemoteFunction(self._client, self._function, settings)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{self._function.__name__} is a remote function: call {self._function.__name__}.remote(...)")


class RayStyle:
    """``ray = RayStyle(client)`` in place of ``import ray`` and ``ray.init()``. It does not own the client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def remote(self, function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
        """Make a function remote: ``@ray.remote``, or ``@ray.remote(num_gpus=1)``.

        Args:
            function: what to call.
            settings: ``num_gpus`` and ``resources`` become capabilities; ``max_retries`` is how often a call is run
                again after its process died, and with ``retry_exceptions`` (True, or a list of classes) after it
                raised; ``name``. ``num_cpus`` has no meaning: a call takes one slot.

        Raises:
            TypeError: another setting, or a class: there are no actors.
        """
        if function is None:
            return partial(self.remote, **settings)
        if isinstance(function, type):
            raise TypeError(f"{function.__name__} is a class, and there are no actors here")

        return RemoteFunction(self._client, function, settings)

    def get(self, references: Reference | Sequence[Reference], *, timeout: float | None = None) -> Any:
        """The value of a reference, or the list of those of several.

        Raises:
            TimeoutError: one is not there in time; the work goes on.
            Exception: what a call raised.
        """
        if isinstance(references, Future):
            return references.result(timeout)
        if isinstance(references, ObjectReference):
            return self._client.fetch(references)
        futures = [reference for reference in references if isinstance(reference, Future)]
        if timeout is not None:
            with _waiting_for(futures):
                open_ = wait_for(futures, timeout).not_done
            if open_:
                raise TimeoutError(f"not all of {len(futures)} calls were done after {timeout} s")
        return [self.get(reference) for reference in references]

    def put(self, value: T) -> ObjectReference[T]:
        """Store a value once, for any number of calls."""
        return self._client.send_object(value)

    def wait(
        self, references: Sequence[Reference], *, num_returns: int = 1, timeout: float | None = None
    ) -> tuple[list[Reference], list[Reference]]:
        """Those of ``num_returns`` that are done first, or after ``timeout`` seconds, and the others, in order."""
        if not 0 < num_returns <= len(references):
            raise ValueError(f"num_returns is {num_returns}; it must be between 1 and {len(references)}")
        open_ = {reference for reference in references if isinstance(reference, Future)}
        deadline = None if timeout is None else time.monotonic() + timeout
        with _waiting_for(open_):
            while len(references) - len(open_) < num_returns:
                left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
                done, open_ = wait_for(open_, left_s, return_when=FIRST_COMPLETED)
                if not done:
                    break
        ready = [reference for reference in references if reference not in open_][:num_returns]
        given = set(ready)
        return ready, [reference for reference in references if reference not in given]

    def cancel(self, reference: "Future[Any]", *, force: bool = False) -> None:
        """Cancel a call, wherever it is."""
        reference.cancel()

    def is_initialized(self) -> bool:
        """Always: the client is there."""
        return True

    def shutdown(self) -> None:
        """Close the client."""
        self._client.close()


class _Chained(Future[Any]):
    """The future of a call that waits for futures: it is there at once, and the call is made when they are done."""

    def __init__(
        self,
        submit: Callable[..., "Future[Any]"],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        waits: set["Future[Any]"],
    ) -> None:
        super().__init__()
        self._call = (submit, args, kwargs)
        self._lock = threading.RLock()  # a callback of the future may cancel it
        self._left: set[Future[Any]] | None = set(waits)  # None: the call is made
        self._inner: Future[Any] | None = None
        for one in waits:
            one.add_done_callback(self._is_done)

    def result(self, timeout: float | None = None) -> Any:
        """As of any future; within a task its slot is free meanwhile, or what it waits for might never run."""
        with _waiting_for((self,)):
            return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The same."""
        with _waiting_for((self,)):
            return super().exception(timeout)

    def cancel(self) -> bool:
        """Cancel the call, wherever it is; not what it waits for."""
        with self._lock:
            is_new = not self.cancelled()
            if not super().cancel():
                return False
            if is_new:
                self.set_running_or_notify_cancel()
        if self._inner is not None:
            self._inner.cancel()
        return True

    def _is_done(self, one: "Future[Any]") -> None:
        with self._lock:  # one that was done before tells it in our thread, and others on those of their clients
            if self._left is None:
                return
            self._left.discard(one)
            if self._left:
                return
            self._left = None
        if self.cancelled():
            return
        submit, args, kwargs = self._call
        try:
            inner = submit(*map(_value, args), **{name: _value(value) for name, value in kwargs.items()})
        except BaseException as error:
            if self._begin():
                self.set_exception(error)
            return
        self._inner = inner
        inner.add_done_callback(self._settle)
        if self.cancelled():  # meanwhile
            inner.cancel()

    def _settle(self, inner: "Future[Any]") -> None:
        if not self._begin():
            return
        try:
            self.set_result(inner.result())
        except BaseException as error:
            self.set_exception(error)

    def _begin(self) -> bool:
        """Whether it may end: nobody has cancelled it, and nobody can any more."""
        with self._lock:
            return not self.cancelled() and self.set_running_or_notify_cancel()


def _waiting_for(futures: Iterable["Future[Any]"]) -> AbstractContextManager[None]:
    return nullcontext() if all(future.done() for future in futures) else waiting()


def _value(argument: Any) -> Any:
    return argument.result() if isinstance(argument, Future) else argument


def _options(settings: dict[str, Any]) -> Any:
    left = {name: value for name, value in settings.items() if name not in _PLAIN}
    options: dict[str, Any] = {}
    capabilities = dict(left.pop("resources", {}))
    for name, capability in _AMOUNTS.items():
        if amount := left.pop(name, 0):
            capabilities[capability] = amount
    if capabilities:
        options["capabilities"] = capabilities
    retries, on_errors = left.pop("max_retries", None), left.pop("retry_exceptions", False)
    if retries is not None:
        options["crash_limit"] = retries + 1
    if on_errors:
        options["max_retries"] = 3 if retries is None else retries
        if on_errors is not True:
            options["retry_on"] = tuple(on_errors)
    if "name" in left:
        options["name"] = left.pop("name")
    if left:
        known = "num_gpus, resources, max_retries, retry_exceptions, name"
        raise TypeError(f"{', '.join(sorted(left))}: not a setting here; there are {known}")
    return options
