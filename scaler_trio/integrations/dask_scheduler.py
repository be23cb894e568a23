"""Dask graphs on a client: ``dask.compute(..., scheduler=client.dask_get)``.

A Dask graph maps keys to nodes: a task that says which keys it needs, a value, or another name for a key. It becomes
one graph of ``Client.get``, in which each task is a call of ``run_node`` with the results that it needs. Dask is
imported when a graph comes, not before.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from scaler_trio.client import Client
from scaler_trio.errors import GraphError

_Key = Hashable  # a text, a number, or a tuple of them


def get(client: Client, dsk: Any, keys: Any) -> Any:
    """The values of ``keys``, which are one key, or a list of keys and such lists; a list becomes a tuple.

    Raises:
        GraphError: a key that is needed is not in the graph, or the graph has a cycle.
        Exception: what a task raised.
    """
    graph, names = translate(dsk)
    wanted = dict.fromkeys(_flatten(keys))
    if missing := [key for key in wanted if key not in names]:
        raise GraphError(f"the key {missing[0]!r} is not in the Dask graph")
    values = client.get(graph, list(dict.fromkeys([names[key] for key in wanted])))
    return _arrange(keys, {key: values[names[key]] for key in wanted})


def translate(dsk: Any) -> tuple[dict[str, Any], dict[_Key, str]]:
    """A Dask graph as one of ``Client.get``, and the name in it of each of its keys.

    Raises:
        GraphError: a node needs a key that there is not, or is another name for itself.
    """
    from dask._task_spec import Alias, DataNode, convert_legacy_graph
    from dask.utils import ensure_dict

    nodes = convert_legacy_graph(ensure_dict(dsk.__dask_graph__() if hasattr(dsk, "__dask_graph__") else dsk))
    aliases = {key: next(iter(node.dependencies)) for key, node in nodes.items() if isinstance(node, Alias)}
    names = _names([key for key in nodes if key not in aliases])
    for alias in aliases:
        names[alias] = names[_resolve(alias, aliases, nodes)]
    graph: dict[str, Any] = {}
    for key, node in nodes.items():
        if isinstance(node, DataNode):
            graph[names[key]] = _value(node.value)
        elif key not in aliases:
            needed = tuple(node.dependencies)
            for other in needed:
                if other not in names:
                    raise GraphError(f"the node {key!r} needs {other!r}, which is not in the Dask graph")
            graph[names[key]] = (run_node, node, needed, *[names[other] for other in needed])
    return graph, names


def run_node(node: Any, keys: tuple[_Key, ...], /, *values: Any) -> Any:
    """Run one task of a Dask graph, on a worker."""
    return node(dict(zip(keys, values, strict=True)))


def _names(keys: list[_Key]) -> dict[_Key, str]:
    """Names that errors can show: a text is its own, and 1 and "1" are two keys."""
    names = {key: key if type(key) is str else repr(key) for key in keys}
    if len(set(names.values())) == len(names):
        return names
    return {key: f"{key!r} (node {number})" for number, key in enumerate(keys)}


def _resolve(alias: _Key, aliases: Mapping[_Key, _Key], nodes: Mapping[_Key, Any]) -> _Key:
    """The key that an alias stands for in the end."""
    key, seen = alias, {alias}
    while key in aliases:
        key = aliases[key]
        if key in seen:
            raise GraphError(f"the node {alias!r} is another name for itself")
        seen.add(key)
    if key not in nodes:
        raise GraphError(f"the node {alias!r} stands for {key!r}, which is not in the Dask graph")
    return key


def _value(value: Any) -> Any:
    """A node of ``Client.get`` that is this value, and is not taken for a call."""
    return (_only, (value,)) if type(value) is tuple and value and callable(value[0]) else value


def _only(values: tuple[Any]) -> Any:
    return values[0]


def _flatten(keys: Any) -> Iterator[_Key]:
    if isinstance(keys, list):
        for inner in keys:
            yield from _flatten(inner)
    else:
        yield keys


def _arrange(keys: Any, values: Mapping[_Key, Any]) -> Any:
    if isinstance(keys, list):
        inner: Iterable[Any] = keys
        return tuple([_arrange(key, values) for key in inner])
    return values[keys]
