"""The agent with real processes: an in-process agent, a fake scheduler over TCP, a template, processors."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
import trio.lowlevel

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome, ReturnReason
from scaler_trio.serialization import RemoteTraceback, load_result
from scaler_trio.worker.agent.agent import Agent, run_worker
from scaler_trio.worker.errors import WorkerFailed
from scaler_trio.worker.settings import WorkerSettings
from tests.worker.directory_store import DirectoryStore
from tests.worker.fake_scheduler import TOKEN, fake_scheduler, settings, worker


async def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 10.0) -> None:
    """For what no message tells: another process's state."""
    deadline = trio.current_time() + timeout_s
    while not condition():
        assert trio.current_time() < deadline, f"not within {timeout_s} s: {what}"
        await trio.sleep(0.005)


# ------------------------------------------------------------------------------------------------------------- values


def _double(x: Any) -> Any:
    return x * 2


def _raise(x: Any) -> None:
    raise ValueError(f"no {x}")


def _exit(x: Any) -> None:
    sys.exit(x)


def _unpicklable(x: Any) -> Any:
    return threading.Lock()


class _Unloadable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("needs two arguments")


def _raise_unloadable(x: Any) -> None:
    raise _Unloadable(1, 2)


async def test_values_and_errors_come_back_each_in_its_place() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler):
        double, fail = scheduler.define(_double), scheduler.define(_raise)
        one, bad = scheduler.task(double, "ab"), scheduler.task(fail, 7)
        many = scheduler.slice(double, list(range(1000)), page_rows=64)
        lists = scheduler.slice(double, [[i] for i in range(100)], page_rows=1)
        assert await scheduler.value(one) == "abab"
        assert await scheduler.rows(many, 1000) == [2 * i for i in range(1000)]
        assert await scheduler.rows(lists, 100) == [[i, i] for i in range(100)]
        with pytest.raises(ValueError, match="no 7") as caught:
            await scheduler.value(bad)
        trace = caught.value.__cause__
        assert isinstance(trace, RemoteTraceback)
        assert "_raise" in trace.text
        assert "scaler_trio" not in trace.text.replace(__file__, "")
        assert not scheduler.duplicates


async def test_what_ends_a_program_only_fails_the_task() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler) as agent:
        attempt = scheduler.task(scheduler.define(_exit), 3)
        outcome, payload = await scheduler.result(attempt)
        assert outcome is Outcome.ERROR
        assert isinstance(pickle.loads(payload)[0], SystemExit)
        assert await scheduler.value(scheduler.task(scheduler.define(_double), 1)) == 2
        assert agent.processors[0].number == 1  # still the first processor


async def test_a_result_or_exception_that_cannot_be_pickled_is_an_error_that_says_so() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler):
        with pytest.raises(Exception, match="the result, of type lock"):
            await scheduler.value(scheduler.task(scheduler.define(_unpicklable)))
        with pytest.raises(Exception, match="_Unloadable: needs two arguments"):
            await scheduler.value(scheduler.task(scheduler.define(_raise_unloadable)))


async def test_a_function_whose_module_is_missing_names_it() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler):
        payload = b"\x01" + b"cno_such_module\nf\n."
        scheduler.link.send(m.PutFunction(50, "f", payload))
        with pytest.raises(Exception, match="'no_such_module' is missing"):
            await scheduler.value(scheduler.task(50, 1))


async def test_large_results_become_objects_and_large_arguments_are_read_from_them(tmp_path: Path) -> None:
    access = "tests.worker.directory_store:DirectoryStore"
    async with fake_scheduler() as scheduler:
        scheduler.object_address = str(tmp_path)
        async with worker(scheduler, object_access=access):
            double = scheduler.define(_double)
            attempt = scheduler.task(double, b"x" * 30_000)
            big = scheduler.slice(scheduler.define(lambda n: b"y" * n), [10, 1 << 20, 20], page_rows=64)
            await scheduler.rows_done(big, 3)
            outcome, payload = await scheduler.result(big, 1)
            assert outcome is Outcome.VALUE
            assert len(payload) < 200
            assert set(scheduler.objects) == {(big, 1)}
            store = DirectoryStore(str(tmp_path), None, b"", 0)
            assert load_result(payload, store) == b"y" * (1 << 20)
            assert await scheduler.value(big, 2) == b"y" * 20
            assert await scheduler.value(attempt) == b"x" * 60_000


