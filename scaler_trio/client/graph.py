"""Graphs of tasks: from what a user writes to nodes in an order in which each follows what it needs. Pure.

A node is ``(callable, *arguments)`` or a value. An argument that is a string names a node; a list of arguments is a list;
anything else is itself. A string that names no node is an error, as it is a misspelt name more often than a text; a text
is passed as a node of its own.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import define, field, frozen

from scaler_trio.errors import GraphError
from scaler_trio.serialization import Input


@frozen
class Call:
    """A node that is a task: its arguments hold an ``Input`` for each result of another node."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    inputs: tuple[str, ...]  # names of the nodes that the placeholders stand for


@frozen
class Plan:
    """What is needed of a graph for the keys that are wanted."""

    calls: tuple[Call, ...]  # each after those that it needs
    values: Mapping[str, Any]  # wanted keys that need no task


def plan(graph: Mapping[str, Any], keys: Iterable[str]) -> Plan:
    """Check the graph, and leave out what no key needs.

    Raises:
        GraphError: a name that is no node, a key named twice, a cycle; the text shows the way to it.
    """
    wanted = list(keys)
    seen: set[str] = set()
    for key in wanted:
        if key in seen:
            raise GraphError(f"the key {key!r} is wanted twice")
        seen.add(key)
        if not _is_in(graph, key):
            raise GraphError(f"the key {key!r} is not a node of the graph{_did_you_mean(key, graph)}")
    calls: dict[str, Call] = {}
    for key in wanted:
        _visit(graph, key, calls)
    return Plan(tuple(calls.values()), {key: graph[key] for key in wanted if not is_call(graph[key])})


def is_call(node: Any) -> bool:
    """Whether a node is a task, not a value."""
    return type(node) is tuple and bool(node) and callable(node[0])


def _visit(graph: Mapping[str, Any], key: str, calls: dict[str, Call]) -> None:
    """Put ``key`` and what it needs into ``calls``, depth first; not recursive, as graphs are deep."""
    if key in calls or not is_call(graph[key]):
        return
    first = _read(graph, key)
    path = {key: iter(first.inputs)}
    open_calls = {key: first}
    while path:
        name = next(reversed(path))
        needed = next(path[name], None)
        if needed is None:
            calls[name] = open_calls.pop(name)
            del path[name]
        elif needed in path:
            names = list(path)
            circle = [*names[names.index(needed) :], needed]
            raise GraphError(f"the graph has a cycle: {' → '.join(map(repr, circle))}")
        elif needed not in calls:
            open_calls[needed] = _read(graph, needed)
            path[needed] = iter(open_calls[needed].inputs)


def _read(graph: Mapping[str, Any], name: str) -> Call:
    function, *arguments = graph[name]
    reader = _Arguments(graph, name)
    return Call(
        name,
        function,
        tuple([reader.replace(argument, (i,)) for i, argument in enumerate(arguments, 1)]),
        tuple(reader.inputs),
    )


@define
class _Arguments:
    """Replaces names in the arguments of one node."""

    graph: Mapping[str, Any]
    name: str
    inputs: dict[str, int] = field(factory=dict)

    def replace(self, argument: Any, place: tuple[int, ...]) -> Any:
        if type(argument) is list:
            return [self.replace(item, (*place, i)) for i, item in enumerate(argument)]
        if type(argument) is not str:
            return argument
        if argument not in self.graph:
            where = "".join([f"[{i}]" for i in place])
            raise GraphError(
                f"node {self.name!r}: its argument {self.name}{where} names {argument!r}, which is not a node of the "
                f"graph{_did_you_mean(argument, self.graph)}; to pass a text, make it a node: {{'text': {argument!r}}}"
            )
        node = self.graph[argument]
        if not is_call(node):
            return node
        return Input(self.inputs.setdefault(argument, len(self.inputs)))


def _is_in(graph: Mapping[str, Any], key: Any) -> bool:
    try:
        return key in graph
    except TypeError:  # not hashable: a nested list of keys, say
        return False


def _did_you_mean(name: Any, graph: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, [key for key in graph if type(key) is str], 1) if type(name) is str else []
    return f" (did you mean {close[0]!r}?)" if close else ""
