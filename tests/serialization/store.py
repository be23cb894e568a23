"""An object storage in memory, and values that are hard to pickle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scaler_protocol import Buffer


class Gone(Exception):
    """There is no such object."""


class Full(Exception):
    """There is no room."""


class MemoryStore:
    """Sink and source in one: what was written is read back in a copy."""

    def __init__(self) -> None:
        self.objects: dict[bytes, bytes] = {}
        self.values: list[object] = []
        self.reads = 0
        self.is_full = False

    def write(self, parts: Sequence[Buffer], size_bytes: int, value: object) -> bytes:
        if self.is_full:
            raise Full("no room")
        data = b"".join(bytes(part) for part in parts)
        assert len(data) == size_bytes
        object_id = len(self.objects).to_bytes(24, "big")
        self.objects[object_id] = data
        self.values.append(value)
        return object_id

    def read(self, object_id: bytes) -> memoryview:
        self.reads += 1
        if object_id not in self.objects:
            raise Gone(object_id.hex())
        return memoryview(bytearray(self.objects[object_id]))


class Unpicklable:
    """Cannot travel."""

    def __reduce__(self) -> Any:
        raise ZeroDivisionError("never")


class Unloadable:
    """Travels, and cannot be loaded."""

    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> Any:
    raise OSError("not here")


class TwoArguments(Exception):
    """Pickles, but its class wants more than its ``args``."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class HoldsALock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.handler = lambda: (_ for _ in ())
        self.generator = (x for x in ())


class Impostor(Exception):
    """Loads as something that is no exception."""

    def __reduce__(self) -> Any:
        return str, ("ha",)
