"""``Client``: what users hold. Connects, pickles, submits; everything else is behind it."""

import itertools
import operator
import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final

from attrs import evolve

from scaler_protocol import check_options
from scaler_protocol.messages import DEFAULT_OPTIONS, TaskOptions
from scaler_trio.client.array_call import ArrayCall
from scaler_trio.client.functions import FunctionCache
from scaler_trio.client.future import ScalerFuture
from scaler_trio.client.graph import plan
from scaler_trio.client.graph_call import GraphCall
from scaler_trio.client.objects import CallObjects
from scaler_trio.client.progress import Progress
from scaler_trio.client.session import Session
from scaler_trio.config import tokens
from scaler_trio.config.collector import collector_paused
from scaler_trio.config.enclosing import get_enclosing
from scaler_trio.errors import DependencyFailed
from scaler_trio.net import Address
from scaler_trio.serialization import (
    BlockWriter,
    ObjectReference,
    Sink,
    Style,
    dump_call,
    dump_classes,
    function_name,
    write_object,
)

_SIZED: Final = (list, tuple, range, dict, set, frozenset, str, bytes, bytearray)
"""Containers whose ``len`` is the number of items that they give."""

OPTIONS: Final = frozenset(
    {"priority", "timeout_s", "max_retries", "retry_on", "crash_limit", "capabilities"}
    | {"profiling", "stream_output", "name"}
)
"""Of ``with_options``."""


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

        Raises:
            ValueError: no address, or not an address.
            ConnectionFailed: nobody answered within ``timeout``, or it is not a scheduler.
            AuthenticationFailed: missing or wrong token.
        """
        where = Address.parse(_find_address(address))
        self._arguments = {"timeout": timeout, "reconnect_timeout": reconnect_timeout}
        self._options = DEFAULT_OPTIONS
        self._functions = FunctionCache()
        find_token = partial(_find_token, str(where), token, token_file)
        find_token()  # what is no token is an error here; one that is not there yet may come while we try
        self._session = Session(where, find_token, timeout_s=timeout, reconnect_timeout_s=reconnect_timeout)
        self._submit = self._session.submit
        self._sink: Sink = self._session.objects
        self._session.start()
        # A dropped client lets its thread end once nothing is unfinished; at the interpreter's end all are closed.
        self._finalizer = weakref.finalize(self, self._session.stop_when_idle)
        self._finalizer.atexit = False

    @property
    def address(self) -> str:
        """Where it is connected to."""
        return str(self._session.address)

    # --------------------------------------------------------------------------------------------------------- work

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ScalerFuture:
        """Run ``fn(*args, **kwargs)`` on a worker. Never waits for the network.

        Raises:
            CannotPickle: the function or an argument; the text names it.
            ScalerError: the client is closed, or the scheduler lost for good.
        """
        self._session.check_usable()
        function = self._functions.get(fn, Style.CALL)
        dumped = dump_call(args, kwargs, self._sink)
        return self._submit(function, dumped.payload, dumped.objects, self._options)

    def map(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        progress: bool = False,
        return_exceptions: bool = False,
    ) -> list[Any]:
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
        if not iterables:
            raise TypeError("map() needs a function and at least one iterable")
        iterators = []
        for place, iterable in enumerate(iterables, 2):
            try:
                iterators.append(iter(iterable))
            except TypeError:
                text = (
                    f"argument {place} of map() is {iterable!r:.100}, which is not iterable (no chunk size is needed)"
                )
                raise TypeError(text) from None
        if len(iterables) == 1:
            rows, style = iterators[0], Style.ONE
        else:
            rows, style = zip(*iterators, strict=False), Style.STAR
        return self._run_array(fn, rows, style, iterables, timeout, progress, return_exceptions)

    def starmap(
        self,
        fn: Callable[..., Any],
        /,
        iterable: Iterable[Iterable[Any]],
        *,
        timeout: float | None = None,
        progress: bool = False,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """``list(itertools.starmap(fn, iterable))``, on the workers; otherwise like ``map``."""
        return self._run_array(fn, iterable, Style.STAR, (iterable,), timeout, progress, return_exceptions)

    def get(self, graph: Mapping[str, Any], keys: Sequence[str], *, block: bool = True) -> dict[str, Any]:
        """Run a graph of tasks, sent as a whole; the values of ``keys``, in their order.

        Args:
            graph: from names to nodes. A node is a value, or ``(callable, *arguments)``, where an argument that is a
                string names another node, lists are searched for names, and anything else is passed as it is.
            keys: the nodes whose values are wanted; nodes that none of them needs are left out.
            block: False returns futures instead of values.

        Raises:
            GraphError: a cycle, an unknown name.
            DependencyFailed: a node failed and its own error did not come; where it did, that is raised instead.
            Exception: what a node raised.
        """
        self._session.check_usable()
        if isinstance(keys, str):
            raise TypeError(f"keys is a sequence of names, and {keys!r} is one name; write [{keys!r}]")
        if not isinstance(graph, Mapping):
            raise TypeError(f"the graph is {graph!r:.100}; it must be a mapping of names to nodes")
        with collector_paused():
            planned = plan(graph, keys)
        call = GraphCall(self._session, planned, keys)
        call.send(self._functions, CallObjects(self._session.objects), self._options)
        if not block:
            return dict(call.futures)
        try:
            return {key: future.result() for key, future in call.futures.items()}
        except DependencyFailed as error:
            call.cancel()
            if error.__cause__ is None:
                raise
            error.__cause__.add_note(f"raised in a graph: {error}")
            raise error.__cause__ from error.__cause__.__cause__
        except BaseException:
            call.cancel()
            raise

    def send_object(self, obj: Any, name: str | None = None) -> ObjectReference:
        """Store a value once, for any number of tasks: use the reference as, or inside, their arguments.

        It stays stored until the reference is garbage, or ``clear``. Later changes of ``obj`` are not seen.

        Raises:
            ObjectStorageFailed: no room, or no storage.
            CannotPickle: it cannot be pickled.
        """
        self._session.check_usable()
        object_id, size_bytes = write_object(obj, _NewObjects(self._session))
        reference = ObjectReference(object_id, size_bytes, name)
        finalizer = weakref.finalize(reference, self._session.release, (object_id,))
        finalizer.atexit = False
        return reference

    def with_options(self, **options: Any) -> "Client":
        """The same client, whose calls carry these options; closing either closes both.

        Args:
            options: ``priority`` (higher first, 0 by default); ``timeout_s`` of running time, 0 = none;
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
        if unknown := sorted(options.keys() - OPTIONS):
            raise TypeError(f"there is no option {', '.join(unknown)}; the options are {', '.join(sorted(OPTIONS))}")
        if "capabilities" in options:
            capabilities = options["capabilities"]
            if not isinstance(capabilities, Mapping):
                raise ValueError(f"capabilities is {capabilities!r}; it must be a mapping of names to amounts")
            options["capabilities"] = tuple(capabilities.items())
        if "retry_on" in options:
            options["retry_on"] = _dump_retry_on(options["retry_on"])
        changed = check_options(evolve(self._options, **options))
        if changed.retry_on and not changed.max_retries:
            raise ValueError("retry_on says after what a task is run again, and max_retries, which is 0, how often")
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._options = changed
        other.__dict__["_original"] = self
        return other

    # ------------------------------------------------------------------------------------------------------ the end

    def clear(self) -> None:
        """Cancel everything unfinished and forget everything stored; references from before are of no use then."""
        self._session.clear()
        self._functions.clear()

    def close(self) -> None:
        """Cancel what is unfinished and disconnect; idempotent."""
        self._session.close()

    def disconnect(self) -> None:
        """The same as ``close``."""
        self.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _connect, (self.address, self._arguments, self._options)

    def __repr__(self) -> str:
        state = "closed" if self._session.error is not None else "connected"
        return f"<Client of {self.address}, {state}>"

    # ------------------------------------------------------------------------------------------------------- inside

    def _run_array(
        self,
        fn: Callable[..., Any],
        rows: Iterable[Any],
        style: Style,
        iterables: Sequence[Iterable[Any]],
        timeout: float | None,
        progress: bool,
        return_exceptions: bool,
    ) -> list[Any]:
        session = self._session
        session.check_usable()
        function = self._functions.get(fn, style)
        counts = [_count(iterable) for iterable in iterables]
        count = -1 if None in counts else min([n for n in counts if n is not None and n >= 0], default=-1)
        held_whole = None not in counts
        sink: Sink = CallObjects(session.objects) if held_whole else session.objects
        name = function_name(fn)
        call = ArrayCall(session, name, return_exceptions=return_exceptions, timeout_s=timeout)
        return call.run(
            function,
            iter(rows),
            BlockWriter(style, sink),
            count=count,
            options=self._options,
            progress=Progress(name, count) if progress else None,
        )


