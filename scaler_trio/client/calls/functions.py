"""Functions that were pickled before, and when the pickle may be used again.

Importable callables travel by name, so their pickle is always the same. Another function is pickled by value; the
pickle is reused only while its fingerprint (code, defaults, captured values, referenced globals) is the same and all
of it is immutable. Everything else is pickled at every call, and equal pickles are one function on the wire.
"""

import sys
import threading
import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from scaler_protocol import limits
from scaler_trio.client.core.events import Function
from scaler_trio.serialization import CannotPickle, Style, dump_function, function_name

CALLABLES: Final = 4_096
"""Callables remembered; each entry keeps its callable alive."""

PAYLOADS: Final = 1_024
"""Pickles of callables without a stable fingerprint that are remembered, so that equal ones are sent once."""

PAYLOAD_BYTES: Final = limits.FRAME_BYTES - 64 * limits.KIB
"""A function must fit into one message; what captures more should take it as an argument."""

_NAME_CHARACTERS: Final = limits.NAME_BYTES // 4  # UTF-8 needs up to four bytes for one

_ATOMS: Final = frozenset({int, float, complex, str, bytes, bool, type(None), type(...), types.ModuleType})
_CONTAINERS: Final = frozenset({tuple, frozenset})
_Fingerprint = tuple[Any, ...]
_Entry = tuple[Callable[..., Any], _Fingerprint, Function]


class FunctionCache:
    """From callables to what is sent for them. Thread-safe."""

    def __init__(self) -> None:
        self._by_callable: OrderedDict[tuple[int, Style], _Entry] = OrderedDict()
        self._by_payload: OrderedDict[bytes, Function] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, function: Callable[..., Any], style: Style) -> Function:
        """What to send for ``function``.

        Raises:
            CannotPickle: it cannot be pickled, or captures too much.
            TypeError: it is not callable.
        """
        key = (id(function), style)
        entry = self._by_callable.get(key)
        if entry is not None and entry[0] is function:
            fingerprint = entry[1]
            if not fingerprint or fingerprint == _fingerprint(function):
                return entry[2]
        return self._dump(key, function, style)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._by_callable.clear()
            self._by_payload.clear()

    def _dump(self, key: tuple[int, Style], function: Callable[..., Any], style: Style) -> Function:
        if not callable(function):
            raise TypeError(f"{function!r:.200}, of type {type(function).__qualname__}, is not callable")
        fingerprint = () if _is_importable(function) else _fingerprint(function)
        payload = dump_function(function, style)
        name = function_name(function)
        if len(payload) > PAYLOAD_BYTES:
            raise CannotPickle(
                f"the function {name!r} captures too much: its pickle has {len(payload)} bytes, "
                f"the limit is {PAYLOAD_BYTES}; pass large values as arguments"
            )
        with self._lock:
            found = self._by_payload.pop(payload, None) or Function(name[:_NAME_CHARACTERS], payload)
            self._by_payload[payload] = found
            if len(self._by_payload) > PAYLOADS:
                self._by_payload.popitem(last=False)
            if fingerprint is not None:
                self._by_callable[key] = (function, fingerprint, found)
                self._by_callable.move_to_end(key)
                if len(self._by_callable) > CALLABLES:
                    self._by_callable.popitem(last=False)
        return found


def _is_importable(function: Any) -> bool:
    """Whether it travels by name: a function, class or builtin of a module that workers can import."""
    module_name = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not isinstance(function, types.FunctionType | types.BuiltinFunctionType | type) or not name:
        return False
    if getattr(function, "__self__", None) not in (None, sys.modules.get("builtins")) and not isinstance(
        getattr(function, "__self__", None), types.ModuleType
    ):
        return False  # a method of a builtin object carries that object
    if module_name in (None, "__main__"):
        return False
    found: Any = sys.modules.get(str(module_name))
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is function


def _fingerprint(function: Any) -> _Fingerprint | None:
    """What the pickle of a function depends on, for comparison by identity; None if any of it is mutable."""
    if type(function) is not types.FunctionType:
        return None
    parts: list[Any] = []
    return tuple(parts) if _collect(function, parts, set()) else None


def _collect(function: types.FunctionType, parts: list[Any], seen: set[int]) -> bool:
    if id(function) in seen:
        return True
    seen.add(id(function))
    if function.__dict__ or len(seen) > 16:
        return False
    code = function.__code__
    parts.append(code)
    captured: list[Any] = list(function.__defaults__ or ())
    if function.__kwdefaults__:
        captured += function.__kwdefaults__.values()
    for cell in function.__closure__ or ():
        try:
            captured.append(cell.cell_contents)
        except ValueError:
            return False  # not filled yet
    names = _global_names(code)
    if names:
        scope = function.__globals__
        captured += [scope[name] for name in names if name in scope]
    return not captured or all(_is_stable(value, parts, seen) for value in captured)


def _is_stable(value: Any, parts: list[Any], seen: set[int]) -> bool:
    """Whether ``value`` cannot change without becoming another object; its identity goes to ``parts``."""
    kind = type(value)
    if kind in _ATOMS:
        # A value, not an id: two equal ints are one pickle, and a freed object's id may be given to another.
        parts.append(value if kind is not types.ModuleType else value.__name__)
        parts.append(kind)
        return True
    if kind in _CONTAINERS:
        parts.append(len(value))
        return all(_is_stable(item, parts, seen) for item in value)
    if _is_importable(value):
        parts.append(value)
        return True
    if kind is types.FunctionType:
        parts.append(value)
        return _collect(value, parts, seen)
    return False


def _global_names(code: types.CodeType) -> tuple[str, ...]:
    """Names that the code, or code within it, may look up globally; a few too many do no harm."""
    remembered = _names.get(id(code))
    if remembered is not None and remembered[0] is code:
        return remembered[1]
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(_global_names(constant))
    if len(_names) >= CALLABLES:
        _names.clear()
    _names[id(code)] = (code, tuple(names))
    return tuple(names)


_names: dict[int, tuple[types.CodeType, tuple[str, ...]]] = {}
