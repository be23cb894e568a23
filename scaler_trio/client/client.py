"""``Client``: what users hold. Connects, pickles, submits; everything else is behind it."""

import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, Unpack, overload

from attrs import evolve

from scaler_protocol.messages import DEFAULT_OPTIONS, TaskOptions
from scaler_trio.client.calls.functions import FunctionCache
from scaler_trio.client.calls.future import ScalerFuture
from scaler_trio.client.calls.lazy_map import BUFFER_ITEMS, ResultIterator
from scaler_trio.client.calls.making import Calls
from scaler_trio.client.finding import find_address, find_token
from scaler_trio.client.options import Options, change_options, shown_option
from scaler_trio.client.session import nested as nested_sessions
from scaler_trio.client.session.session import Session
from scaler_trio.errors import ClientClosed
from scaler_trio.net import Address
from scaler_trio.serialization import (
    ObjectReference,
    Packer,
    Serializer,
    load_object,
    write_object,
)

if TYPE_CHECKING:
    from scaler_trio.integrations.executor import ScalerExecutor
    from scaler_trio.integrations.pool import ScalerPool

P = ParamSpec("P")
T = TypeVar("T")


class Client:
    """A connection to a scheduler: ``submit``, ``map``, ``get``. Thread-safe.

    Ownership: close it, or use it as a context manager; one that is dropped closes itself once nothing of it is
    unfinished. It does not survive a fork. Pickled, it carries its address, never its token, and connects anew where
    it is unpickled.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | bytes | None = None,
        token_file: str | os.PathLike[str] | None = None,
        timeout: float = 5.0,
        reconnect_timeout: float = 60.0,
        serializer: Serializer | None = None,
    ) -> None:
        """Connect.

        Args:
            address: ``tcp://host:port`` of the scheduler; without it SCALER_ADDRESS, or in a task that task's
                scheduler.
            token: the shared secret; without it ``token_file``, SCALER_TOKEN, the enclosing task's, or what a local
                service left for its user.
            token_file: a file with the token.
            timeout: seconds for this first connection.
            reconnect_timeout: seconds for which a lost connection is tried again, before what is unfinished fails.
            serializer: for functions, arguments and results, instead of cloudpickle; exceptions are pickled as always.

        Raises:
            ValueError: no address, or not an address.
            ConnectionFailed: nobody answered within ``timeout``, or it is not a scheduler.
            AuthenticationFailed: missing or wrong token.
        """
        self._prepare(address, token, token_file, timeout, reconnect_timeout, serializer)
        self._session.start()

    def _prepare(
        self,
        address: str | None,
        token: str | bytes | None,
        token_file: str | os.PathLike[str] | None,
        timeout: float,
        reconnect_timeout: float,
        serializer: Serializer | None,
    ) -> None:
        """All of it but the connection."""
        where = Address.parse(find_address(address))
        self._arguments = {"timeout": timeout, "reconnect_timeout": reconnect_timeout, "serializer": serializer}
        self._session: Session
        look_for_token = partial(find_token, str(where), token, token_file)
        look_for_token()  # what is no token is an error here; one that is not there yet may come while we try
        make = partial(Session, where, look_for_token, timeout_s=timeout, reconnect_timeout_s=reconnect_timeout)
        nested = nested_sessions.join(where, make) if token is None and token_file is None else None
        if nested is not None:
            self._session, functions = nested
        else:
            self._session, functions = make(), FunctionCache()
        self._calls = Calls(
            self._session, functions, None if serializer is None else Packer(serializer), DEFAULT_OPTIONS
        )
        # A dropped client lets its thread end once nothing is unfinished; at the interpreter's end all are closed.
        self._finalizer = weakref.finalize(self, self._session.stop_when_idle)
        self._finalizer.atexit = False

    @property
    def address(self) -> str:
        """Where it is connected to."""
        return str(self._session.address)

    # --------------------------------------------------------------------------------------------------------- work

    # First for the parameters of ``fn`` and what they make of its result; then for arguments that stand for others, as
    # references do, also within lists. mypy takes the first for as broad as the second, which it is not.
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> ScalerFuture[T]: ...

    @overload
    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> ScalerFuture[T]: ...  # type: ignore[overload-cannot-match]

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> ScalerFuture[T]:
        """Run ``fn(*args, **kwargs)`` on a worker. Never waits for the network.

        Raises:
            CannotPickle: the function or an argument; the text names it.
            ScalerError: the client is closed, or the scheduler lost for good.
        """
        return self._calls.submit(fn, args, kwargs)

    def submit_verbose(
        self,
        fn: Callable[..., T],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        capabilities: Mapping[str, int] | None = None,
        reserialize: bool = False,
    ) -> ScalerFuture[T]:
        """``submit(fn, *args, **kwargs)`` with what else the call needs beside its arguments.

        Args:
            capabilities: as in ``options``; None = those of this client.
            reserialize: store large arguments anew, without comparing them with what is stored. The result is the same:
                a change in place is never missed.
        """
        calls = self._calls
        options = calls.options
        if capabilities is not None:
            options = change_options(options, {"capabilities": capabilities})
        return calls.submit_with(fn, tuple(args), dict(kwargs or {}), options, reserialize=reserialize)

    @overload
    def map(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        progress: bool = False,
        return_exceptions: Literal[False] = False,
    ) -> list[T]: ...

    @overload
    def map(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        progress: bool = False,
        return_exceptions: bool,
    ) -> list[T | BaseException]: ...

    def map(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        progress: bool = False,
        return_exceptions: bool = False,
    ) -> list[T] | list[T | BaseException]:
        """``list(map(fn, *iterables))``, on the workers; results in order.

        When an item fails, what has not started is cancelled, what runs is waited for, and the exception of the lowest
        failed index is raised.

        Args:
            fn: called with one item of each iterable, until the shortest ends.
            timeout: seconds for all of it.
            progress: show a line about it on stderr.
            return_exceptions: run all items, with exceptions in the places of failed ones.

        Raises:
            TimeoutError: not all items were done in time; the rest is cancelled.
            ScalerError: the client is closed, or the scheduler lost for good.
            Exception: what an item raised, or ``CannotPickle`` for one that cannot be sent.
        """
        call, steps = self._calls.map_call(fn, iterables, timeout, progress, return_exceptions)
        return call.run(steps)

    @overload
    def starmap(
        self,
        fn: Callable[..., T],
        /,
        iterable: Iterable[Iterable[Any]],
        *,
        timeout: float | None = None,
        progress: bool = False,
        return_exceptions: Literal[False] = False,
    ) -> list[T]: ...

    @overload
    def starmap(
        self,
        fn: Callable[..., T],
        /,
        iterable: Iterable[Iterable[Any]],
        *,
        timeout: float | None = None,
        progress: bool = False,
        return_exceptions: bool,
    ) -> list[T | BaseException]: ...

    def starmap(
        self,
        fn: Callable[..., T],
        /,
        iterable: Iterable[Iterable[Any]],
        *,
        timeout: float | None = None,
        progress: bool = False,
        return_exceptions: bool = False,
    ) -> list[T] | list[T | BaseException]:
        """``list(itertools.starmap(fn, iterable))``, on the workers; otherwise like ``map``."""
        call, steps = self._calls.starmap_call(fn, iterable, timeout, progress, return_exceptions)
        return call.run(steps)

    @overload
    def imap(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        buffersize: int = BUFFER_ITEMS,
        return_exceptions: Literal[False] = False,
    ) -> ResultIterator[T]: ...

    @overload
    def imap(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        buffersize: int = BUFFER_ITEMS,
        return_exceptions: bool,
    ) -> ResultIterator[T | BaseException]: ...

    def imap(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        buffersize: int = BUFFER_ITEMS,
        return_exceptions: bool = False,
    ) -> ResultIterator[T] | ResultIterator[T | BaseException]:
        """Like ``map``, as an iterator: items are read as results are asked for, so that an endless iterable works.

        A failed item raises at its place; the iteration can go on after it.

        Args:
            fn: called with one item of each iterable, until the shortest ends.
            buffersize: items in flight: read, and their results not asked for.
            return_exceptions: give exceptions instead of raising them.
        """
        return self._calls.iterate("imap", fn, iterables, buffersize, return_exceptions, is_ordered=True, keeps=self)

    @overload
    def imap_unordered(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        buffersize: int = BUFFER_ITEMS,
        return_exceptions: Literal[False] = False,
    ) -> ResultIterator[T]: ...

    @overload
    def imap_unordered(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        buffersize: int = BUFFER_ITEMS,
        return_exceptions: bool,
    ) -> ResultIterator[T | BaseException]: ...

    def imap_unordered(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        buffersize: int = BUFFER_ITEMS,
        return_exceptions: bool = False,
    ) -> ResultIterator[T] | ResultIterator[T | BaseException]:
        """``imap`` with results in the order in which they come."""
        return self._calls.iterate(
            "imap_unordered", fn, iterables, buffersize, return_exceptions, is_ordered=False, keeps=self
        )

    @overload
    def get(self, graph: Mapping[str, Any], keys: Sequence[str], *, block: Literal[True] = True) -> dict[str, Any]: ...

    @overload
    def get(
        self, graph: Mapping[str, Any], keys: Sequence[str], *, block: Literal[False]
    ) -> dict[str, ScalerFuture[Any]]: ...

    @overload
    def get(self, graph: Mapping[str, Any], keys: Sequence[str], *, block: bool) -> dict[str, Any]: ...

    def get(self, graph: Mapping[str, Any], keys: Sequence[str], *, block: bool = True) -> dict[str, Any]:
        """Run a graph of tasks, sent as a whole; the values of ``keys``, in their order.

        Args:
            graph: from names to nodes. A node is a value, or ``(callable, *arguments)``, where an argument that is a
                string names another node, lists are searched for names, and anything else is passed as it is; with
                keyword arguments it is ``node(callable, *arguments, **keywords)``.
            keys: the nodes whose values are wanted; nodes that none of them needs are left out.
            block: False returns futures instead of values.

        Raises:
            GraphError: a cycle, an unknown name.
            DependencyFailed: a node failed and its own error did not come; where it did, that is raised instead.
            Exception: what a node raised.
        """
        call = self._calls.plan_graph(graph, keys)
        self._calls.send_graph(call)
        if not block:
            return dict(call.futures)
        with call.cancelled_on_error():
            return {key: future.result() for key, future in call.futures.items()}

    def send_object(self, obj: T, name: str | None = None) -> ObjectReference[T]:
        """Store a value once, for any number of tasks: use the reference as, or inside, their arguments.

        It stays stored until the reference is garbage, or ``clear``. Later changes of ``obj`` are not seen.

        Raises:
            ObjectStorageFailed: no room, or no storage.
            CannotPickle: it cannot be pickled.
        """
        self._session.check_usable()
        packer = self._calls.packer
        if packer is not None:
            packed: Any = packer.value(obj)
        else:
            packed = obj
        object_id, size_bytes = write_object(packed, _NewObjects(self._session))
        reference: ObjectReference[T] = ObjectReference(object_id, size_bytes, name)
        finalizer = weakref.finalize(reference, self._session.release, (object_id,))
        finalizer.atexit = False
        return reference

    def fetch(self, reference: ObjectReference[T]) -> T:
        """The value that a reference stands for, in a copy of its own.

        Raises:
            ObjectLost: it was released, by ``clear`` or because its client is gone.
            ObjectStorageFailed: the storage cannot be reached.
        """
        self._session.check_usable()
        if type(reference) is not ObjectReference:
            raise TypeError(f"fetch() takes a reference that send_object() gave, not {reference!r:.100}")
        value: T = load_object(self._session.objects.read(reference.object_id))
        packer = self._calls.packer
        return value if packer is None else packer.unpack(value)

    def options(self, **options: Unpack[Options]) -> "Client":
        """The same client, whose calls carry these options; closing either closes both.

        Args:
            options: ``priority`` (higher first, 0 by default); ``timeout``, seconds of running time of each
                task, not of its waiting, 0 = none;
                ``max_retries``, how often it is run again after it raised (0), and ``retry_on``, the exception class,
                or classes, after which it is (any ``Exception``); ``crash_limit``, deaths of its processor until it
                fails (3); ``capabilities`` that a worker must offer, with the amounts that a task takes:
                ``{"gpu": 1}``, -1 = just the name; ``profiling``, whether ``profiling_info`` of a future tells all
                (``submit`` and ``get``); ``stream_output``, whether what a task prints is printed here; ``name``, for
                people.

        Raises:
            TypeError: there is no such option.
            ValueError: a value is of a wrong type or out of its bounds.
            CannotPickle: an exception class in ``retry_on``.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._calls = evolve(self._calls, options=change_options(self._calls.options, options))
        other.__dict__["_original"] = self
        return other

    # ------------------------------------------------------------------------------------------------ for others' code

    def executor(self) -> "ScalerExecutor":
        """This client, with its options, as a ``concurrent.futures.Executor``; shutting that down does not close it."""
        from scaler_trio.integrations.executor import ScalerExecutor

        return ScalerExecutor(self)

    def pool(self) -> "ScalerPool":
        """This client, with its options, as a ``multiprocessing.Pool``; ending that does not close it."""
        from scaler_trio.integrations.pool import ScalerPool

        return ScalerPool(self)

    def dask_get(self, dsk: Any, keys: Any, **settings: Any) -> Any:
        """Run a Dask graph: ``dask.compute(..., scheduler=client.dask_get)``.

        Args:
            dsk: the graph.
            keys: the keys whose values are wanted: one, or lists of them.
            settings: what Dask passes to its schedulers; of no meaning here, and ignored.

        Raises:
            GraphError: a key that is needed is not in the graph, or the graph has a cycle.
            Exception: what a task raised.
        """
        from scaler_trio.integrations import dask_scheduler

        return dask_scheduler.get(self, dsk, keys)

    # ------------------------------------------------------------------------------------------------------ the end

    def clear(self) -> None:
        """Cancel everything unfinished and forget everything stored; references from before are of no use then."""
        self._session.clear()
        self._calls.functions.clear()

    def close(self) -> None:
        """Cancel what is unfinished and disconnect; idempotent."""
        self._session.close()

    def disconnect(self) -> None:
        """The same as ``close``."""
        self.close()

    def shutdown(self) -> None:
        """End the whole cluster: the scheduler, its workers and their managers, its object storage. Closes this client.

        Other clients get a ``ConnectionLost``. For schedulers that allow it: ``scaler_scheduler --no-protected``,
        ``SchedulerClusterCombo(protected=False)``.

        Raises:
            ProtectedError: the scheduler is protected, and goes on; also a ``ValueError``.
            ConnectionLost: it did not answer within the time-out of the first connection.
            ScalerError: the client was closed already.
        """
        self._session.shut_down()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _connect, (self.address, self._arguments, self._calls.options)

    def __repr__(self) -> str:
        return f"<Client of {self.address}, {self._standing()}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        return self._html("Client")

    # ------------------------------------------------------------------------------------------------------- inside

    def _standing(self) -> str:
        error = self._session.error
        if error is None:
            return "connected"
        return "closed" if isinstance(error, ClientClosed) else "lost"

    def _html(self, title: str) -> str:
        from scaler_trio.config.display import table

        error = self._session.error
        changed = {
            name: value
            for name in sorted(Options.__annotations__)
            if (value := shown_option(self._calls.options, name)) != shown_option(DEFAULT_OPTIONS, name)
        }
        return table(
            title,
            {
                "scheduler": self.address,
                "state": self._standing(),
                "reason": None if error is None else str(error),
                "unfinished": len(self._session.unfinished()) if error is None else None,
                "options": ", ".join(f"{name}={value}" for name, value in changed.items()),
            },
        )


class _NewObjects:
    """The sink of ``send_object``: always a new object, which is kept."""

    def __init__(self, session: Session) -> None:
        self._objects = session.objects

    def write(self, parts: Sequence[Any], size_bytes: int, value: object) -> bytes:
        object_id = self._objects.write_new(parts, size_bytes)
        self._objects.hold(object_id, size_bytes)
        return object_id


def _connect(address: str, arguments: dict[str, Any], options: TaskOptions) -> Client:
    client = Client(address, **arguments)
    client._calls = evolve(client._calls, options=options)
    return client
