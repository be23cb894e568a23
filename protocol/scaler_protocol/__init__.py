"""The wire protocol of scaler-trio, without IO: frames, handshake, messages. ``../README.md`` is the specification."""

from scaler_protocol.codec import MESSAGE_CLASSES, check_options, decode, encode
from scaler_protocol.connection import Connection, Identity, Timing
from scaler_protocol.errors import ErrorCode, LocalProtocolError, ProtocolError, RemoteProtocolError
from scaler_protocol.fields import Message
from scaler_protocol.frames import Buffer, Frame, FrameDecoder
from scaler_protocol.handshake import Side, State
from scaler_protocol.messages import Role

__all__ = [
    "MESSAGE_CLASSES",
    "Buffer",
    "Connection",
    "ErrorCode",
    "Frame",
    "FrameDecoder",
    "Identity",
    "LocalProtocolError",
    "Message",
    "ProtocolError",
    "RemoteProtocolError",
    "Role",
    "Side",
    "State",
    "Timing",
    "check_options",
    "decode",
    "encode",
]