async def test_a_large_result_without_an_object_storage_is_an_error_that_says_so() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler):
        with pytest.raises(Exception, match="needs an object storage server, and the scheduler named none"):
            await scheduler.value(scheduler.task(scheduler.define(lambda n: b"y" * n), 1 << 20))


# ----------------------------------------------------------------------------------------------- what user code may do


def _use_trio(x: int) -> int:
    async def main() -> int:
        await trio.lowlevel.checkpoint()
        return x + 1

    return trio.run(main)


def _use_asyncio(x: int) -> int:
    import asyncio

    async def main() -> int:
        await asyncio.sleep(0)
        return x + 1

    return asyncio.run(main())


def _use_threads(x: int) -> int:
    found = []
    threads = [threading.Thread(target=lambda: found.append(x)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(found) // 5 + 1


def _use_subprocess(x: int) -> int:
    import subprocess

    return int(subprocess.run([sys.executable, "-c", f"print({x} + 1)"], capture_output=True, check=True).stdout)


def _use_multiprocessing(x: int) -> int:
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(1) as pool:
        return int(pool.apply(_add_one, (x,)))


def _add_one(x: int) -> int:
    return x + 1


def _fork_and_return_twice(x: int) -> int:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return x + 1


def _take_over_signals(x: int) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.pause()
    return x + 1


@pytest.mark.parametrize(
    "function",
    [
        _use_trio,
        _use_asyncio,
        _use_threads,
        _use_subprocess,
        _use_multiprocessing,
        _fork_and_return_twice,
        _take_over_signals,
    ],
)
async def test_user_code_may_use(function: Callable[[int], int]) -> None:
    async with fake_scheduler() as scheduler, worker(scheduler):
        number = scheduler.define(function)
        first = scheduler.slice(number, [1, 2, 3])
        assert await scheduler.rows(first, 3) == [2, 3, 4]
        assert await scheduler.value(scheduler.task(number, 10)) == 11
        assert not scheduler.duplicates
        assert not scheduler.crashed


def _random_numbers(x: int) -> tuple[float, float]:
    import random

    return random.random(), float(os.getpid())


async def test_forked_siblings_draw_different_random_numbers() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler, slots=2):
        number = scheduler.define(lambda x: (time.sleep(0.05), _random_numbers(x))[1])
        rows = await scheduler.rows(scheduler.slice(number, list(range(8)), expected_s=0.05), 8)
        assert len({pid for _, pid in rows}) == 2
        assert len({value for value, _ in rows}) == 8


# -------------------------------------------------------------------------------------------------------------- deaths


def _die(how: str) -> Any:
    if how == "fine":
        return how
    print("one line before the end", flush=True)
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segfault":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.string_at(0)
    return None


@pytest.mark.parametrize(
    ("how", "words"),
    [("exit", "exited with code 3"), ("kill", "signal 9 (SIGKILL"), ("segfault", "signal 11 (SIGSEGV")],
)
async def test_a_death_names_its_cause_and_last_output_and_is_charged_to_its_item_alone(how: str, words: str) -> None:
    async with fake_scheduler() as scheduler, worker(scheduler):
        rows = ["fine"] * 20
        rows[9] = how
        attempt = scheduler.slice(scheduler.define(_die), rows, expected_s=1e-6)
        await scheduler.wait_until(lambda: len(scheduler.results) == 19 and scheduler.crashed)
        ((number, row, charged, text),) = scheduler.crashed
        assert (number, row, charged) == (attempt, 9, True)
        assert words in text
        output = text.partition("its last output:\n")[2]
        if how == "segfault":  # it says where it was
            assert output.startswith("one line before the end\nFatal Python error: Segmentation fault")
            assert "in _die" in output
        else:
            assert output == "one line before the end"
        assert "peak memory" in text
        assert not scheduler.duplicates
        assert (attempt, 9) not in scheduler.results


async def test_results_that_were_finished_survive_a_processor_that_is_killed_while_it_holds_the_gil() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler) as agent:
        number = scheduler.define(lambda x: sum(range(10**11)) if x == 5 else x)
        attempt = scheduler.slice(number, list(range(10)), expected_s=1e-6)
        await scheduler.wait_until(lambda: all((attempt, row) in scheduler.results for row in range(5)))
        os.kill(agent.processors[0].pid, signal.SIGKILL)
        await scheduler.wait_until(lambda: scheduler.crashed)
        assert scheduler.crashed[0][:3] == (attempt, 5, True)
        await scheduler.wait_until(lambda: len(scheduler.results) == 9)


