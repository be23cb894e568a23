"""The layout of a stored object: the pickle of one value, and behind it the buffers that the pickle leaves out."""

import pickle
import struct
from collections.abc import Sequence
from typing import Any, Final

from scaler_protocol import Buffer

ALIGNMENT: Final = 64
"""Of every buffer, from the object's beginning: what vector instructions like."""

_HEAD: Final = struct.Struct("<II")


def object_parts(data: bytes, buffers: Sequence[memoryview]) -> tuple[list[Buffer], int]:
    """The parts of a stored object and their size together: head, sizes, pickle, then each buffer aligned."""
    head = _HEAD.pack(len(buffers), len(data)) + struct.pack(f"<{len(buffers)}Q", *[b.nbytes for b in buffers])
    parts: list[Buffer] = [head, data]
    size = len(head) + len(data)
    for buffer in buffers:
        padding = -size % ALIGNMENT
        if padding:
            parts.append(bytes(padding))
        parts.append(buffer)
        size += padding + buffer.nbytes
    return parts, size


def load_object(view: memoryview) -> Any:
    """The value in a stored object; its arrays are views of ``view``."""
    count, size = _HEAD.unpack_from(view)
    sizes = struct.unpack_from(f"<{count}Q", view, _HEAD.size)
    at = _HEAD.size + 8 * count
    data = view[at : at + size]
    at += size
    buffers = []
    for buffer_size in sizes:
        at += -at % ALIGNMENT
        buffers.append(view[at : at + buffer_size])
        at += buffer_size
    return pickle.loads(data, buffers=buffers)
