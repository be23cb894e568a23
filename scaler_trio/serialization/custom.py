"""A user's own serializer: functions, arguments and results travel as its bytes, packed into what is pickled anyway.

Exceptions are pickled as always, so that a failure never depends on the serializer.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from scaler_trio.errors import CannotPickle, CannotUnpickle
from scaler_trio.serialization.functions import function_name
from scaler_trio.serialization.references import ObjectReference, context


class Serializer(Protocol):
    """Turns values into bytes and back. It is pickled itself, once for each function, to be had on the workers."""

    def serialize(self, obj: Any) -> bytes:
        """The bytes of a function, an argument or a result."""
        ...

    def deserialize(self, payload: bytes) -> Any:
        """The inverse."""
        ...


class Packed:
    """A value as a serializer's bytes."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __reduce__(self) -> tuple[Any, ...]:
        return Packed, (self.payload,)


class PackedCall:
    """Runs a function on a worker: arguments are unpacked, the result is packed."""

    def __init__(self, serializer: Serializer, payload: bytes, name: str) -> None:
        self._serializer = serializer
        self._payload = payload
        self._function: Callable[..., Any] | None = None
        self.__qualname__ = self.__name__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> Packed:
        if self._function is None:
            self._function = self._serializer.deserialize(self._payload)
        unpacked = {name: self._unpack(value) for name, value in kwargs.items()}
        return Packed(self._serializer.serialize(self._function(*map(self._unpack, args), **unpacked)))

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedCall, (self._serializer, self._payload, self.__name__)

    def _unpack(self, value: Any) -> Any:
        if type(value) is list:  # a node's inputs
            return [self._unpack(item) for item in value]
        return self._serializer.deserialize(value.payload) if type(value) is Packed else value


class Packer:
    """The client's side of a serializer."""

    def __init__(self, serializer: Serializer) -> None:
        self.serializer = serializer

    def function(self, function: Callable[..., Any]) -> PackedCall:
        """A function that takes and gives packed values.

        Raises:
            CannotPickle: the serializer fails.
            TypeError: it is not callable.
        """
        if not callable(function):
            raise TypeError(f"{function!r:.200}, of type {type(function).__qualname__}, is not callable")
        name = function_name(function)
        return PackedCall(self.serializer, self._serialize(function, f"the function {name}"), name)

    def value(self, value: Any) -> Any:
        """An argument; a reference stands for a packed value already.

        Raises:
            CannotPickle: the serializer fails.
        """
        if type(value) is ObjectReference or type(value) is Packed:
            return value
        return Packed(self._serialize(value, f"a value of type {type(value).__qualname__}"))

    def row(self, row: Any) -> tuple[Any, ...]:
        """The arguments of one call."""
        return tuple([self.value(value) for value in row])

    def keywords(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments of one call."""
        return {name: self.value(value) for name, value in keywords.items()}

    def unpack(self, value: Any) -> Any:
        """A result.

        Raises:
            CannotUnpickle: the serializer fails.
        """
        if type(value) is not Packed:
            return value
        try:
            return self.serializer.deserialize(value.payload)
        except Exception as error:
            raise CannotUnpickle(
                f"the serializer {_name(self.serializer)} cannot load a result here: {type(error).__name__}: {error}"
            ) from error

    def _serialize(self, value: Any, what: str) -> bytes:
        outer, context.named = context.named, []
        try:
            payload = self.serializer.serialize(value)
            named = context.named
        except Exception as error:
            raise CannotPickle(
                f"the serializer {_name(self.serializer)} cannot take {what}: {type(error).__name__}: {error}"
            ) from error
        finally:
            context.named = outer
        if named:
            # Nobody would see it within these bytes: the object could be deleted before the task runs.
            raise CannotPickle(
                f"{what} has an object reference inside, which the serializer {_name(self.serializer)} hides: "
                f"pass the reference as an argument of its own, or use a client without serializer"
            )
        if not isinstance(payload, bytes):
            raise CannotPickle(f"the serializer {_name(self.serializer)} gives {type(payload).__name__}, not bytes")
        return payload


def _name(serializer: Any) -> str:
    return serializer.__qualname__ if isinstance(serializer, type) else type(serializer).__qualname__
