"""A scheduler for tests: real sockets, real messages, no decisions. Answers held-sets, records the rest."""

from __future__ import annotations

import pickle
import time
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from scaler_protocol import Identity, Role, Timing
from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from scaler_trio.net import Address, ConnectionClosed, Link, listen
from scaler_trio.serialization import Style, dump_function, load_error
from scaler_trio.worker.agent.agent import Agent
from scaler_trio.worker.settings import WorkerSettings

TOKEN = b"t" * 16
CLIENT = b"c" * 16


class FakeScheduler:
    """Define, assign, and wait for what comes back."""

    def __init__(self) -> None:
        self.listener = listen(Address("127.0.0.1", 0))
        self.epoch = 1
        self.object_address = ""
        self.drop: tuple[tuple[int, int], ...] = ()
        self.links: list[Link] = []
        self.received: list[Any] = []
        self.results: dict[tuple[int, int], tuple[int, bytes]] = {}  # (attempt, row) to (outcome, payload)
        self.duplicates: list[tuple[int, int]] = []
        self.returned: list[tuple[int, int, int, int]] = []
        self.crashed: list[tuple[int, int, bool, str]] = []
        self.objects: dict[tuple[int, int], tuple[bytes, ...]] = {}
        self._change = trio.Event()
        self._functions = 0
        self._attempts = 0

    @property
    def link(self) -> Link:
        return self.links[-1]

    async def serve(self, link: Link) -> None:
        self.links.append(link)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                while True:
                    for message in await link.receive():
                        self._on_message(link, message)
                    self._changed()
        except* ConnectionClosed:
            self._changed()

    def _changed(self) -> None:
        self._change.set()
        self._change = trio.Event()

    def _on_message(self, link: Link, message: Any) -> None:
        if isinstance(message, m.WorkerHeld):
            link.send(m.WorkerKnown(self.epoch, self.object_address, self.drop))
        elif isinstance(message, m.AttemptResults):
            for attempt, outcome, payload, objects, _ in message.rows:
                self._result(attempt, 0, outcome, payload, objects)
        elif isinstance(message, m.SliceResults):
            failed, objects = dict(message.failed), dict(message.objects)
            at, data = 0, bytes(message.data)
            lengths = memoryview(bytes(message.lengths)).cast("I")
            assert len(lengths) == message.hi - message.lo
            for row, length in zip(range(message.lo, message.hi), lengths, strict=True):
                payload = data[at : at + length]
                self._result(message.attempt, row, failed.get(row, 0), payload, objects.get(row, ()))
                at += length
            assert at == len(data)
        elif isinstance(message, m.Returned):
            self.returned += message.rows
        elif isinstance(message, m.Crashed):
            self.crashed += message.rows
        if not isinstance(message, m.WorkerStatus):
            self.received.append(message)

    def _result(self, attempt: int, row: int, outcome: int, payload: bytes, objects: tuple[bytes, ...]) -> None:
        if (attempt, row) in self.results:
            self.duplicates.append((attempt, row))
        self.results[attempt, row] = (outcome, payload)
        if objects:
            self.objects[attempt, row] = objects

    # ------------------------------------------------------------------------------------------------------ asking

    def define(self, function: Callable[..., Any], style: Style = Style.ONE) -> int:
        self._functions += 1
        self.link.send(m.PutFunction(self._functions, "f", dump_function(function, style)))
        return self._functions

    def tasks(self, function: int, arguments: Sequence[Any], options: m.TaskOptions = m.DEFAULT_OPTIONS) -> list[int]:
        """Single tasks of a function in style ONE; their attempts."""
        numbers = [self._attempts + 1 + index for index in range(len(arguments))]
        self._attempts += len(arguments)
        rows = [(n, CLIENT, n, function, pickle.dumps(a, 5), (), 0) for n, a in zip(numbers, arguments, strict=True)]
        for at in range(0, len(rows), 4096):
            self.link.send(m.AssignTasks((options,), tuple(rows[at : at + 4096])))
        return numbers

    def task(self, function: int, argument: Any = None, options: m.TaskOptions = m.DEFAULT_OPTIONS) -> int:
        return self.tasks(function, [argument], options)[0]

    def slice(
        self,
        function: int,
        rows: Sequence[Any],
        *,
        page_rows: int = 64,
        expected_s: float = 0.0,
        options: m.TaskOptions = m.DEFAULT_OPTIONS,
    ) -> int:
        """One slice, rows 0 to len(rows); its attempt."""
        self._attempts += 1
        if page_rows == 1:
            pages = [pickle.dumps(row, 5) for row in rows]
        else:
            pages = [pickle.dumps(list(rows[at : at + page_rows]), 5) for at in range(0, len(rows), page_rows)]
        offsets = array("I", [0])
        for page in pages:
            offsets.append(offsets[-1] + len(page))
        self.link.send(
            m.AssignSlice(
                self._attempts, CLIENT, self._attempts, 0, len(rows), function, options, 0, page_rows, expected_s,
                offsets.tobytes(), b"".join(pages),
            )
        )  # fmt: skip
        return self._attempts

    def recall(self, attempt: int, lo: int) -> None:
        self.link.send(m.Recall(((attempt, lo),)))

    def cancel(self, attempt: int, lo: int = 0, hi: int = 1) -> None:
        self.link.send(m.CancelAttempts(((attempt, lo, hi),)))

    # ----------------------------------------------------------------------------------------------------- waiting

    async def wait_until(self, condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
        """Wait for what a message changes; on time-out show the last state."""
        with trio.move_on_after(timeout_s):
            while not condition():
                await self._change.wait()
            return
        raise AssertionError(
            f"not within {timeout_s} s; {len(self.results)} results, returned {self.returned}, crashed {self.crashed}, "
            f"last messages {self.received[-5:]!r:.2000}"
        )

    async def result(self, attempt: int, row: int = 0) -> tuple[Outcome, bytes]:
        """A result's outcome and payload."""
        await self.wait_until(lambda: (attempt, row) in self.results)
        outcome, payload = self.results[attempt, row]
        return Outcome(outcome), payload

    async def value(self, attempt: int, row: int = 0) -> Any:
        """A result's value; what the task raised is raised."""
        outcome, payload = await self.result(attempt, row)
        if outcome is Outcome.ERROR:
            raise load_error(payload)
        assert outcome is Outcome.VALUE, (outcome, payload)
        return pickle.loads(payload)

    async def rows_done(self, attempt: int, count: int) -> None:
        """Return when all rows of a slice have a result."""
        await self.wait_until(lambda: all((attempt, row) in self.results for row in (count - 1, *range(count))))

    async def rows(self, attempt: int, count: int) -> list[Any]:
        """All results of a slice."""
        await self.rows_done(attempt, count)
        return [await self.value(attempt, row) for row in range(count)]


@asynccontextmanager
async def fake_scheduler(timing: Timing | None = None) -> AsyncIterator[FakeScheduler]:
    """A scheduler that listens; its connections end with it."""
    scheduler = FakeScheduler()
    async with trio.open_nursery() as nursery:

        def identity() -> Identity:
            return Identity(Role.SCHEDULER, b"s" * 16, "fake", time.time_ns().to_bytes(32, "big"), scheduler.epoch)

        async def serve() -> None:
            await scheduler.listener.serve(
                scheduler.serve, identity, token=TOKEN, timing=timing or Timing(), nursery=nursery
            )

        nursery.start_soon(serve)
        try:
            yield scheduler
        finally:
            scheduler.listener.close()
            nursery.cancel_scope.cancel()


def settings(scheduler: FakeScheduler, **changes: Any) -> WorkerSettings:
    """A worker of this scheduler."""
    return WorkerSettings(str(scheduler.listener.address), token=TOKEN, name="w", **changes)


@asynccontextmanager
async def worker(scheduler: FakeScheduler, **changes: Any) -> AsyncIterator[Agent]:
    """An agent in this process, with real processors; connected when this returns, and gone without a trace after."""
    agent = Agent(settings(scheduler, **changes))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent.run)
        await scheduler.wait_until(lambda: any(isinstance(x, m.WorkerHeld) for x in scheduler.received))
        yield agent
        agent.core.check_invariants()
        nursery.cancel_scope.cancel()
