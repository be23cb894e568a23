"""Keeping services running: started one after the other, restarted loudly when they fail, stopped in reverse order.

Each is a command of its own in a process group of its own, so that a Ctrl-C reaches only us; what it prints goes on
with its name in front. If we are killed, the kernel tells the services to end.
"""

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

import trio
from attrs import define, field, frozen

from scaler_trio.process import forking
from scaler_trio.process.notify import notify

READY: Final = re.compile(rb" at tcp://\S+$")
"""What a service that listens prints when it does."""

START_S: Final = 60.0
"""Until a service listens; it takes half a second, or many on a machine that swaps."""

STOP_S: Final = 12.0
"""More than what a worker manager allows its units and their launcher."""

RESTARTS: Final = 5
PERIOD_S: Final = 60.0
"""More restarts of one service within this period, and everything is stopped."""

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 10.0
"""Before a restart, doubling with each within the period."""

LINE_BYTES: Final = 64 * 1024
"""Longer lines are printed in parts."""

WRONG: Final = 2
"""Exit code of a service whose settings are wrong: starting it again does not help."""

log = logging.getLogger("scaler_trio.supervision")


@frozen
class Job:
    """One service."""

    name: str
    """For people, in front of each of its lines."""

    command: Sequence[str]
    listens: bool
    """Whether the next one is started only when this one says where it listens."""


@define
class _Running:
    job: Job
    process: "subprocess.Popen[bytes]"
    is_ready: trio.Event = field(factory=trio.Event)


class Supervision:
    """Runs jobs. ``code`` is the exit code for the whole once ``run`` has returned."""

    def __init__(self, jobs: Sequence[Job], parent_variable: str, *, as_json: bool = False) -> None:
        """Nothing is started yet.

        Args:
            jobs: in the order of their start.
            parent_variable: of the environment; tells a job our process id, whose end shall be its own.
            as_json: each printed line is a JSON object: those that are none become one, with the service's name.
        """
        self.code = 0
        self._jobs = jobs
        self._as_json = as_json
        self._variable = parent_variable
        self._running: list[_Running] = []
        self._end = trio.Event()

    async def run(self) -> None:
        """Start all, keep them, and stop them in reverse order when one has ended for good.

        Cancellation: stops all of them, at any moment of the start too; up to ``STOP_S`` for each.
        """
        async with trio.open_nursery() as outside, trio.open_nursery() as readers:
            outside.start_soon(self._hear_cancel)
            readers.cancel_scope.shield = True  # what is printed while all ends is printed too
            async with trio.open_nursery() as keepers:
                keepers.start_soon(self._start_all, keepers, readers)
                await self._end.wait()
                keepers.cancel_scope.cancel()
            notify("STOPPING=1")
            await self._stop_all()
            outside.cancel_scope.cancel()
            readers.cancel_scope.cancel()

    async def _hear_cancel(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._end.set()

    async def _start_all(self, keepers: trio.Nursery, readers: trio.Nursery) -> None:
        for job in self._jobs:
            await keepers.start(self._keep, job, readers)
        log.info("all %d services run", len(self._jobs))
        notify("READY=1")

    async def _keep(
        self,
        job: Job,
        readers: trio.Nursery,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        failures: deque[float] = deque(maxlen=RESTARTS + 1)
        wait_s = FIRST_WAIT_S
        is_first = True
        while True:
            running = self._spawn(job)
            readers.start_soon(self._pass_on, running)
            if is_first:
                with trio.move_on_after(START_S):
                    await self._until_ready(running)
                if running.process.poll() is None and not running.is_ready.is_set():
                    self._finish(1, f"{job.name} has not begun to listen within {START_S:g} s")
                    return
                if running.is_ready.is_set():
                    task_status.started()
                    is_first = False
            code = await _ended(running.process)
            self._running.remove(running)
            if code == 0:
                self._finish(0, f"{job.name} has ended, as the cluster was shut down")
                return
            how = forking.how(code)
            if code == WRONG:
                self._finish(WRONG, f"{job.name} ended {how}: its settings are wrong")
                return
            now = trio.current_time()
            failures.append(now)
            recent = [at for at in failures if now - at < PERIOD_S]
            if len(recent) > RESTARTS:
                self._finish(
                    code if code > 0 else 128 - code,
                    f"{job.name} ended {how}, {len(recent)} times within {PERIOD_S:g} s; everything is stopped",
                )
                return
            wait_s = FIRST_WAIT_S if len(recent) == 1 else min(2 * wait_s, LONGEST_WAIT_S)
            log.error("%s ended %s; it is started again in %.2g s", job.name, how, wait_s)
            await trio.sleep(wait_s)

    def _finish(self, code: int, why: str) -> None:
        log.log(logging.ERROR if code else logging.INFO, "%s", why)
        self.code = code
        self._end.set()

    def _spawn(self, job: Job) -> _Running:
        # Not in a thread: its end would be that of its children's "parent".
        process = subprocess.Popen(
            list(job.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, self._variable: str(os.getpid()), "PYTHONUNBUFFERED": "1"} | {"NOTIFY_SOCKET": ""},
            process_group=0,
        )
        running = _Running(job, process)
        self._running.append(running)
        if not job.listens:
            running.is_ready.set()
        return running

    async def _until_ready(self, running: _Running) -> None:
        """Until it listens, or has ended."""
        async with trio.open_nursery() as nursery:

            async def ended() -> None:
                await _ended(running.process)
                nursery.cancel_scope.cancel()

            nursery.start_soon(ended)
            await running.is_ready.wait()
            nursery.cancel_scope.cancel()

    async def _pass_on(self, running: _Running) -> None:
        """Print its lines with its name, until nobody has the other end of the pipe any more."""
        assert running.process.stdout is not None
        rest = b""
        # A duplicate, which Trio owns: the Popen object closes its own.
        async with trio.lowlevel.FdStream(os.dup(running.process.stdout.fileno())) as stream:
            running.process.stdout.close()
            while data := await stream.receive_some(LINE_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > LINE_BYTES:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    if READY.search(line):
                        running.is_ready.set()
                    _print(marked(running.job.name, line, as_json=self._as_json) + b"\n")

    async def _stop_all(self) -> None:
        order = list(self._jobs)
        for running in sorted(self._running, key=lambda one: order.index(one.job), reverse=True):
            process = running.process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            with trio.move_on_after(STOP_S):
                await _ended(process)
            if process.poll() is None:
                log.error("%s did not end within %g s; it is killed", running.job.name, STOP_S)
                process.kill()
                process.wait()


async def _ended(process: "subprocess.Popen[bytes]") -> int:
    """Its exit code, when it has ended."""
    if process.poll() is None:
        descriptor = os.pidfd_open(process.pid)
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            trio.lowlevel.notify_closing(descriptor)
            os.close(descriptor)
    return process.wait()


def marked(name: str, line: bytes, *, as_json: bool) -> bytes:
    """A line of a service with its name, which a JSON object has in it already."""
    if not as_json:
        return b"[" + name.encode() + b"] " + line
    if line.startswith(b"{"):
        return line
    text = {"service": name, "message": line.decode(errors="backslashreplace")}
    return json.dumps(text, ensure_ascii=False).encode(errors="backslashreplace")


def _print(line: bytes) -> None:
    try:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except (OSError, ValueError):
        pass  # nobody reads any more; the services go on
