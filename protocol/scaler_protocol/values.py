"""Frozen values that are quick to define: attrs compiles several methods for each class, here all share three of them.

Every process defines sixty messages and as many events before it does anything else; this halves what that takes. It
is for values that are compared and shown nowhere but in tests and logs: the shared methods are several times slower.
"""

from typing import TYPE_CHECKING, Any, TypeVar

import attrs

_C = TypeVar("_C", bound=type)

if TYPE_CHECKING:
    from attrs import frozen as frozen
else:

    def frozen(cls: _C) -> _C:
        """``attrs.frozen``, without the generated ``__eq__``, ``__hash__`` and ``__repr__``."""
        cls.__eq__, cls.__hash__, cls.__repr__ = _equal, _hash, _show
        return attrs.frozen(eq=False, repr=False)(cls)


def _compared(value: Any) -> list[Any]:
    found = [(getattr(value, a.name), a.eq_key) for a in attrs.fields(type(value)) if a.eq]
    return [content if key is None else key(content) for content, key in found]


def _equal(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return _compared(self) == _compared(other)


def _hash(self: Any) -> int:
    return hash((type(self), *_compared(self)))


def _show(self: Any) -> str:
    parts = []
    for a in attrs.fields(type(self)):
        if a.repr:
            show = repr if a.repr is True else a.repr
            parts.append(f"{a.name}={show(getattr(self, a.name))}")
    return f"{type(self).__qualname__}({', '.join(parts)})"
