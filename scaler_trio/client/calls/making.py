"""How calls are made: function and arguments are pickled, by the user's serializer if there is one, and submitted."""

import itertools
import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import define

from scaler_protocol.messages import TaskOptions
from scaler_trio.client.calls.array_call import ArrayCall, Steps
from scaler_trio.client.calls.functions import FunctionCache
from scaler_trio.client.calls.future import ScalerFuture
from scaler_trio.client.calls.graph import pack_graph, plan
from scaler_trio.client.calls.graph_call import GraphCall
from scaler_trio.client.calls.lazy_map import ResultIterator
from scaler_trio.client.calls.progress import Progress
from scaler_trio.client.session.objects import CallObjects, FreshObjects
from scaler_trio.client.session.session import Session
from scaler_trio.config.collector import collector_paused
from scaler_trio.serialization import BlockWriter, Packer, Sink, Style, dump_call, function_name

_SIZED: Final = (list, tuple, range, dict, set, frozenset, str, bytes, bytearray)
"""Containers whose ``len`` is the number of items that they give."""

_AT_HAND: Final = (*_SIZED, deque, itertools.count, itertools.repeat)
"""Iterables whose next item is there at once: who asks for results may read them."""


@define
class Calls:
    """The calls of one client with one set of options; clients that differ in options share the rest."""

    session: Session
    functions: FunctionCache
    packer: Packer | None
    options: TaskOptions

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> ScalerFuture[Any]:
        """One call."""
        if self.packer is not None:
            return self.submit_with(fn, args, kwargs, self.options, reserialize=False)
        session = self.session
        session.check_usable()
        function = self.functions.get(fn, Style.CALL)
        dumped = dump_call(args, kwargs, session.objects)
        return session.submit(function, dumped.payload, dumped.objects, self.options)

    def submit_with(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: TaskOptions,
        *,
        reserialize: bool,
    ) -> ScalerFuture[Any]:
        """One call, in full generality."""
        session, packer = self.session, self.packer
        session.check_usable()
        if packer is not None:
            args, kwargs = packer.row(args), packer.keywords(kwargs)
        function = self.functions.get(fn if packer is None else packer.function(fn), Style.CALL)
        dumped = dump_call(args, kwargs, FreshObjects(session.objects) if reserialize else session.objects)
        future = session.submit(function, dumped.payload, dumped.objects, options)
        if packer is not None:
            future.unpack_with(packer.unpack)
        return future

    def plan_graph(self, graph: Mapping[str, Any], keys: Sequence[str]) -> GraphCall:
        """A graph, of which nothing is sent yet."""
        self.session.check_usable()
        if isinstance(keys, str):
            raise TypeError(f"keys is a sequence of names, and {keys!r} is one name; write [{keys!r}]")
        if not isinstance(graph, Mapping):
            raise TypeError(f"the graph is {graph!r:.100}; it must be a mapping of names to nodes")
        if self.packer is not None:
            graph = pack_graph(graph, self.packer)
        with collector_paused():
            planned = plan(graph, keys)
        call = GraphCall(self.session, planned, keys)
        if self.packer is not None:
            for future in call.futures.values():
                future.unpack_with(self.packer.unpack)
        return call

    def send_graph(self, call: GraphCall) -> None:
        """Pickle and send it."""
        call.send(self.functions, CallObjects(self.session.objects), self.options)

    def map_call(
        self,
        fn: Callable[..., Any],
        iterables: Sequence[Iterable[Any]],
        timeout: float | None,
        progress: bool,
        return_exceptions: bool,
    ) -> tuple[ArrayCall, Steps]:
        """A ``map``, and the steps that do it."""
        rows, style = _rows_of("map", iterables)
        return self._array_call(fn, rows, style, iterables, timeout, progress, return_exceptions)

    def starmap_call(
        self,
        fn: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        timeout: float | None,
        progress: bool,
        return_exceptions: bool,
    ) -> tuple[ArrayCall, Steps]:
        """The same for ``starmap``."""
        return self._array_call(fn, iterable, Style.STAR, (iterable,), timeout, progress, return_exceptions)

    def _array_call(
        self,
        fn: Callable[..., Any],
        rows: Iterable[Any],
        style: Style,
        iterables: Sequence[Iterable[Any]],
        timeout: float | None,
        progress: bool,
        return_exceptions: bool,
    ) -> tuple[ArrayCall, Steps]:
        session = self.session
        session.check_usable()
        packed = fn if self.packer is None else self.packer.function(fn)
        function = self.functions.get(packed, style)
        counts = [_count(iterable) for iterable in iterables]
        count = -1 if None in counts else min([n for n in counts if n is not None and n >= 0], default=-1)
        held_whole = None not in counts
        sink: Sink = CallObjects(session.objects) if held_whole else session.objects
        name = function_name(fn)
        call = ArrayCall(session, name, return_exceptions=return_exceptions, timeout_s=timeout)
        if self.packer is not None:
            call.unpack = self.packer.unpack
        return call, call.steps(
            function,
            iter(rows),
            self._writer(style, sink),
            count=count,
            options=self.options,
            progress=Progress(name, count) if progress else None,
        )

    def _writer(self, style: Style, sink: Sink) -> BlockWriter:
        """What pickles the rows of an array, packed by the serializer first."""
        packer = self.packer
        if packer is None:
            return BlockWriter(style, sink)
        return BlockWriter(style, sink, packer.value if style is Style.ONE else packer.row)

    def iterate(
        self,
        what: str,
        fn: Callable[..., Any],
        iterables: Sequence[Iterable[Any]],
        buffersize: int,
        return_exceptions: bool,
        *,
        is_ordered: bool,
        keeps: object,
    ) -> ResultIterator[Any]:
        """An ``imap``, which keeps its client alive."""
        session = self.session
        session.check_usable()
        if buffersize < 1:
            raise ValueError(f"buffersize is {buffersize!r}; it must be at least 1")
        rows, style = _rows_of(what, iterables)
        name = function_name(fn)
        packed = fn if self.packer is None else self.packer.function(fn)
        return ResultIterator(
            session,
            name,
            self.functions.get(packed, style),
            iter(rows),
            self._writer(style, session.objects),
            self.options,
            is_ordered=is_ordered,
            in_thread=any(type(iterable) not in _AT_HAND for iterable in iterables),
            buffer_items=buffersize,
            return_exceptions=return_exceptions,
            unpack=None if self.packer is None else self.packer.unpack,
            keeps=keeps,
        )


def _count(iterable: Iterable[Any]) -> int | None:
    """How many items a container gives, -1 for one that repeats the same item for ever, None for everything else."""
    if type(iterable) is itertools.repeat:
        return operator.length_hint(iterable, -1)
    return len(iterable) if type(iterable) in _SIZED else None  # type: ignore[arg-type]


def _rows_of(what: str, iterables: Sequence[Iterable[Any]]) -> tuple[Iterator[Any], Style]:
    """The rows of a call with these iterables, and how the function takes one."""
    if not iterables:
        raise TypeError(f"{what}() needs a function and at least one iterable")
    iterators = []
    for place, iterable in enumerate(iterables, 2):
        try:
            iterators.append(iter(iterable))
        except TypeError:
            text = f"argument {place} of {what}() is {iterable!r:.100}, which is not iterable (no chunk size is needed)"
            raise TypeError(text) from None
    return (iterators[0], Style.ONE) if len(iterables) == 1 else (zip(*iterators, strict=False), Style.STAR)
