"""`client.pool()`: what programs for `multiprocessing.Pool` rely on."""

from __future__ import annotations

import multiprocessing
import threading
import time
from typing import Any

import pytest

from scaler_trio import Client
from tests.kit.waiting import wait_until


def square(value: int) -> int:
    return value * value


def fail_at_three(value: int) -> int:
    if value == 3:
        raise ArithmeticError("three")
    return value


def capture(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def test_every_call(client: Client) -> None:
    with client.pool() as pool:
        assert pool.apply(capture, (1, 2), {"a": 3}) == ((1, 2), {"a": 3})
        assert pool.apply_async(capture, (1,)).get(timeout=20) == ((1,), {})
        assert pool.map(square, range(5), 2) == [0, 1, 4, 9, 16]
        assert pool.map(square, iter(range(5)), chunksize=3) == [0, 1, 4, 9, 16]
        assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
        assert pool.map_async(square, (n for n in range(5))).get() == [0, 1, 4, 9, 16]
        assert pool.starmap_async(pow, [(2, 3)]).get(20) == [8]
        assert list(pool.imap(square, range(5), 2)) == [0, 1, 4, 9, 16]
        assert sorted(pool.imap_unordered(square, range(5), chunksize=2)) == [0, 1, 4, 9, 16]
        assert pool.imap(square, [3]).next(timeout=20) == 9
        assert pool.map(square, []) == []


def test_errors_come_as_they_were_raised(client: Client) -> None:
    pool = client.pool()
    for call in (
        lambda: pool.map(fail_at_three, range(5)),
        lambda: pool.map_async(fail_at_three, range(5)).get(),
        lambda: pool.apply(fail_at_three, (3,)),
        lambda: list(pool.imap(fail_at_three, range(5))),
    ):
        with pytest.raises(ArithmeticError, match="three"):
            call()
    result = pool.apply_async(fail_at_three, (3,))
    result.wait()
    assert result.ready()
    assert not result.successful()


def test_a_result_that_is_not_there_yet(client: Client) -> None:
    pool = client.pool()
    result = pool.apply_async(time.sleep, (60,))
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0.05)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.05)
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    pool.terminate()
    pool.join()
    assert result.ready()


def test_callbacks(client: Client) -> None:
    pool = client.pool()
    values: list[Any] = []
    errors: list[BaseException] = []
    pool.apply_async(square, (3,), callback=values.append, error_callback=errors.append)
    pool.map_async(square, [1, 2], callback=values.append, error_callback=errors.append)
    pool.apply_async(fail_at_three, (3,), callback=values.append, error_callback=errors.append)
    pool.starmap_async(fail_at_three, [(3,)], callback=values.append, error_callback=errors.append)
    pool.close()
    pool.join()
    wait_until(lambda: len(values) == 2 and len(errors) == 2, "all four callbacks")
    assert sorted(values, key=str) == [9, [1, 4]]
    assert [type(error) for error in errors] == [ArithmeticError, ArithmeticError]


def test_a_closed_pool_takes_nothing_and_finishes_what_it_has(client: Client) -> None:
    pool = client.pool()
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    result = pool.map_async(square, range(1000))
    pool.close()
    for call in (pool.map, pool.imap, pool.imap_unordered, pool.map_async, pool.starmap, pool.starmap_async):
        with pytest.raises(ValueError, match="Pool not running"):
            call(square, [1])
    with pytest.raises(ValueError, match="Pool not running"):
        pool.apply_async(square, (1,))
    pool.join()
    assert result.ready()
    assert len(result.get()) == 1000
    assert client.submit(square, 3).result() == 9  # the client is open


def test_the_end_of_a_block_cancels_what_is_unfinished_of_this_pool_only(client: Client) -> None:
    other = client.pool().apply_async(time.sleep, (0.5,))
    with client.pool() as pool:
        single = pool.apply_async(time.sleep, (60,))
        many = pool.map_async(time.sleep, [60] * 4)
        lazy = pool.imap(time.sleep, [60] * 4)
        asked = threading.Thread(target=lambda: next(lazy, None))
        asked.start()
    started = time.monotonic()
    for result in (single, many):
        with pytest.raises(Exception, match=r"cancelled|terminated"):
            result.get(timeout=20)
    asked.join(20)
    assert not asked.is_alive()
    assert time.monotonic() - started < 10
    other.get(timeout=20)
