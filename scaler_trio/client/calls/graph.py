"""Graphs of tasks: from what a user writes to nodes in an order in which each follows what it needs. Pure.

A node is ``(callable, *arguments)``, or ``node(callable, *arguments, **keywords)``, or a value. An argument that is a
string names a node; a list of arguments is a list; anything else is itself. A string that names no node is an error, as
it is a misspelt name more often than a text; a text is passed as a node of its own.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from attrs import frozen

from scaler_trio.errors import CannotPickle, GraphError
from scaler_trio.serialization import Input, Packer

_NO_KEYWORDS: Final[dict[str, Any]] = {}
_REPLACED: Final = frozenset({str, list})
_INPUTS: Final = tuple([Input(index) for index in range(32)])  # made once: most nodes have few inputs


@frozen
class Node:
    """A node of a graph whose call has keyword arguments; see ``node``."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]


def node(function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Node:
    """A node of a graph for ``Client.get``, where ``(function, *arguments)`` will not do: with keyword arguments.

    As in a tuple, an argument that is a string names another node, and lists are searched for names.

    Raises:
        TypeError: the function cannot be called.
    """
    if not callable(function):
        raise TypeError(f"a node calls its first argument, which is {function!r:.100}")
    return Node(function, arguments, keywords)


class Call(NamedTuple):
    """A node that is a task: its arguments hold an ``Input`` for each result of another node."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
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
        if type(key) is not str or key not in graph:
            raise GraphError(f"the key {key!r} is not a node of the graph{_did_you_mean(key, graph)}")
        if key in seen:
            raise GraphError(f"the key {key!r} is wanted twice")
        seen.add(key)
    calls: dict[str, Call] = {}
    for key in wanted:
        _visit(graph, key, calls)
    return Plan(tuple(calls.values()), {key: graph[key] for key in wanted if not is_call(graph[key])})


def pack_graph(graph: Mapping[str, Any], packer: Packer) -> dict[str, Any]:
    """The same graph with functions and values as a serializer makes them; names stay.

    Raises:
        CannotPickle: the serializer fails; the text names the node.
    """
    packed: dict[str, Any] = {}
    for name, value in graph.items():
        try:
            if type(value) is Node:
                keywords = {key: _pack(item, packer) for key, item in value.keywords.items()}
                arguments = tuple([_pack(item, packer) for item in value.arguments])
                packed[name] = Node(packer.function(value.function), arguments, keywords)
            elif is_call(value):
                packed[name] = (packer.function(value[0]), *[_pack(item, packer) for item in value[1:]])
            else:
                packed[name] = packer.value(value)
        except CannotPickle as error:
            raise CannotPickle(f"node {name!r}: {error}") from error
    return packed


def _pack(argument: Any, packer: Packer) -> Any:
    if type(argument) is list:
        return [_pack(item, packer) for item in argument]
    return argument if type(argument) is str else packer.value(argument)


def is_call(node: Any) -> bool:
    """Whether a node is a task, not a value."""
    return (type(node) is tuple and bool(node) and callable(node[0])) or type(node) is Node


def _visit(graph: Mapping[str, Any], key: str, calls: dict[str, Call]) -> None:
    """Put ``key`` and what it needs into ``calls``, depth first; not recursive, as graphs are deep."""
    if key in calls or not is_call(graph[key]):
        return
    first = _read(graph, key)
    path = {key: None}  # from the key down to the node that is looked at
    stack = [(first, iter(first.inputs))]
    while stack:
        call, rest = stack[-1]
        for needed in rest:
            if needed in calls:
                continue
            if needed in path:
                names = list(path)
                circle = [*names[names.index(needed) :], needed]
                raise GraphError(f"the graph has a cycle: {' → '.join(map(repr, circle))}")
            below = _read(graph, needed)
            path[needed] = None
            stack.append((below, iter(below.inputs)))
            break
        else:
            stack.pop()
            del path[call.name]
            calls[call.name] = call


def _read(graph: Mapping[str, Any], name: str) -> Call:
    """A node with placeholders in the places of names."""
    node = graph[name]
    inputs: dict[str, int] = {}
    if type(node) is Node:
        keywords = {key: _replace(graph, name, value, inputs, f"[{key}=]") for key, value in node.keywords.items()}
        node = (node.function, *node.arguments)
    else:
        keywords = _NO_KEYWORDS
    arguments = [
        _replace(graph, name, node[place], inputs, f"[{place}]") if type(node[place]) in _REPLACED else node[place]
        for place in range(1, len(node))
    ]
    return Call(name, node[0], tuple(arguments), keywords, tuple(inputs))


def _replace(graph: Mapping[str, Any], name: str, argument: Any, inputs: dict[str, int], place: str) -> Any:
    """What an argument stands for; ``inputs`` collects the nodes that are tasks, and ``place`` is for the error."""
    if type(argument) is list:
        return [_replace(graph, name, item, inputs, f"{place}[{i}]") for i, item in enumerate(argument)]
    if type(argument) is not str:
        return argument
    if argument not in graph:
        raise GraphError(
            f"node {name!r}: its argument {name}{place} names {argument!r}, which is not a node of the graph"
            f"{_did_you_mean(argument, graph)}; to pass a text, make it a node: {{'text': {argument!r}}}"
        )
    node = graph[argument]
    if not is_call(node):
        return node
    index = inputs.setdefault(argument, len(inputs))
    return _INPUTS[index] if index < len(_INPUTS) else Input(index)


def _did_you_mean(name: Any, graph: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, [key for key in graph if type(key) is str], 1) if type(name) is str else []
    return f" (did you mean {close[0]!r}?)" if close else ""