async def test_what_a_dead_processor_left_in_its_group_is_killed_too() -> None:
    def leave_a_child(x: Any) -> None:
        import subprocess

        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(f"child {child.pid}", flush=True)
        os._exit(1)

    async with fake_scheduler() as scheduler, worker(scheduler):
        scheduler.task(scheduler.define(leave_a_child))
        await scheduler.wait_until(lambda: scheduler.crashed)
        child = int(scheduler.crashed[0][3].rpartition("child ")[2])
        await wait_for(lambda: not psutil.pid_exists(child), "the grandchild is gone")


async def test_user_code_that_closes_all_descriptors_costs_its_processor_and_nobody_else() -> None:
    def close_all(x: Any) -> None:
        os.closerange(3, 1000)
        time.sleep(30)

    async with fake_scheduler() as scheduler, worker(scheduler):
        attempt = scheduler.task(scheduler.define(close_all))
        await scheduler.wait_until(lambda: scheduler.crashed)
        assert scheduler.crashed[0][:3] == (attempt, 0, True)
        assert await scheduler.value(scheduler.task(scheduler.define(_double), 4)) == 8


# --------------------------------------------------------------------------------------------------- cancel and recall


def _sleep(seconds: float) -> float:
    try:
        time.sleep(seconds)
    finally:
        print("the finally block ran", flush=True)
    return seconds


def _hold_the_gil(x: Any) -> int:
    return sum(range(10**11))


def _ignore(x: Any) -> None:
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


@pytest.mark.slow
@pytest.mark.parametrize(("function", "is_killed"), [(_sleep, False), (_hold_the_gil, True), (_ignore, True)])
async def test_a_running_item_that_is_cancelled_ends_soon(function: Callable[[Any], Any], is_killed: bool) -> None:
    async with fake_scheduler() as scheduler, worker(scheduler) as agent:
        double = scheduler.define(_double)
        await scheduler.value(scheduler.task(double, 1))  # this module is imported by then
        attempt, other = scheduler.task(scheduler.define(function), 60), scheduler.task(double, 1)
        await wait_for(lambda: agent.processors[0].page.sight().running is not None, "it runs")
        scheduler.cancel(attempt)
        outcome, _ = await scheduler.result(attempt)
        assert outcome is Outcome.CANCELLED
        assert await scheduler.value(other) == 2
        assert not scheduler.crashed
        assert (agent.processors[0].number == 1) is not is_killed


async def test_an_item_that_runs_longer_than_its_timeout_is_stopped() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler):
        number = scheduler.define(_sleep)
        await scheduler.value(scheduler.task(number, 0))
        attempt = scheduler.task(number, 60, m.TaskOptions(timeout_s=0.1))
        outcome, _ = await scheduler.result(attempt)
        assert outcome is Outcome.TIMED_OUT


