"""`submit` and its futures, end to end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import operator
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio

from scaler_protocol import messages as m
from scaler_trio.errors import ClientClosed, NoWorkerError, ProcessorDiedError, TaskCancelled, TaskTimeout
from scaler_trio.serialization import CannotPickle, CannotUnpickle, RemoteError, RemoteTraceback

if TYPE_CHECKING:
    from scaler_trio.client import Client, ScalerFuture
from tests.client.fake_scheduler import FakeScheduler
from tests.kit.waiting import wait_until


def keywords(a: int, /, b: int = 2, *args: int, c: int, **rest: int) -> tuple[Any, ...]:
    return a, b, args, c, rest


class Unloadable:
    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    if threading.current_thread() is threading.main_thread():
        raise ModuleNotFoundError("No module named 'of_the_worker'", name="of_the_worker")


class Picky(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("picky")


def raise_picky() -> None:
    raise Picky(1, 2)


def test_arguments_arrive_exactly(client: Client) -> None:
    assert client.submit(keywords, 1, c=3).result() == (1, 2, (), 3, {})
    assert client.submit(keywords, 1, 5, 6, 7, c=3, d=9).result() == (1, 5, (6, 7), 3, {"d": 9})
    assert client.submit(dict, fn=1, self=2).result() == {"fn": 1, "self": 2}
    assert client.submit(max, [3, 1, 2]).result() == 3


def test_an_exception_has_its_remote_traceback(client: Client) -> None:
    future = client.submit(keywords, 1)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'c'"):
        future.result()
    error = future.exception()
    assert isinstance(error, TypeError)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert future.exception() is error


def test_an_argument_that_cannot_be_pickled_is_named_at_once(client: Client) -> None:
    with pytest.raises(CannotPickle, match="positional argument 1"):
        client.submit(print, 1, threading.Lock())
    with pytest.raises(CannotPickle, match="'end'"):
        client.submit(print, 1, end=threading.Lock())


def test_an_exception_that_cannot_be_pickled_keeps_its_name_and_text(client: Client) -> None:
    with pytest.raises(RemoteError, match="Picky"):
        client.submit(raise_picky).result()


def test_a_result_that_cannot_be_loaded_here_fails_every_time(client: Client) -> None:
    future = client.submit(Unloadable)
    for _ in range(2):
        with pytest.raises(CannotUnpickle, match="of_the_worker"):
            future.result()


def test_a_result_is_loaded_once_for_all_threads(client: Client) -> None:
    future = client.submit(list, (1, 2))
    assert future.result() is future.result()


def test_a_burst_is_sent_in_few_messages(client: Client, scheduler: FakeScheduler) -> None:
    futures = [client.submit(abs, -i) for i in range(2000)]
    assert [future.result() for future in futures] == list(range(2000))
    assert len(scheduler.of(m.SubmitTasks)) < 200
    assert len(scheduler.of(m.DefineFunction)) == 1


def test_a_task_leaves_although_nobody_waits_for_it(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    for i in range(3):
        client.submit(abs, i)
    scheduler.wait_for(lambda: sum(len(s.rows) for s in scheduler.of(m.SubmitTasks)) == 3, "all three are sent")


def test_results_are_acknowledged_within_time(client: Client, scheduler: FakeScheduler) -> None:
    client.submit(abs, 1).result()
    scheduler.wait_for(lambda: [a.sequence for a in scheduler.of(m.AckResults)] == [1], "the acknowledgement")


def test_waiting_too_short_is_a_timeout_and_the_result_still_comes(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    future = client.submit(abs, -1)
    assert not future.done()
    with pytest.raises(TimeoutError):
        future.result(timeout=0.05)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0)
    scheduler.resume()
    assert future.result(5) == 1
    assert future.done()


def test_wait_and_as_completed_of_the_standard_library_work(client: Client, scheduler: FakeScheduler) -> None:
    futures = [client.submit(abs, -i) for i in range(300)]
    done, not_done = concurrent.futures.wait(futures, timeout=10)
    assert len(done) == 300
    assert not not_done
    scheduler.paused = True
    waiting = [client.submit(abs, -i) for i in range(5)]
    done, not_done = concurrent.futures.wait([*waiting, futures[0]], return_when=concurrent.futures.FIRST_COMPLETED)
    assert done == {futures[0]}
    scheduler.resume()
    assert sorted(f.result() for f in concurrent.futures.as_completed(waiting, timeout=10)) == list(range(5))
    failing = [client.submit(divmod, 1, 0), client.submit(abs, 1)]
    done, _ = concurrent.futures.wait(failing, timeout=10, return_when=concurrent.futures.FIRST_EXCEPTION)
    assert failing[0] in done


def test_callbacks_run_on_a_thread_of_their_own_and_may_wait_for_other_results(client: Client) -> None:
    called = threading.Event()
    where: list[Any] = []

    def callback(future: ScalerFuture) -> None:
        where.append((threading.current_thread().name, future.result(), client.submit(abs, -7).result(5)))
        called.set()

    client.submit(abs, -3).add_done_callback(callback)
    assert called.wait(10)
    assert "callbacks" in where[0][0]
    assert where[0][1:] == (3, 7)


def test_a_callback_of_a_done_future_runs_at_once_and_its_exception_is_logged(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    future = client.submit(abs, -3)
    future.result()
    future.add_done_callback(lambda f: 1 / 0)
    assert "exception calling callback" in caplog.text


def test_cancel_is_immediate_and_the_scheduler_is_told(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    future = client.submit(abs, -1)
    assert future.cancel()
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    with pytest.raises(TaskCancelled):
        future.result()
    with pytest.raises(concurrent.futures.CancelledError):
        future.exception()
    scheduler.wait_for(lambda: bool(scheduler.of(m.CancelTasks)), "the scheduler is told")


def test_a_finished_future_cannot_be_cancelled(client: Client) -> None:
    future = client.submit(abs, -1)
    assert future.result() == 1
    assert not future.cancel()
    assert not future.cancelled()


def test_a_waiter_is_woken_by_a_cancel(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    future = client.submit(abs, -1)
    threading.Timer(0.1, future.cancel).start()
    with pytest.raises(TaskCancelled):
        future.result(10)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (m.Outcome.CRASHED, ProcessorDiedError),
        (m.Outcome.UNRUNNABLE, NoWorkerError),
        (m.Outcome.TIMED_OUT, TaskTimeout),
        (m.Outcome.CANCELLED, TaskCancelled),
    ],
)
def test_every_outcome_has_its_exception(
    client: Client, scheduler: FakeScheduler, outcome: int, expected: type[Exception]
) -> None:
    scheduler.paused = True
    future = client.submit(abs, 1)
    scheduler.wait_for(lambda: bool(scheduler.of(m.SubmitTasks)), "it is sent")
    scheduler.send(m.TaskResults(1, ((future.task_id, int(outcome), b"what happened", (), 0.0),)))
    with pytest.raises(expected, match="what happened"):
        future.result(5)


def test_options_travel_with_the_call(client: Client, scheduler: FakeScheduler) -> None:
    client.options(priority=7, crash_limit=1).submit(abs, 1).result()
    assert scheduler.of(m.SubmitTasks)[0].options == (m.TaskOptions(priority=7, crash_limit=1),)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"timeout_s": 3}, TypeError, "there is no option timeout_s; the options are capabilities, crash_limit"),
        ({"crash_limit": 0}, ValueError, "crash_limit"),
        ({"priority": "x"}, ValueError, "priority"),
        ({"priority": 1 << 70}, ValueError, "priority"),
        ({"crash_limit": 1 << 70}, ValueError, "crash_limit"),
        ({"max_retries": 1 << 70}, ValueError, "max_retries"),
        ({"capabilities": {"gpu": 1 << 70}}, ValueError, "capabilities asks for 'gpu': 1180591620717411303424"),
        ({"capabilities": {"gpu": -2}}, ValueError, "-1 for just the name"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"capabilities": ["gpu"]}, ValueError, "it must be a mapping of names to amounts"),
        ({"capabilities": {"gpu": "1"}}, ValueError, "capabilities"),
    ],
)
def test_a_wrong_option_is_refused_where_it_is_given(
    client: Client, options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        client.options(**options)
    assert client.submit(abs, -1).result(5) == 1


def test_capabilities_are_a_mapping(client: Client, scheduler: FakeScheduler) -> None:
    client.options(capabilities={"gpu": 1, "fast": -1}).submit(abs, 1).result()
    assert scheduler.of(m.SubmitTasks)[0].options[0].capabilities == (("gpu", 1), ("fast", -1))


def test_what_a_closed_client_raises_is_new_each_time(client: Client) -> None:
    client.close()
    depths = []
    for _ in range(3):
        with pytest.raises(ClientClosed) as caught:
            client.submit(abs, 1)
        depths.append(len(caught.traceback))
    assert len(set(depths)) == 1


def test_a_future_can_be_awaited_in_asyncio(client: Client) -> None:
    async def main() -> Any:
        return await client.submit(abs, -5), await asyncio.gather(*[client.submit(abs, -i) for i in range(3)])

    assert asyncio.run(main()) == (5, [0, 1, 2])


def test_the_client_works_inside_a_running_asyncio_loop(client: Client) -> None:
    async def cell() -> Any:
        return client.map(abs, [-1, -2])

    assert asyncio.run(cell()) == [1, 2]


def test_a_future_can_be_awaited_in_trio(client: Client) -> None:
    async def main() -> Any:
        with trio.fail_after(10):
            with pytest.raises(ZeroDivisionError):
                await client.submit(divmod, 1, 0)
            return await client.submit(abs, -5)

    assert trio.run(main) == 5


def test_several_threads_share_a_client(client: Client) -> None:
    wrong: list[Any] = []

    def work(offset: int) -> None:
        futures = [client.submit(abs, -(offset + i)) for i in range(300)]
        mapped = client.map(abs, range(-offset - 300, -offset))
        if [f.result(20) for f in futures] != list(range(offset, offset + 300)):
            wrong.append(offset)
        if mapped != list(range(offset + 300, offset, -1)):
            wrong.append(mapped)

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


def test_dropped_futures_leave_nothing_behind(client: Client) -> None:
    for _ in range(100):
        client.submit(abs, 1)
    client.submit(abs, 1).result()
    gc.collect()
    assert client._session._core.is_idle


def test_more_functions_than_the_table_holds_wait_their_turn(client: Client, scheduler: FakeScheduler) -> None:
    client._session._core._functions._limit = 10
    futures = [client.submit(lambda i=i: i * i) for i in range(100)]
    assert [future.result(10) for future in futures] == [i * i for i in range(100)]
    scheduler.wait_for(lambda: bool(scheduler.of(m.DropFunctions)), "functions are dropped")


def test_submit_verbose_takes_arguments_as_values(client: Client, scheduler: FakeScheduler) -> None:
    assert client.submit_verbose(sorted, ([1, 2],), {"reverse": True}).result() == [2, 1]
    assert client.submit_verbose(abs, (-1,), None, {"gpu": 1}).result() == 1
    assert scheduler.of(m.SubmitTasks)[-1].options[0].capabilities == (("gpu", 1),)


def test_a_future_explains_why_it_is_not_done(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    future = client.submit(abs, -1)
    assert future.explain() == f"task {future.task_id}, this is about {future.task_id}\nsecond line"
    with pytest.raises(TimeoutError, match=f"no result after 1 s: this is about {future.task_id}$"):
        future.result(1.0)
    with pytest.raises(TimeoutError, match=r"0 of 3 items were done after 0\.1 s: this is about"):
        client.map(abs, [1, 2, 3], timeout=0.1)
    scheduler.resume()
    assert future.result() == 1
    assert "is done" in future.explain()


def test_a_client_without_connection_explains_by_itself(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    future = client.submit(abs, -1)
    scheduler.stop()
    wait_until(lambda: "the connection to the scheduler is lost" in future.explain(), "the loss to be noticed")
    client.close()
    assert "is done" in future.explain()


def test_the_traceback_of_a_failed_task_is_its_futures(client: Client) -> None:
    future = client.submit(operator.truediv, 1, 0)
    with pytest.raises(ZeroDivisionError):
        future.result()
    assert "ZeroDivisionError: division by zero" in (future.traceback or "")
    done = client.submit(abs, -1)
    assert (done.result(), done.traceback) == (1, None)


def test_retries_may_be_switched_off_again(client: Client) -> None:
    often = client.options(max_retries=3, retry_on=OSError)
    assert often.options(max_retries=0).submit(abs, -1).result() == 1


def test_each_abandoned_future_has_an_error_of_its_own(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    futures = [client.submit(abs, -1) for _ in range(2)]
    client.close()
    errors = []
    for future in futures:
        with pytest.raises(TaskCancelled) as raised:
            future.result()
        errors.append(raised.value)
    assert str(errors[0]) == str(errors[1])
    assert errors[0] is not errors[1]
