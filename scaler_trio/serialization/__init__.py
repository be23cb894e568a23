"""Values to bytes and back: functions, rows, results, errors. Only clients and processors import this package."""

from scaler_trio.errors import (
    CannotPickle,
    CannotUnpickle,
    RemoteError,
    RemoteTraceback,
    SerializationError,
)
from scaler_trio.serialization.custom import Packer, Serializer
from scaler_trio.serialization.functions import (
    Style,
    dump_classes,
    dump_function,
    function_name,
    load_classes,
    load_function,
)
from scaler_trio.serialization.objects import load_object
from scaler_trio.serialization.pickling import PLAIN, Dumped, write_object
from scaler_trio.serialization.references import Input, ObjectReference, Sink, Source, Stored
from scaler_trio.serialization.results import dump_error, dump_result, load_error, load_result
from scaler_trio.serialization.rows import Block, BlockWriter, dump_call, dump_row, load_page, load_row

__all__ = [
    "PLAIN",
    "Block",
    "BlockWriter",
    "CannotPickle",
    "CannotUnpickle",
    "Dumped",
    "Input",
    "ObjectReference",
    "Packer",
    "RemoteError",
    "RemoteTraceback",
    "SerializationError",
    "Serializer",
    "Sink",
    "Source",
    "Stored",
    "Style",
    "dump_call",
    "dump_classes",
    "dump_error",
    "dump_function",
    "dump_result",
    "dump_row",
    "function_name",
    "load_classes",
    "load_error",
    "load_function",
    "load_object",
    "load_page",
    "load_result",
    "load_row",
    "write_object",
]
