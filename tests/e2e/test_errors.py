"""What goes wrong in a task, and what its user is told."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from scaler_trio import CannotPickle, CannotUnpickle, Client, RemoteError, ScalerError
from tests.kit.waiting import wait_until


class Refusal(Exception):
    """With arguments of its own, which pickle at first sight cannot rebuild."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class Stubborn:
    def __reduce__(self) -> Any:
        raise RuntimeError("I stay here")


def divide(a: int, b: int) -> float:
    return a / b


def raise_from() -> None:
    try:
        divide(1, 0)
    except ZeroDivisionError as error:
        raise KeyError("wrapped") from error


def refuse() -> None:
    raise Refusal(7, reason="no")


def raise_with_lock() -> None:
    raise ValueError("holds a lock", threading.Lock())


def make_lock() -> Any:
    return threading.Lock()


def leave() -> None:
    raise SystemExit(3)


class OfTheWorker:
    """Loads nowhere but in the worker that made it."""

    def __reduce__(self) -> Any:
        return load_in, (os.getpid(),)


def load_in(process: int) -> OfTheWorker:
    if os.getpid() != process:
        raise LookupError(f"only process {process} can load this")
    return OfTheWorker()


def test_a_task_that_raises_gives_its_type_its_arguments_and_its_remote_traceback(client: Client) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        client.submit(divide, 1, 0).result()
    assert caught.value.args == ("division by zero",)
    remote = str(caught.value.__cause__)
    assert "Traceback (most recent call last)" in remote
    assert "return a / b" in remote
    assert "test_errors.py" in remote
    assert "processor_loop" not in remote, "our own frames are noise"


def test_a_chain_of_exceptions_is_shown_whole(client: Client) -> None:
    error = client.submit(raise_from).exception()
    assert type(error) is KeyError
    remote = str(error.__cause__)
    assert "ZeroDivisionError: division by zero" in remote
    assert "direct cause" in remote


def test_an_exception_that_cannot_be_rebuilt_keeps_its_name_its_text_and_its_traceback(client: Client) -> None:
    error = client.submit(refuse).exception()
    assert type(error) is RemoteError
    assert error.type_name.endswith(".Refusal")
    assert "7: no" in str(error)
    assert "refuse" in error.traceback_text


def test_an_exception_that_cannot_be_pickled_keeps_its_name_and_its_text(client: Client) -> None:
    error = client.submit(raise_with_lock).exception()
    assert type(error) is RemoteError
    assert error.type_name == "builtins.ValueError"
    assert "holds a lock" in str(error)


def test_an_argument_that_cannot_be_pickled_is_named_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(CannotPickle, match=r"positional argument 1, of type lock"):
        client.submit(divide, 1, threading.Lock())
    with pytest.raises(CannotPickle, match=r"the argument 'b', of type Stubborn, .*I stay here"):
        client.submit(divide, 1, b=Stubborn())


def test_a_function_that_cannot_be_pickled_is_named(client: Client) -> None:
    lock = threading.Lock()

    def guarded() -> None:
        with lock:
            pass

    with pytest.raises(CannotPickle, match=r"guarded.*lock"):
        client.submit(guarded)


def test_a_result_that_cannot_be_pickled_is_an_error_which_says_so(client: Client) -> None:
    error = client.submit(make_lock).exception()
    assert type(error) is CannotPickle
    assert "the result, of type lock" in str(error)
    assert client.submit(divide, 4, 2).result() == 2


def test_a_result_that_does_not_load_fails_each_time_in_the_same_way(client: Client) -> None:
    future = client.submit(OfTheWorker)
    texts = set()
    for _ in range(2):
        with pytest.raises(CannotUnpickle, match=r"only process \d+ can load this") as caught:
            future.result(10)
        texts.add(str(caught.value))
    assert type(future.exception(0)) is CannotUnpickle
    assert len(texts) == 1
    with pytest.raises(CannotUnpickle, match="can load this"):
        client.map(lambda n: OfTheWorker() if n == 3 else n, range(5))
    assert client.submit(divide, 4, 2).result() == 2


def test_an_argument_that_does_not_load_in_the_worker_fails_its_task_and_nothing_else(client: Client) -> None:
    error = client.submit(repr, OfTheWorker()).exception(10)
    assert type(error) is CannotUnpickle
    assert "can load this" in str(error)
    assert client.submit(divide, 4, 2).result(10) == 2


def test_system_exit_in_a_task_is_that_tasks_exception_and_the_processor_lives(client: Client) -> None:
    error = client.submit(leave).exception()
    assert type(error) is SystemExit
    assert error.code == 3
    assert client.submit(os.getpid).result() > 0


def test_a_cancelled_future_is_cancelled_at_once(client: Client, tmp_path: Path) -> None:
    import concurrent.futures
    import time

    def run_long(path: Path) -> None:
        path.touch()
        time.sleep(30)

    started_path = tmp_path / "started"
    future = client.submit(run_long, started_path)
    wait_until(started_path.exists, "it to run")
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    with pytest.raises(concurrent.futures.CancelledError) as caught:
        future.result()
    assert isinstance(caught.value, ScalerError)
    started = time.monotonic()
    assert client.map(abs, range(4)) == list(range(4))
    assert time.monotonic() - started < 3.0, "the cancelled task still holds its worker"


def test_a_task_that_runs_longer_than_its_timeout_fails(client: Client) -> None:
    import time

    from scaler_trio import TaskTimeout

    with pytest.raises(TaskTimeout):
        client.options(timeout=0.2).submit(time.sleep, 30).result(timeout=10)
    with pytest.raises(TaskTimeout, match="the task ran longer than its timeout"):
        client.options(timeout=0.2).map(time.sleep, [30])


def test_futures_work_with_the_standard_library(client: Client) -> None:
    import concurrent.futures

    futures = [client.submit(divide, n, 1) for n in range(20)]
    done, rest = concurrent.futures.wait(futures, timeout=10)
    assert (len(done), len(rest)) == (20, 0)
    again = [client.submit(divide, n, 2) for n in range(20)]
    assert sorted(future.result() for future in concurrent.futures.as_completed(again, 10)) == [
        n / 2 for n in range(20)
    ]
    called = threading.Event()
    client.submit(divide, 1, 1).add_done_callback(lambda future: called.set())
    assert called.wait(5)
