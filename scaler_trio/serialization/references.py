"""Placeholders inside arguments, and the context in which they are dumped and resolved.

They reduce to a call of a module-level function that looks into the context of the running thread: pickle's own
``persistent_id`` would cost a Python call for every object in every argument.
"""

import pickle
import threading
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from attrs import frozen

from scaler_protocol import Buffer
from scaler_trio.config.display import amount, table
from scaler_trio.serialization.objects import load_object

T_co = TypeVar("T_co", covariant=True)  # a reference to an int is one to an object


class Sink(Protocol):
    """Where large values are written while something is dumped."""

    def write(self, parts: Sequence[Buffer], size_bytes: int, value: object) -> bytes:
        """Store an object made of ``parts``, the pickle of ``value``; its id.

        A sink that knows that it has stored this very value may answer with the object that it has.
        """
        ...


class Source(Protocol):
    """Where stored objects are read while something is loaded."""

    def read(self, object_id: bytes) -> memoryview:
        """The whole object, writable without anybody else seeing it."""
        ...


class Load:
    """What the placeholders in one payload resolve to while it is loaded."""

    __slots__ = ("failure", "inputs", "resolved", "source")

    def __init__(self, source: Source | None, inputs: Sequence[Buffer]) -> None:
        self.source = source
        self.inputs = inputs
        self.resolved: dict[bytes, Any] | None = None  # one mapping per object per load
        self.failure: BaseException | None = None  # raised by the source, not by the value's own unpickling


class _Context(threading.local):
    """What the dump or load that this thread is in refers to."""

    def __init__(self) -> None:
        self.named: list[bytes] | None = None  # ids named by the running dump; None = no dump is running
        self.keep_references = False  # whether references stay references (results) or become values (arguments)
        self.load: Load | None = None


context = _Context()


@frozen(repr=False)
class ObjectReference(Generic[T_co]):
    """A value that was sent once (``client.send_object``) and may be used as, or inside, any argument.

    A task receives the value itself, in a copy of its own.
    """

    object_id: bytes
    size_bytes: int
    name: str | None = None

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name is not None else ""
        return f"<ObjectReference{name} to {amount(self.size_bytes)}, {self.object_id.hex()}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        rows = {"name": self.name, "size": amount(self.size_bytes), "object": self.object_id.hex()}
        return table("ObjectReference", rows)

    def __reduce__(self) -> tuple[Any, ...]:
        if context.named is not None:
            context.named.append(self.object_id)
            if not context.keep_references:
                return _stored, (self.object_id,)
        return ObjectReference, (self.object_id, self.size_bytes, self.name)


@frozen
class Stored:
    """An argument that was too large for its row: loads as its value."""

    object_id: bytes

    def __reduce__(self) -> tuple[Any, ...]:
        if context.named is not None:
            context.named.append(self.object_id)
        return _stored, (self.object_id,)


@frozen
class Input:
    """The result of another node of the graph: loads as the value of the task's ``index``-th input."""

    index: int

    def __reduce__(self) -> tuple[Any, ...]:
        return _input, (self.index,)


def _stored(object_id: bytes) -> Any:
    load = context.load
    if load is None or load.source is None:
        raise RuntimeError("a payload that names a stored object was unpickled outside a task or client")
    if load.resolved is None:
        load.resolved = {}
    elif object_id in load.resolved:
        return load.resolved[object_id]
    try:
        stored = load.source.read(object_id)
    except Exception as error:
        load.failure = error
        raise
    value = load.resolved[object_id] = load_object(stored)
    return value


def _input(index: int) -> Any:
    load = context.load
    if load is None:
        raise RuntimeError("a graph node's payload was unpickled outside a task")
    return pickle.loads(load.inputs[index])
