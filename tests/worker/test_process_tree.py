"""The processes of a worker as an operating system sees them: titles, signals, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psutil
import pytest
import trio

from scaler_protocol import messages as m
from scaler_trio.worker.agent.template_handle import TemplateHandle
from tests.kit.processes import alive, title
from tests.worker.fake_scheduler import TOKEN, FakeScheduler, fake_scheduler, settings

PROGRAM = """
import sys
from scaler_trio.process.lineage import set_title
from scaler_trio.worker import WorkerSettings
from scaler_trio.worker.entry import run_worker_process
set_title("scaler_worker")
sys.exit(run_worker_process(WorkerSettings(sys.argv[1], token={token!r}, name="w", slots=2)))
"""


@asynccontextmanager
async def worker_process(scheduler: FakeScheduler) -> AsyncIterator[subprocess.Popen[str]]:
    """A worker in a process of its own, connected, with two processors."""
    command = [sys.executable, "-c", PROGRAM.format(token=TOKEN), str(scheduler.listener.address)]
    process = await trio.to_thread.run_sync(
        partial(subprocess.Popen, command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    )
    try:
        await scheduler.wait_until(lambda: any(isinstance(x, m.WorkerHeld) for x in scheduler.received))
        await wait_for_count(process.pid, 3)
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def wait_for_count(pid: int, count: int) -> list[psutil.Process]:
    deadline = trio.current_time() + 10
    while len(found := psutil.Process(pid).children(recursive=True)) < count:
        assert trio.current_time() < deadline, found
        await trio.sleep(0.01)
    return found


async def wait_until_gone(processes: list[psutil.Process]) -> None:
    deadline = trio.current_time() + 5
    while left := alive(processes):
        assert trio.current_time() < deadline, f"still there: {left}"
        await trio.sleep(0.01)


def _busy(x: Any) -> None:
    """Holds the GIL, ignores what can be ignored, and has a child of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print("busy", flush=True)
    sum(range(10**12))


async def run_busy_tasks(scheduler: FakeScheduler, process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Two slots in user code that cannot be interrupted; the whole tree."""
    number = scheduler.define(_busy)
    scheduler.tasks(number, [1, 2])
    return await wait_for_count(process.pid, 5)


async def test_every_process_shows_its_role() -> None:
    async with fake_scheduler() as scheduler, worker_process(scheduler) as process:
        deadline = time.monotonic() + 5
        titles: list[str] = []
        while time.monotonic() < deadline and titles.count("scaler_processor") < 2:
            found = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            titles = sorted(title(process) for process in found)
            await trio.sleep(0.01)
        assert titles == ["scaler_processor", "scaler_processor", "scaler_template", "scaler_worker"]


async def test_when_the_agent_is_killed_nothing_of_it_is_left() -> None:
    async with fake_scheduler() as scheduler, worker_process(scheduler) as process:
        tree = await run_busy_tasks(scheduler, process)
        assert len(tree) == 5
        process.kill()
        await wait_until_gone(tree)


async def test_when_the_template_is_killed_its_processors_die_and_the_worker_ends_and_says_why() -> None:
    async with fake_scheduler() as scheduler, worker_process(scheduler) as process:
        (template,) = psutil.Process(process.pid).children()
        processors = template.children()
        template.kill()
        await wait_until_gone(processors)
        assert await trio.to_thread.run_sync(process.wait) == 1
        assert process.stdout is not None
        assert "its template process ended; was it killed?" in process.stdout.read()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_at_once_with_a_goodbye_and_charges_nobody(number: signal.Signals) -> None:
    async with fake_scheduler() as scheduler, worker_process(scheduler) as process:
        tree = await run_busy_tasks(scheduler, process)
        process.send_signal(number)
        assert await trio.to_thread.run_sync(process.wait) == 0
        await wait_until_gone(tree)
        await scheduler.wait_until(lambda: isinstance(scheduler.received[-1], m.Goodbye))
        assert not scheduler.crashed


async def test_ctrl_c_at_the_terminal_does_not_kill_the_template_before_the_agent_decides() -> None:
    async with fake_scheduler() as scheduler, worker_process(scheduler) as process:
        (template,) = psutil.Process(process.pid).children()
        template.send_signal(signal.SIGINT)
        assert await scheduler.value(scheduler.task(scheduler.define(abs), -3)) == 3
        assert template.is_running()


async def test_a_template_forked_from_a_process_without_threads_serves_like_a_spawned_one() -> None:
    # The process of the tests has other threads at times, so this one is forked in a fresh interpreter.
    program = """
import os, trio
from scaler_trio.worker import WorkerSettings
from scaler_trio.worker.agent.template_handle import TemplateHandle
handle = TemplateHandle.begin(WorkerSettings("tcp://127.0.0.1:1"))
assert handle._process is None, "it was spawned"
async def main():
    print(await handle.notices())
    await handle.stop()
    inside = TemplateHandle.begin(WorkerSettings("tcp://127.0.0.1:1"))
    assert inside._process is not None, "it was forked within a Trio run"
    await inside.stop()
trio.run(main)
"""
    result = await trio.to_thread.run_sync(lambda: subprocess.run([sys.executable, "-c", program], capture_output=True))
    assert (result.stdout, result.stderr) == (b"[{'ready': 'fork'}]\n", b"")


@pytest.mark.slow
async def test_a_template_that_does_not_end_by_itself_is_killed() -> None:
    async with fake_scheduler() as scheduler:
        handle = TemplateHandle.spawn(settings(scheduler))
        assert await handle.notices()
        os.kill(handle._pid, signal.SIGSTOP)
        await handle.stop()
        assert not psutil.pid_exists(handle._pid)
        await handle.stop()
