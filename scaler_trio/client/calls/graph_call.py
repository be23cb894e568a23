"""One call of ``get``: sends a graph's nodes and gives their results to futures."""

import contextlib
import pickle
from collections.abc import Iterator, Sequence
from typing import Any, Final

from scaler_protocol import limits
from scaler_protocol.fields import Row
from scaler_protocol.messages import Outcome, TaskOptions
from scaler_trio.client.calls.functions import FunctionCache
from scaler_trio.client.calls.future import ScalerFuture, settle
from scaler_trio.client.calls.graph import Call, Plan
from scaler_trio.client.calls.outcomes import load_failure
from scaler_trio.client.core import events as ev
from scaler_trio.client.core.function_table import FUNCTIONS
from scaler_trio.client.core.graph_state import MESSAGE_ROWS
from scaler_trio.client.session.session import Session
from scaler_trio.errors import DependencyFailed, GraphError, ScalerError
from scaler_trio.serialization import PLAIN, CannotPickle, Input, Sink, Style, dump_call

_ONLY_INPUTS: Final = {Input}
_PLAIN_OR_INPUT: Final = PLAIN | {Input}


class GraphCall:
    """The owner of a graph within a session."""

    def __init__(self, session: Session, plan: Plan, keys: Sequence[str]) -> None:
        self._session = session
        self._names: dict[int, str] = {}
        self._failures: dict[int, Row] = {}  # of nodes whose failure was reported
        self._calls = plan.calls
        self._payloads: dict[tuple[int, ...], bytes] = {}  # of nodes that take only results, by their inputs' indices
        self._numbers = {call.name: next(session.numbers) for call in plan.calls}
        self.number = next(session.numbers)
        self._is_cancelled = False
        self.futures: dict[str, ScalerFuture[Any]] = {}
        for key in keys:
            future: ScalerFuture[Any] = ScalerFuture(session, self._numbers.get(key, 0))
            future._name = key
            if key in plan.values:
                future.preset(plan.values[key])
            else:
                future._explain = self._explain
            self.futures[key] = future
        self._targets = {self._numbers[key]: self.futures[key] for key in keys if key in self._numbers}

    def send(self, cache: FunctionCache, sink: Sink, options: TaskOptions) -> None:
        """Pickle and send the nodes, some at a time: the scheduler takes in the first while the next are pickled.

        Raises:
            CannotPickle: a function or an argument; names the node. What was sent is cancelled.
            GraphError: it has too many inputs or functions.
        """
        if not self._targets:
            return
        functions = self._pickle_functions(cache)
        distinct = frozenset(functions.values())
        if len(distinct) > FUNCTIONS:
            raise GraphError(f"the graph has more than {FUNCTIONS} different functions that cannot be imported by name")
        self._names = {number: name for name, number in self._numbers.items()}
        handle, calls = self._session.handle, self._calls
        handle(ev.GraphOpened(self.number, distinct, tuple(self._targets), self))
        try:
            for at in range(0, len(calls), MESSAGE_ROWS):
                if self._is_cancelled:  # perhaps before it was opened, of which nobody could take notice
                    self.cancel()
                    return
                some = calls[at : at + MESSAGE_ROWS]
                nodes = [self._node(call, functions[id(call.function)], sink, options) for call in some]
                handle(ev.NodesAdded(self.number, nodes, at + MESSAGE_ROWS >= len(calls)))
        except BaseException:
            self.cancel()
            raise

    def nodes_done(self, rows: Sequence[Row]) -> None:
        """Called by the link thread."""
        results = []
        for row in rows:
            if row[1] != Outcome.VALUE:
                self._failures[row[0]] = row
            if (future := self._targets.get(row[0])) is not None:
                results.append((future, row))
        settle(results)

    def profiled(self, row: Row) -> None:
        """What a node used; called before it is done."""
        if (future := self._targets.get(row[0])) is not None:
            future.profiled(row)

    def dropped(self, error: ScalerError) -> None:
        """The client gives up on it."""
        for future in self._targets.values():
            future.dropped(error)

    def cancel(self) -> None:
        """Nobody wants it any more; a ``send`` under way in another thread ends soon."""
        self._is_cancelled = True
        self._session.cancel((self.number,))

    @contextlib.contextmanager
    def cancelled_on_error(self) -> Iterator[None]:
        """Around the wait for results: an error ends the graph, and is a node's own one where that is known."""
        try:
            yield
        except DependencyFailed as error:
            self.cancel()
            if error.__cause__ is None:
                raise
            error.__cause__.add_note(f"raised in a graph: {error}")
            raise error.__cause__ from error.__cause__.__cause__
        except (GeneratorExit, RuntimeError):  # perhaps by the garbage collector, when no loop runs: takes no lock
            self._is_cancelled = True
            self._session.cancel_soon(self.number)
            raise
        except BaseException:
            self.cancel()
            raise

    def _pickle_functions(self, cache: FunctionCache) -> dict[int, ev.Function]:
        """By the identity of the callable, as not all can be hashed."""
        functions: dict[int, ev.Function] = {}
        for call in self._calls:
            if id(call.function) not in functions:
                try:
                    functions[id(call.function)] = cache.get(call.function, Style.CALL)
                except CannotPickle as error:
                    raise CannotPickle(f"node {call.name!r}: {error}") from error
        return functions

    def _node(self, call: Call, function: ev.Function, sink: Sink, options: TaskOptions) -> ev.NodeRow:
        inputs = call.inputs
        if len(inputs) > limits.DEPENDENCIES:
            raise GraphError(f"node {call.name!r} has {len(inputs)} inputs, the limit is {limits.DEPENDENCIES}")
        try:
            payload, objects = self._dump(call.arguments, call.keywords, sink)
        except CannotPickle as error:
            raise CannotPickle(f"node {call.name!r}: {error}") from error
        numbers = self._numbers
        return ev.NodeRow(
            numbers[call.name], function, payload, objects, options, tuple([numbers[name] for name in inputs])
        )

    def _dump(
        self, arguments: tuple[Any, ...], keywords: dict[str, Any], sink: Sink
    ) -> tuple[bytes, tuple[bytes, ...]]:
        """What ``dump_call`` makes; far cheaper for nodes that take nothing but results and plain values."""
        if keywords:
            return dump_call(arguments, keywords, sink)
        kinds = set(map(type, arguments))
        if kinds == _ONLY_INPUTS:
            shape = tuple([argument.index for argument in arguments])
            if (payload := self._payloads.get(shape)) is None:
                payload = self._payloads[shape] = dump_call(arguments, {}, sink).payload
            return payload, ()
        if kinds <= _PLAIN_OR_INPUT:
            payload = pickle.dumps((arguments, {}), 5)
            if len(payload) <= limits.INLINE_PAYLOAD_BYTES:
                return payload, ()
        return dump_call(arguments, {}, sink)

    def _explain(self, error: BaseException) -> BaseException:
        """Name the node that failed, with its own error where that came."""
        if not isinstance(error, DependencyFailed) or not str(error).isdecimal():
            return error
        number = int(str(error))
        name = self._names.get(number, f"number {number}")
        row = self._failures.get(number)
        cause = load_failure(row[1], row[2]) if row is not None and row[1] != Outcome.UPSTREAM else None
        explained = DependencyFailed(
            f"node {name!r}, which it needs, failed" + (f": {type(cause).__name__}: {cause}" if cause else "")
        )
        explained.__cause__ = cause
        return explained
