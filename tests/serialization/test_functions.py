"""Functions as payloads: the style says how a row becomes a call."""

from __future__ import annotations

import functools
import pickle
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scaler_trio.serialization import CannotPickle, CannotUnpickle, Style, dump_function, function_name, load_function
from tests.serialization.store import Unloadable


def described(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return args, kwargs


def test_the_style_says_how_a_row_becomes_a_call() -> None:
    assert load_function(dump_function(described, Style.CALL))(((1, 2), {"x": 3})) == ((1, 2), {"x": 3})
    assert load_function(dump_function(described, Style.ONE))((1, 2)) == (((1, 2),), {})
    assert load_function(dump_function(described, Style.STAR))((1, 2)) == ((1, 2), {})


def test_an_importable_function_travels_by_name() -> None:
    assert len(dump_function(described, Style.ONE)) < 100
    assert load_function(dump_function(max, Style.ONE)) is max


def test_lambdas_closures_and_partials_travel() -> None:
    offset = 5
    functions: list[Callable[[int], int]] = [lambda x: x + offset, functools.partial(pow, 2)]
    assert [load_function(dump_function(f, Style.ONE))(3) for f in functions] == [8, 8]


def test_a_class_from_main_travels_by_value(main_module: types.ModuleType) -> None:
    code = "class Point:\n    def __init__(self, x): self.x = x\ndef make(x): return Point(x).x"
    exec(compile(code, "<main>", "exec"), main_module.__dict__)
    payload = dump_function(main_module.make, Style.ONE)
    del main_module.make, main_module.Point
    assert load_function(payload)(7) == 7


@pytest.fixture
def main_module(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def test_what_a_function_captures_and_cannot_travel_is_named() -> None:
    lock = threading.Lock()
    with pytest.raises(CannotPickle, match=r"the function '.*<lambda>' cannot be pickled: TypeError: .*lock"):
        dump_function(lambda: lock, Style.CALL)


def test_a_missing_module_is_named_with_the_remedy() -> None:
    payload = bytes((Style.ONE,)) + pickle.dumps(described).replace(b"tests.serialization", b"tests.serializatioX")
    with pytest.raises(CannotUnpickle, match=r"the function cannot .* module '.*' is missing .*: install it"):
        load_function(payload)


def test_a_function_that_does_not_load_says_why() -> None:
    thing = Unloadable()
    with pytest.raises(CannotUnpickle, match="the function cannot be unpickled here: OSError: not here"):
        load_function(dump_function(functools.partial(described, thing), Style.ONE))
    with pytest.raises(CannotUnpickle, match="99 is not a valid Style"):
        load_function(bytes((99,)) + pickle.dumps(described))


def test_everything_callable_has_a_name() -> None:
    class Callable_:
        def __call__(self) -> None: ...

    assert function_name(described) == "described"
    assert function_name(max) == "max"
    assert function_name(functools.partial(functools.partial(described))) == "described"
    assert function_name(Callable_()).endswith("Callable_")
