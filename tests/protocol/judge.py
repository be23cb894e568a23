"""Frames with chosen bodies, and what the codec makes of them."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from scaler_protocol import (
    ErrorCode,
    Frame,
    Message,
    RemoteProtocolError,
    decode,
    fields,
)
from tests.protocol import examples


def with_body(cls: type, body: Any, segments: tuple[bytes, ...] = (b"", b"")) -> Frame:
    return Frame(fields.kind_of(cls), 0, body if isinstance(body, bytes) else msgpack.packb(body), segments)


def refused(frame: Frame, code: ErrorCode = ErrorCode.BAD_BODY) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(frame)
    assert caught.value.code is code
    return caught.value.message


def body_of(message: Message) -> list[Any]:
    return list(msgpack.unpackb(examples.frame(message).body, use_list=False))


def outcome(frame: Frame) -> type | None:
    """The class of a message, or None for a protocol error of readable length; anything else fails the test."""
    try:
        return type(decode(frame))
    except RemoteProtocolError as error:
        text = error.message
    assert len(text) < 2000
    return None
