"""Messages to frames and back: one strict cattrs converter, one boundary where every failure becomes a protocol error.

Strict: int, str, bytes, bool and float are checked, never coerced (a float field takes an int), down to the last cell
of the last row. A missing trailing field takes its default, an unknown trailing one is ignored.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final

import attrs
import cattrs
import msgpack

from scaler_protocol import fields, messages
from scaler_protocol.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from scaler_protocol.fields import KIND_ATTRIBUTE, Message, kind_of
from scaler_protocol.frames import Buffer, Frame, encode_frame
from scaler_protocol.messages import DEFAULT_OPTIONS, TaskOptions
from scaler_protocol.strict import Check, Invalid, check_bounds_of, check_of, largest_array

# What msgpack, the checks and a constructor that lacks an argument can raise.
_FAILURES: Final = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    RecursionError,
    cattrs.BaseValidationError,
)


def _body_fields(cls: type) -> list["attrs.Attribute[Any]"]:
    return [a for a in attrs.fields(cls) if fields.SEGMENT not in a.metadata]


def _structure_array(cls: type, converter: cattrs.Converter) -> Callable[[Any], dict[str, Any]]:
    """Check an array in field order; the arguments for ``cls``, without its segments."""
    plan: list[tuple[str, Check]] = [(a.name, check_of(a, converter)) for a in _body_fields(cls)]

    def structure(value: Any) -> dict[str, Any]:
        if type(value) is not tuple:
            raise Invalid(f"expected an array, got {type(value).__name__}")
        built = {}
        name = ""
        try:
            for element, (name, check) in zip(value, plan, strict=False):
                built[name] = check(element)
        except Invalid as error:
            raise Invalid(f"{name}: {error}") from None
        return built

    return structure


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    build = _structure_array(TaskOptions, converter)
    converter.register_structure_hook(
        TaskOptions, lambda value, _: DEFAULT_OPTIONS if value == () else TaskOptions(**build(value))
    )
    return converter


_CONVERTER: Final = _make_converter()

MESSAGE_CLASSES: Final[dict[int, type]] = {
    kind_of(cls): cls for _, cls in inspect.getmembers(messages, inspect.isclass) if KIND_ATTRIBUTE in cls.__dict__
}
"""Every message class by its kind."""


class _Layout:
    """What the codec knows of one message class."""

    def __init__(self, cls: type) -> None:
        body = [a.name for a in _body_fields(cls)]
        self.cls = cls
        self.segments = tuple(a.name for a in attrs.fields(cls) if fields.SEGMENT in a.metadata)
        self.structure = _structure_array(cls, _CONVERTER)
        self.unpack = partial(
            msgpack.unpackb,
            use_list=False,
            raw=False,
            strict_map_key=True,
            max_ext_len=0,
            max_map_len=0,
            max_array_len=largest_array(cls),
        )
        self.body = _values_of(body)
        self.pack = [(i, pack) for i, a in enumerate(_body_fields(cls)) if (pack := _packer_of(a)) is not None]


def _values_of(names: list[str]) -> Callable[[Any], list[Any]]:
    if len(names) == 1:
        single = attrgetter(names[0])
        return lambda message: [single(message)]
    several = attrgetter(*names)
    return lambda message: list(several(message))


def _packer_of(attribute: "attrs.Attribute[Any]") -> Check | None:
    """What to do with a field's value before msgpack gets it: refuse it if over a bound, flatten options."""
    if attribute.type is TaskOptions:
        return _pack_options
    check = check_bounds_of(attribute)
    if attribute.type == tuple[TaskOptions, ...]:
        assert check is not None
        return lambda value: [_pack_options(options) for options in check(value)]
    return check


_OPTION_FIELDS: Final = [(a.name, _packer_of(a)) for a in attrs.fields(TaskOptions)]


def _pack_options(options: TaskOptions) -> Sequence[Any]:
    """The default ones as an empty array."""
    if options is DEFAULT_OPTIONS or options == DEFAULT_OPTIONS:
        return ()
    return [check(getattr(options, name)) if check else getattr(options, name) for name, check in _OPTION_FIELDS]


def check_options(options: TaskOptions) -> TaskOptions:
    """The same options, each held to what a peer accepts.

    Raises:
        Invalid: one is of a wrong type or out of its bounds; the text names it.
    """
    checked: TaskOptions = _CONVERTER.get_structure_hook(TaskOptions)(
        attrs.astuple(options, recurse=False), TaskOptions
    )
    return checked


class _Layouts(dict[int, _Layout]):
    """Layouts by kind, each made when it is first needed: no process sends and receives all kinds.

    Raises ``KeyError`` for a kind that does not exist.
    """

    def __missing__(self, kind: int) -> _Layout:
        layout = self[kind] = _Layout(MESSAGE_CLASSES[kind])
        return layout


_LAYOUTS: Final = _Layouts()


def encode(message: Message) -> list[Buffer]:
    """The buffers of the frame that carries ``message``; segments are not copied.

    The cells of rows are the caller's duty (a peer refuses wrong ones); everything else is held to its bounds.

    Raises:
        LocalProtocolError: it is over a limit, or holds what cannot be sent.
    """
    kind = kind_of(message)
    layout = _LAYOUTS[kind]
    try:
        values = layout.body(message)
        for i, pack in layout.pack:
            values[i] = pack(values[i])
        body = msgpack.packb(values)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise LocalProtocolError(ErrorCode.BAD_BODY, f"cannot encode {type(message).__name__}: {error}") from error
    return encode_frame(kind, body, [getattr(message, name) for name in layout.segments])


def decode(frame: Frame) -> Message:
    """The message in ``frame``.

    Raises:
        RemoteProtocolError: and nothing else, whatever the bytes are.
    """
    try:
        layout = _LAYOUTS[frame.kind]
    except KeyError:
        raise RemoteProtocolError(ErrorCode.UNKNOWN_KIND, f"message kind {frame.kind} is unknown") from None
    try:
        built = layout.structure(layout.unpack(frame.body))
        if layout.segments:
            if len(frame.segments) < len(layout.segments):
                raise Invalid(f"{len(frame.segments)} segments, expected {len(layout.segments)}")
            built.update(zip(layout.segments, frame.segments, strict=False))
        return layout.cls(**built)
    except msgpack.ExtraData:  # its text quotes the whole body
        raise RemoteProtocolError(ErrorCode.BAD_BODY, f"bad {layout.cls.__name__}: bytes after the body") from None
    except _FAILURES as error:
        raise RemoteProtocolError(ErrorCode.BAD_BODY, f"bad {layout.cls.__name__}: {error}") from error