class _NewObjects:
    """The sink of ``send_object``: always a new object, which is kept."""

    def __init__(self, session: Session) -> None:
        self._objects = session.objects

    def write(self, parts: Sequence[Any], size_bytes: int, value: object) -> bytes:
        object_id = self._objects.write_new(parts, size_bytes)
        self._objects.hold(object_id, size_bytes)
        return object_id


def _count(iterable: Iterable[Any]) -> int | None:
    """How many items a container gives, -1 for one that repeats the same item for ever, None for everything else."""
    if type(iterable) is itertools.repeat:
        return operator.length_hint(iterable, -1)
    return len(iterable) if type(iterable) in _SIZED else None  # type: ignore[arg-type]


def _connect(address: str, arguments: dict[str, float], options: TaskOptions) -> Client:
    client = Client(address, **arguments)  # type: ignore[arg-type]
    client._options = options
    return client


def _dump_retry_on(given: Any) -> bytes:
    classes = given if isinstance(given, tuple) else (given,)
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise ValueError(f"retry_on is {given!r:.100}; it must be an exception class or a tuple of them")
    if not classes:
        raise ValueError("retry_on is empty; without retries leave max_retries at 0")
    return dump_classes(classes)


def _find_address(given: str | None) -> str:
    if given is not None:
        return given
    if found := os.environ.get("SCALER_ADDRESS"):
        return found
    enclosing = get_enclosing()
    if enclosing is not None:
        return enclosing.address
    raise ValueError(
        "No scheduler address provided: pass Client('tcp://host:port') or set SCALER_ADDRESS "
        "(and not running inside a worker context, where the task's own scheduler would be used)"
    )


def _find_token(address: str, token: str | bytes | None, token_file: str | os.PathLike[str] | None) -> bytes | None:
    if token is not None:
        return tokens.parse_token(token, "token=")
    if token_file is not None:
        return tokens.read_token_file(token_file)
    if text := os.environ.get("SCALER_TOKEN"):
        return tokens.parse_token(text, "SCALER_TOKEN")
    enclosing = get_enclosing()
    if enclosing is not None and enclosing.address == address:
        return enclosing.token
    return tokens.find_token(address)
