"""`client.executor()`: what every executor promises, and what is its own.

The tests from `test_submit` to `test_hang_gh94440` are CPython's in what they check, and have their names; CPython's
own, from `test.test_concurrent_futures`, are run by `test_cpython.py` where the interpreter has them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures as futures
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scaler_trio import CannotPickle, Client, ClientClosed, ProcessorDiedError, ScalerFuture, SchedulerClusterCombo
from scaler_trio.integrations.executor import ScalerExecutor
from tests.kit.waiting import in_background, wait_until


class Thing:
    def method(self) -> None:
        pass


class NeverSent:
    def __reduce__(self) -> Any:
        raise RuntimeError("I stay here")


class ShutsDown:
    """Shuts an executor down while it is pickled, which is in the middle of a `submit`."""

    executor: ScalerExecutor

    def __reduce__(self) -> Any:
        self.executor.shutdown(wait=False)
        return ShutsDown, ()


def capture(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def make_thing(_: int) -> Thing:
    return Thing()


def sleep_and_raise(seconds: float) -> None:
    time.sleep(seconds)
    raise ArithmeticError("this is an exception")


def touch_and_sleep(path: Path, seconds: float) -> None:
    path.touch()
    time.sleep(seconds)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def executor(client: Client) -> Iterator[ScalerExecutor]:
    with client.executor() as running:
        yield running


# ----------------------------------------------------------------------------------------- CPython's ExecutorTest


def test_submit(executor: ScalerExecutor) -> None:
    assert executor.submit(pow, 2, 8).result() == 256


def test_submit_keyword(executor: ScalerExecutor) -> None:
    assert executor.submit(capture, 1, self=2, fn=3).result() == ((1,), {"self": 2, "fn": 3})
    with pytest.raises(TypeError):
        executor.submit(fn=capture, arg=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        executor.submit(arg=1)  # type: ignore[call-arg]


def test_map(executor: ScalerExecutor) -> None:
    assert list(executor.map(pow, range(10), range(10))) == list(map(pow, range(10), range(10)))
    assert list(executor.map(pow, range(10), range(10), chunksize=3)) == list(map(pow, range(10), range(10)))


def test_map_exception(executor: ScalerExecutor) -> None:
    results = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert next(results) == (0, 1)
    assert next(results) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_timeout(executor: ScalerExecutor) -> None:
    results = []
    with pytest.raises(futures.TimeoutError):
        for result in executor.map(time.sleep, [0, 0, 30], timeout=1.0):
            results.append(result)  # noqa: PERF402 - what came before the time-out counts
    assert results == [None, None]


def test_shutdown_race_issue12456(executor: ScalerExecutor) -> None:
    executor.map(str, [2] * 10)
    executor.shutdown()


def test_no_stale_references(executor: ScalerExecutor) -> None:
    thing = Thing()
    collected = threading.Event()
    reference = weakref.ref(thing, lambda _: collected.set())
    executor.submit(thing.method)
    del thing
    assert collected.wait(10), reference


def test_free_reference(executor: ScalerExecutor) -> None:
    for thing in executor.map(make_thing, range(10)):
        reference = weakref.ref(thing)
        del thing
        wait_until(lambda reference=reference: reference() is None, "the result to be collected")


# ----------------------------------------------------------------------------- CPython's WaitTests, AsCompletedTests


def test_20369(executor: ScalerExecutor) -> None:
    future = executor.submit(time.sleep, 0.2)
    assert futures.wait([future, future]) == ({future}, set())


def test_first_completed(executor: ScalerExecutor) -> None:
    quick, slow = executor.submit(pow, 21, 2), executor.submit(time.sleep, 30)
    assert futures.wait([quick, slow], 10, futures.FIRST_COMPLETED) == ({quick}, {slow})
    slow.cancel()


def test_first_exception(executor: ScalerExecutor) -> None:
    quick, failing = executor.submit(pow, 2, 21), executor.submit(sleep_and_raise, 0.2)
    slow = executor.submit(time.sleep, 30)
    assert futures.wait([quick, failing, slow], 10, futures.FIRST_EXCEPTION) == ({quick, failing}, {slow})
    slow.cancel()


def test_timeout(executor: ScalerExecutor) -> None:
    slow = executor.submit(time.sleep, 30)
    assert futures.wait([slow], timeout=0.05) == (set(), {slow})
    with pytest.raises(futures.TimeoutError):
        list(futures.as_completed([slow], timeout=0))
    slow.cancel()


def test_no_timeout(executor: ScalerExecutor) -> None:
    submitted = {executor.submit(pow, 2, 21), executor.submit(pow, 7, 6)}
    assert set(futures.as_completed(submitted)) == submitted


def test_duplicate_futures(executor: ScalerExecutor) -> None:
    future = executor.submit(time.sleep, 0.1)
    assert len(list(futures.as_completed([future, future]))) == 1


# ------------------------------------------------------------------------------------ CPython's ExecutorShutdownTest


def test_run_after_shutdown(executor: ScalerExecutor) -> None:
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(pow, 2, 5)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.map(abs, [1])


def test_hang_issue12364(executor: ScalerExecutor) -> None:
    submitted = [executor.submit(time.sleep, 0.01) for _ in range(50)]
    executor.shutdown()
    assert all(future.done() for future in submitted)
    assert [future.result() for future in submitted] == [None] * 50


def test_context_manager_shutdown(client: Client) -> None:
    with client.executor() as executor:
        assert list(executor.map(abs, range(-5, 5))) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError):
        executor.submit(abs, 1)


def test_del_shutdown(client: Client) -> None:
    executor = client.executor()
    results = executor.map(abs, range(-5, 5))
    del executor
    assert list(results) == [abs(number) for number in range(-5, 5)]


def test_shutdown_no_wait(executor: ScalerExecutor) -> None:
    slow = executor.submit(time.sleep, 0.5)
    results = executor.map(abs, range(-5, 5))
    executor.shutdown(wait=False)
    assert not slow.done()
    assert list(results) == [abs(number) for number in range(-5, 5)]


def test_hang_gh94440(client: Client) -> None:
    executor = client.executor()
    executor.submit(int).result()
    executor.submit(int).cancel()
    in_background(executor.shutdown).result(5)


# ----------------------------------------------------------------------------------------------------- its own


def test_its_futures_are_the_clients_and_carry_its_options(client: Client) -> None:
    from scaler_trio import TaskTimeout

    with client.options(timeout=0.2).executor() as executor:
        future = executor.submit(time.sleep, 30)
        assert isinstance(future, ScalerFuture)
        assert type(future.exception(10)) is TaskTimeout


def test_shutdown_waits_for_what_nobody_holds_a_future_of(client: Client, tmp_path: Path) -> None:
    with client.executor() as executor:
        for number in range(10):
            executor.submit(touch_and_sleep, tmp_path / str(number), 0.01)
    assert len(list(tmp_path.iterdir())) == 10


def test_shutdown_does_not_close_the_client_and_may_be_repeated(client: Client) -> None:
    executor = client.executor()
    executor.shutdown()
    executor.shutdown(wait=False, cancel_futures=True)
    assert client.submit(abs, -1).result() == 1
    assert client.executor().submit(abs, -2).result() == 2


def test_shutdown_may_cancel_what_waits_and_what_runs(client: Client, tmp_path: Path) -> None:
    executor = client.executor()
    done = executor.submit(abs, -1)
    assert done.result() == 1
    submitted = [executor.submit(touch_and_sleep, tmp_path / str(number), 30) for number in range(20)]
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "two of them to run")
    start = time.monotonic()
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in submitted)
    assert done.result() == 1
    assert client.map(abs, range(10), timeout=10) == list(range(10))
    assert time.monotonic() - start < 10, "what ran still holds its worker"


def test_a_submit_that_meets_a_shutdown_is_refused_and_leaves_nothing_running(client: Client) -> None:
    executor = client.executor()
    argument = ShutsDown()
    argument.executor = executor
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(capture, argument)
    in_background(executor.shutdown).result(5)


def test_what_cannot_be_pickled_fails_its_future_and_no_other(executor: ScalerExecutor) -> None:
    future = executor.submit(abs, NeverSent())
    with pytest.raises(CannotPickle, match="I stay here"):
        future.result(5)
    error = executor.submit(lambda: lock_of_this_process).exception(5)
    assert type(error) is CannotPickle
    results = executor.map(capture, [1, NeverSent(), 3])
    assert next(results) == ((1,), {})
    with pytest.raises(CannotPickle):
        next(results)
    assert type(executor.submit(threading.Lock).exception(10)) is CannotPickle


lock_of_this_process = threading.Lock()


def test_after_the_client_was_closed_it_is_broken_and_says_why(cluster: SchedulerClusterCombo) -> None:
    client = Client(cluster.get_address())
    executor = client.executor()
    unfinished = executor.submit(time.sleep, 30)
    client.close()
    with pytest.raises(futures.BrokenExecutor, match="cannot schedule new futures: the client was closed") as caught:
        executor.submit(abs, 1)
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value.__cause__, ClientClosed)
    assert unfinished.cancelled()
    in_background(executor.shutdown).result(5)


def test_a_task_that_kills_its_process_breaks_nothing_but_its_own_future(client: Client) -> None:
    with client.options(crash_limit=1).executor() as executor:
        deadly = executor.submit(die)
        others = [executor.submit(abs, -number) for number in range(20)]
        assert type(deadly.exception(20)) is ProcessorDiedError
        assert [other.result(20) for other in others] == list(range(20))


def test_asyncio_runs_functions_in_it(executor: ScalerExecutor) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*[loop.run_in_executor(executor, abs, -number) for number in range(10)])

    assert asyncio.run(main()) == list(range(10))


@pytest.mark.slow
def test_at_the_interpreters_end_it_refuses_like_those_of_the_standard_library(cluster: SchedulerClusterCombo) -> None:
    script = """if True:
        import atexit, sys, time
        def run_last():
            try:
                executor.submit(id, None)
            except RuntimeError as error:
                print(error)
        atexit.register(run_last)  # before the client's own, therefore run after it
        from scaler_trio import Client
        executor = Client(sys.argv[1]).executor()
        executor.submit(id, 42).result()
        executor.submit(time.sleep, 30)
        """
    ended = subprocess.run(
        [sys.executable, "-c", script, cluster.get_address()], capture_output=True, text=True, timeout=20
    )
    assert ended.stderr == ""
    assert ended.stdout.startswith("cannot schedule new futures")