async def test_recalls_under_load_lose_nothing_and_repeat_nothing() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler, slots=2):
        number = scheduler.define(_double)
        count = 4000
        attempts = []
        for round_ in range(10):
            attempts.append(scheduler.slice(number, list(range(count)), expected_s=5e-6))
            await trio.sleep(0.002 * (round_ % 3))
            scheduler.recall(attempts[-1], 100 * round_)

        def is_accounted_for() -> bool:
            back = sum(hi - lo for _, lo, hi, _ in scheduler.returned)
            return len(scheduler.results) + back == count * len(attempts)

        await scheduler.wait_until(is_accounted_for)
        back = {(attempt, row) for attempt, lo, hi, _ in scheduler.returned for row in range(lo, hi)}
        assert not back & set(scheduler.results)
        assert not scheduler.duplicates
        assert {reason for *_, reason in scheduler.returned} <= {ReturnReason.RECALLED}
        assert back


async def test_results_are_at_most_a_poll_old_while_the_next_item_holds_the_gil() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler) as agent:
        number = scheduler.define(lambda x: sum(range(10**11)) if x else 0)
        attempt = scheduler.slice(number, [0, 0, 0, 1], expected_s=1e-6)
        await scheduler.wait_until(lambda: len(scheduler.results) == 3, timeout_s=5)
        scheduler.cancel(attempt, 3, 4)
        assert agent.processors


# ---------------------------------------------------------------------------------------------------------- connection


async def test_a_worker_that_lost_its_connection_comes_back_with_what_it_holds() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler) as agent:
        number = scheduler.define(_sleep)
        done, running = scheduler.task(number, 0.0), scheduler.task(number, 0.3)
        queued = [scheduler.task(number, 0.0) for _ in range(3)]
        await scheduler.result(done)
        await wait_for(lambda: agent.processors[0].page.sight().running == 1, "the second one runs")
        scheduler.received.clear()
        scheduler.link.close("a cable was pulled")
        await scheduler.wait_until(lambda: len(scheduler.links) == 2 and scheduler.received)
        held = scheduler.received[0]
        assert isinstance(held, m.WorkerHeld)
        assert {row[1] for row in held.unfinished} == {running, *queued}
        assert {row[1] for row in held.finished} == {done}
        await scheduler.wait_until(lambda: len(scheduler.results) == 5)
        assert scheduler.duplicates == [(done, 0)]  # sent again, as it was not settled


async def test_a_scheduler_that_makes_no_sense_loses_its_connection_and_the_worker_tries_again() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler):
        scheduler.task(99)
        await scheduler.wait_until(lambda: len(scheduler.links) == 2)
        assert "function 99" in str(scheduler.links[0].closed)
        await scheduler.wait_until(lambda: sum(isinstance(x, m.WorkerHeld) for x in scheduler.received) == 2)
        assert await scheduler.value(scheduler.task(scheduler.define(_double), 4)) == 8


async def test_a_goodbye_ends_the_worker_and_leaves_no_process() -> None:
    async with fake_scheduler() as scheduler:
        agent = Agent(settings(scheduler))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.run)
            await scheduler.wait_until(lambda: scheduler.received)
            scheduler.task(scheduler.define(_hold_the_gil))
            await wait_for(lambda: agent.core.state.running, "it runs")
            pids = [processor.pid for processor in agent.processors.values()]
            scheduler.link.send(m.Goodbye("closing time"))
        assert not any(map(psutil.pid_exists, pids))


async def test_a_drained_worker_finishes_what_runs_returns_the_rest_and_says_goodbye() -> None:
    async with fake_scheduler() as scheduler:
        agent = Agent(settings(scheduler))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.run)
            await scheduler.wait_until(lambda: scheduler.received)
            attempt = scheduler.slice(scheduler.define(_sleep), [0.3, 0.3, 0.3], expected_s=0.3)
            await wait_for(
                lambda: 0 in agent.processors and agent.processors[0].page.sight().running is not None, "it runs"
            )
            agent.apply(m.Drain(20.0))
            await scheduler.result(attempt, 0)
            scheduler.link.send(m.Settled((attempt,)))
        draining = ReturnReason.DRAINING
        assert sorted(scheduler.returned) == [(attempt, 1, 2, draining), (attempt, 2, 3, draining)]
        assert isinstance(scheduler.received[-1], m.Goodbye)


