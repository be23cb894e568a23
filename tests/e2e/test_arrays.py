"""``map`` and ``starmap`` through real processes: order, exceptions in their places, every kind of iterable."""

from __future__ import annotations

import functools
import io
import itertools
import operator
from collections.abc import Iterator
from typing import Any

import pytest

from scaler_trio import CannotPickle, Client


def identity(value: Any) -> Any:
    return value


def fail_on_thousands(value: int) -> int:
    if value % 1000 == 0:
        raise ValueError(f"item {value}")
    return value


def describe(*args: Any, **kwargs: Any) -> str:
    return f"{args} {kwargs}"


def scale(value: int, *, factor: int) -> int:
    return value * factor


class Account:
    def __init__(self, balance: int) -> None:
        self.balance = balance

    def plus(self, amount: int) -> int:
        return self.balance + amount

    @classmethod
    def named(cls, name: str) -> str:
        return f"{cls.__name__} {name}"


def test_200_000_items_keep_their_results_and_exceptions_in_place(client: Client) -> None:
    results = client.map(fail_on_thousands, range(200_000), return_exceptions=True)
    assert len(results) == 200_000
    for index, result in enumerate(results):
        if index % 1000:
            assert result == index
        else:
            assert type(result) is ValueError, (index, result)
            assert result.args == (f"item {index}",)


def large_in_the_middle(row: int) -> bytes | None:
    return bytes(14_000) if 71_000 <= row < 87_000 else None


def test_results_that_grow_a_thousandfold_within_a_slice_do_not_stop_the_map(client: Client) -> None:
    """More than a worker keeps unsettled, in a slice that is settled as a whole."""
    results = client.map(large_in_the_middle, range(140_000))
    assert [row for row, result in enumerate(results) if result is not None] == list(range(71_000, 87_000))


def test_a_failing_map_raises_the_lowest_failed_item_and_says_how_many_others(client: Client) -> None:
    with pytest.raises(ValueError, match="item 0") as caught:
        client.map(fail_on_thousands, range(5_000))
    (note,) = caught.value.__notes__
    assert note.startswith("item 0 of a map of fail_on_thousands: ")
    assert "fail_on_thousands" in str(caught.value.__cause__)  # the remote traceback


def test_a_map_after_a_failed_one_is_not_disturbed(client: Client) -> None:
    """An interrupt that hit an item between its result's bytes and its commit once shifted every later result."""
    for turn in range(20):
        with pytest.raises(ValueError, match="item "):
            client.map(fail_on_thousands, range(turn % 2, 5_000 + 10_000 * (turn % 2)))
        assert client.map(identity, range(1000)) == list(range(1000)), turn


@pytest.mark.parametrize("kind", [list, tuple, iter, set, lambda items: dict.fromkeys(items)])
def test_an_empty_iterable_gives_an_empty_list(client: Client, kind: Any) -> None:
    assert client.map(identity, kind([])) == []
    assert client.starmap(identity, kind([])) == []


def test_a_generator_is_consumed_in_order_and_need_not_say_its_length(client: Client) -> None:
    seen: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            seen.append(number)
            yield number

    assert client.map(identity, items()) == list(range(10_000))
    assert seen == list(range(10_000))


def test_an_exception_of_the_generator_itself_is_raised_unchanged(client: Client) -> None:
    def items() -> Iterator[int]:
        yield from range(100)
        raise LookupError("the source dried up")

    with pytest.raises(LookupError, match="the source dried up"):
        client.map(identity, items())
    assert client.map(identity, range(10)) == list(range(10))


def test_several_iterables_end_with_the_shortest(client: Client) -> None:
    assert client.map(operator.add, range(10), itertools.count(100)) == [100 + 2 * n for n in range(10)]
    assert client.map(max, [1, 5, 3], itertools.repeat(2), (9, 0, 0)) == [9, 5, 3]
    assert client.map(pow, itertools.repeat(2, 5), range(9)) == [1, 2, 4, 8, 16]


def test_starmap_takes_lists_tuples_and_generators_of_arguments(client: Client) -> None:
    assert client.starmap(pow, [[2, 3], (3, 2), iter([5, 2])]) == [8, 9, 25]
    assert client.starmap(max, ([n, 50] for n in range(100))) == [max(n, 50) for n in range(100)]


def test_functions_of_every_kind_can_be_mapped(client: Client) -> None:
    offset = 7

    def closure(value: int) -> int:
        return value + offset

    account = Account(10)
    assert client.map(lambda value: value * 2, range(5)) == [0, 2, 4, 6, 8]
    assert client.map(closure, range(3)) == [7, 8, 9]
    assert client.map(functools.partial(pow, 2), range(5)) == [1, 2, 4, 8, 16]
    assert client.map(functools.partial(scale, factor=3), range(3)) == [0, 3, 6]
    assert client.map(account.plus, range(3)) == [10, 11, 12]
    assert client.map(Account.named, ["a", "b"]) == ["Account a", "Account b"]
    assert client.map("{}!".format, ["a", "b"]) == ["a!", "b!"]
    assert client.map(operator.itemgetter(1), [(1, 2), (3, 4)]) == [2, 4]
    assert client.map(max, [(1, 3, 2), [5, 4]]) == [3, 5]  # no signature
    assert client.map(str.upper, ["a", "b"]) == ["A", "B"]


def test_a_closure_that_has_changed_is_sent_again(client: Client) -> None:
    factor = 2

    def times(value: int) -> int:
        return value * factor

    assert client.map(times, range(3)) == [0, 2, 4]
    factor = 5
    assert client.map(times, range(3)) == [0, 5, 10]


def test_keyword_arguments_arrive_as_they_were_passed(client: Client) -> None:
    assert client.submit(describe, 1, "b", key=None, other=[1]).result() == "(1, 'b') {'key': None, 'other': [1]}"
    assert client.submit(scale, 4, factor=5).result() == 20
    assert client.submit(dict, a=1, fn=2, self=3).result() == {"a": 1, "fn": 2, "self": 3}


def test_an_item_that_cannot_be_pickled_is_that_items_error_alone(client: Client) -> None:
    import threading

    items = [1, threading.Lock(), 3]
    results = client.map(identity, items, return_exceptions=True)
    assert results[0] == 1
    assert results[2] == 3
    assert type(results[1]) is CannotPickle
    with pytest.raises(CannotPickle, match="lock"):
        client.map(identity, items)


def test_a_map_that_takes_too_long_is_cancelled_and_says_how_far_it_came(client: Client) -> None:
    import time

    with pytest.raises(TimeoutError, match=r"map of sleep: \d+ of 100 items were done after 0.3 s"):
        client.map(time.sleep, [0.05] * 100, timeout=0.3)
    started = time.monotonic()
    assert client.map(identity, range(10)) == list(range(10))
    assert time.monotonic() - started < 2.0, "what was cancelled still ran"


def test_values_of_many_types_come_back_equal(client: Client) -> None:
    values = [None, True, 1, -(10**40), 2.5, float("inf"), 1 + 2j, "ü\x00", b"\x00" * 10, (), [1, [2]], {"a": {1}}]
    values += [frozenset({1}), range(3), slice(1, 2), Ellipsis, NotImplemented, type, len, Account.plus]
    assert client.map(identity, values) == values


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_live_line_on_a_terminal(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert client.map(identity, range(1000), progress=True) == list(range(1000))
    last = terminal.getvalue().rpartition("\r")[2]
    assert "identity" in last
    assert "1,000/1,000" in last
    assert last.endswith("\n")
