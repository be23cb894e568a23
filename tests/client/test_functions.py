"""When a pickled function is used again, and which numbers functions have on the wire."""

from __future__ import annotations

import functools
import os.path
from typing import Any

import pytest

from scaler_protocol.messages import DefineFunction, DropFunctions
from scaler_trio.client.calls.functions import FunctionCache
from scaler_trio.client.core.events import Function
from scaler_trio.client.core.function_table import FunctionTable
from scaler_trio.serialization import CannotPickle, Style, load_function

LIMIT = 10
TABLE = [1, 2]


def plain(x: int) -> int:
    return x + 1


def by_value(function: Any) -> Any:
    """As if it was defined in a script."""
    function.__module__ = "__main__"
    return function


@by_value
def uses_a_constant(x: int) -> int:
    return x + LIMIT


@by_value
def uses_a_list(x: int) -> int:
    return x + sum(TABLE)


@by_value
def calls_another(x: int) -> int:
    return int(uses_a_constant(x)) + len(os.path.join("a", "b"))


def test_an_importable_function_is_one_small_payload_for_ever() -> None:
    cache = FunctionCache()
    first = cache.get(plain, Style.ONE)
    assert cache.get(plain, Style.ONE) is first
    assert cache.get(plain, Style.CALL) is not first
    assert len(first.payload) < 100


@pytest.mark.parametrize("function", [uses_a_constant, calls_another, by_value(lambda x: x), by_value(lambda x=3: x)])
def test_a_function_that_captures_only_what_cannot_change_is_pickled_once(function: Any) -> None:
    cache = FunctionCache()
    assert cache.get(function, Style.ONE) is cache.get(function, Style.ONE)


def test_a_changed_global_is_a_new_function(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FunctionCache()
    for function in (uses_a_constant, calls_another):
        before = cache.get(function, Style.ONE)
        with monkeypatch.context() as patch:
            patch.setitem(globals(), "LIMIT", 20)
            changed = cache.get(function, Style.ONE)
            assert changed is not before
            assert load_function(changed.payload)(1) == load_function(before.payload)(1) + 10


def test_a_captured_list_is_looked_at_every_time() -> None:
    cache = FunctionCache()
    before = cache.get(uses_a_list, Style.ONE)
    assert cache.get(uses_a_list, Style.ONE) is before, "equal pickles are one function"
    TABLE.append(3)
    try:
        assert load_function(cache.get(uses_a_list, Style.ONE).payload)(0) == 6
    finally:
        TABLE.pop()


def test_equal_partials_are_one_function() -> None:
    cache = FunctionCache()
    assert cache.get(functools.partial(plain, 1), Style.CALL) is cache.get(functools.partial(plain, 1), Style.CALL)
    assert cache.get(functools.partial(plain, 1), Style.CALL) is not cache.get(functools.partial(plain, 2), Style.CALL)


def test_a_bound_method_carries_its_object_as_it_is_now() -> None:
    cache = FunctionCache()
    items = [1]
    before = cache.get(items.count, Style.ONE)
    items.append(1)
    assert load_function(cache.get(items.count, Style.ONE).payload)(1) == 2
    assert load_function(before.payload)(1) == 1


def test_a_function_that_captures_too_much_says_so() -> None:
    big = bytes(17 << 20)
    with pytest.raises(CannotPickle, match=r"captures too much.*pass large values as arguments"):
        FunctionCache().get(by_value(lambda: big), Style.CALL)


def test_a_function_is_defined_before_its_first_use_only() -> None:
    table, messages = FunctionTable(), []
    function = Function("f", b"payload")
    assert table.use(function, messages) == table.use(function, messages)
    assert messages == [DefineFunction(0, "f", b"payload")]


def test_a_full_table_drops_what_is_longest_unused_and_never_what_is_used() -> None:
    table, messages = FunctionTable(limit=3), []
    functions = [Function(f"f{i}", b"%d" % i) for i in range(5)]
    for function in functions[:3]:
        table.use(function, messages)
    assert table.use(functions[3], messages) is None
    table.done(functions[1])
    table.done(functions[0])
    messages.clear()
    assert table.use(functions[3], messages) == 3
    assert messages == [DropFunctions((1,)), DefineFunction(3, "f3", b"3")]
    assert not table.has_room(functions[1:2] + functions[4:])
    assert table.has_room(functions[:1])
    assert table.use(functions[0], messages) == 0
    assert table.use(functions[1], messages) is None
    table.check_invariants()


def test_unused_payloads_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaler_trio.client.core.function_table.IDLE_BYTES", 100)
    table, messages = FunctionTable(), []
    for i in range(4):
        function = Function(f"f{i}", bytes(40))
        table.use(function, messages)
        table.done(function)
    table.trim(messages)
    assert [type(message) for message in messages[4:]] == [DropFunctions, DropFunctions]
    table.check_invariants()