async def test_no_scheduler_until_the_death_timeout_is_an_error_that_names_the_address() -> None:
    with pytest.raises(
        WorkerFailed, match=r"found no scheduler for 0\.3 s: no scheduler listens at tcp://127\.0\.0\.1:1 "
    ):
        await run_worker(WorkerSettings("tcp://127.0.0.1:1", token=TOKEN, death_timeout_s=0.3))


async def test_a_wrong_token_ends_the_worker_at_once() -> None:
    async with fake_scheduler() as scheduler:
        wrong = WorkerSettings(str(scheduler.listener.address), token=b"w" * 16, name="w")
        with pytest.raises(WorkerFailed, match="token"):
            await run_worker(wrong)


# ------------------------------------------------------------------------------------------------------------ starting


async def test_preload_runs_once_before_any_task() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler, preload="tests.worker.preloaded:remember('x', n=3)"):
        number = scheduler.define(lambda x: sys.modules["tests.worker.preloaded"].REMEMBERED)
        assert await scheduler.value(scheduler.task(number)) == [("x", 3)]


@pytest.mark.parametrize(
    ("preload", "words"),
    [("no_such_module_at_all", "No module named"), ("tests.worker.preloaded:fail()", "preload on purpose")],
)
async def test_a_preload_that_fails_ends_the_worker_with_the_cause(preload: str, words: str) -> None:
    async with fake_scheduler() as scheduler:
        with pytest.raises(WorkerFailed, match=words):
            await run_worker(settings(scheduler, preload=preload))


@pytest.mark.parametrize("how", [{"start_method": "spawn"}, {"preload": "tests.worker.preloaded:start_a_thread()"}])
async def test_processors_are_fresh_interpreters_when_asked_for_or_when_preload_leaves_threads(how: Any) -> None:
    async with fake_scheduler() as scheduler, worker(scheduler, **how) as agent:
        number = scheduler.define(lambda x: (x, os.getppid(), sys.orig_argv[1:3]))
        value, parent, arguments = await scheduler.value(scheduler.task(number, 5))
        assert value == 5
        assert arguments == ["-m", "scaler_trio.worker.processor.process"]
        assert psutil.Process(agent.processors[0].pid).ppid() == parent


async def test_library_threads_are_divided_among_slots() -> None:
    async with fake_scheduler() as scheduler, worker(scheduler, slots=64):
        number = scheduler.define(lambda x: os.environ["OMP_NUM_THREADS"])
        assert await scheduler.value(scheduler.task(number)) == "1"


async def test_output_of_tasks_appears_on_the_agents_own(capfd: pytest.CaptureFixture[str]) -> None:
    def speak(x: Any) -> None:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.system("echo from a subprocess")

    async with fake_scheduler() as scheduler, worker(scheduler):
        await scheduler.value(scheduler.task(scheduler.define(speak)))
        seen = ["", ""]

        def has_come() -> bool:
            out, err = capfd.readouterr()
            seen[0] += out
            seen[1] += err
            return "from a subprocess\n" in seen[0] and "to stderr\n" in seen[1]

        await wait_for(has_come, "the output")
        assert "to stdout\n" in seen[0]


async def test_the_status_tells_what_is_queued_and_what_runs() -> None:
    from scaler_protocol import Timing

    async with fake_scheduler(Timing(heartbeat_s=0.1)) as scheduler, worker(scheduler):
        seen: list[m.WorkerStatus] = []
        original = scheduler._on_message
        scheduler._on_message = lambda link, message: (  # type: ignore[method-assign]
            seen.append(message) if isinstance(message, m.WorkerStatus) else original(link, message)
        )
        attempt = scheduler.slice(scheduler.define(_sleep), [5.0] * 4, expected_s=5.0)
        await scheduler.wait_until(lambda: any(s.running == 1 and s.queued == 2 for s in seen))
        assert seen[-1].memory_bytes > 10_000_000
        scheduler.cancel(attempt, 0, 4)
