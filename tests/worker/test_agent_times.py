"""When the agent looks at its processors unasked: a virtual clock, and processors that the test plays."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from scaler_protocol import messages as m
from scaler_trio.worker import channel
from scaler_trio.worker.agent.agent import OUTBOX_BYTES, POLL_S, RETRY_S, Agent
from scaler_trio.worker.control_page import CURRENT, DONE, MASK, NEXT, ControlPage
from scaler_trio.worker.core import events as e
from scaler_trio.worker.settings import WorkerSettings
from tests.worker.simulated_worker import slice_message


class PlayedProcessor:
    """The processor's ends of page and socket."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        sock, page = map(os.dup, descriptors[:2])
        self.socket = socket.socket(fileno=sock)
        self.page = ControlPage(page)

    def run(self, items: int, *, then: bool = False) -> None:
        """Finish so many items, ``then`` begin the next one."""
        cells = self.page.cells
        for _ in range(items):
            done = cells[DONE]
            cells[NEXT] = max(cells[NEXT], done + 1)
            self.page.lengths[done & MASK] = 0
            self.page.ends[done & MASK] = 1000 * done
            cells[DONE] = done + 1
        if then:
            cells[CURRENT] = cells[DONE]
            cells[NEXT] = cells[DONE] + 1

    def signal(self) -> None:
        self.socket.send(channel.SIGNAL)

    def close(self) -> None:
        self.socket.close()
        self.page.close()


class PlayedTemplate:
    """Starts processors that the test plays, and remembers signals."""

    def __init__(self) -> None:
        self.processors: list[PlayedProcessor] = []
        self.signals: list[tuple[int, int]] = []

    def start(self, number: int, descriptors: Sequence[int], *, is_nested: bool = False) -> None:
        self.processors.append(PlayedProcessor(descriptors))
        self.processors[-1].socket.send(channel.READY)

    def signal(self, number: int, which: signal.Signals) -> None:
        self.signals.append((number, which))


class PlayedLink:
    """A connection whose peer reads when the test says so."""

    outbox_bytes = 0

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, *messages: Any) -> None:
        self.sent += messages


class Desk:
    """An agent that is connected, its processors ready, and a record of its looks around."""

    def __init__(self, slots: int) -> None:
        self.template = PlayedTemplate()
        self.link = PlayedLink()
        self.agent = Agent(WorkerSettings("tcp://127.0.0.1:1", slots=slots), self.template)  # type: ignore[arg-type]
        self.agent._link = self.link  # type: ignore[assignment]
        self.looks: list[float] = []  # around, unasked
        look_around = self.agent._look_around

        def record() -> None:
            self.looks.append(trio.current_time())
            look_around()

        self.agent._look_around = record  # type: ignore[method-assign]
        self.attempts = 0

    @property
    def processors(self) -> list[PlayedProcessor]:
        return self.template.processors

    def slice(self, rows: int = 4) -> int:
        self.attempts += 1
        self.agent.apply(slice_message(self.attempts, rows, 1, 4, 0.01, m.DEFAULT_OPTIONS))
        return self.attempts

    @property
    def results(self) -> int:
        return sum(x.hi - x.lo for x in self.link.sent if isinstance(x, m.SliceResults))


@asynccontextmanager
async def desk(slots: int = 1) -> AsyncIterator[Desk]:
    desk = Desk(slots)
    agent = desk.agent
    try:
        async with trio.open_nursery() as nursery:
            agent._nursery = nursery
            nursery.start_soon(agent._keep_time)
            agent.apply(e.Tick(), e.Connected(), m.WorkerKnown(1, "", ()), m.PutFunction(1, "f", b""))
            await wait_all_tasks_blocked()
            assert all(slot.is_ready for slot in agent.core.state.slots)
            yield desk
            agent.core.check_invariants()
            nursery.cancel_scope.cancel()
    finally:
        for processor in agent.processors.values():
            processor.close()
        for played in desk.processors:
            played.close()


async def test_nothing_wakes_an_agent_that_has_nothing_to_do(autojump_clock: MockClock) -> None:
    async with desk() as its:
        await trio.sleep(1000)
        assert its.looks == []


async def test_a_processor_that_is_not_heard_of_is_looked_at(autojump_clock: MockClock) -> None:
    async with desk() as its:
        its.slice()
        began = trio.current_time()
        its.processors[0].run(2, then=True)
        await trio.sleep(POLL_S * 0.99)
        assert its.looks == []
        await trio.sleep(POLL_S * 2.02)
        assert its.looks == pytest.approx([began + POLL_S, began + 2 * POLL_S, began + 3 * POLL_S])
        assert its.results == 2


async def test_a_processor_that_signals_is_not_looked_at_unasked(autojump_clock: MockClock) -> None:
    async with desk() as its:
        its.slice(100)
        for _ in range(20):
            await trio.sleep(POLL_S * 0.75)
            its.processors[0].run(1)
            its.processors[0].signal()
            await wait_all_tasks_blocked()
        assert its.looks == []
        assert its.results == 20


async def test_of_several_the_one_that_was_silent_for_longest_counts(autojump_clock: MockClock) -> None:
    async with desk(slots=2) as its:
        its.slice(100)
        began = trio.current_time()
        await trio.sleep(POLL_S * 0.5)
        its.processors[0].run(1)
        its.processors[0].signal()
        await trio.sleep(POLL_S * 0.75)
        assert its.looks == pytest.approx([began + POLL_S])


async def test_a_slot_that_was_idle_for_long_is_not_looked_at_as_soon_as_it_is_fed(autojump_clock: MockClock) -> None:
    async with desk() as its:
        for _ in range(3):
            await trio.sleep(100 * POLL_S)
            its.slice(1)
            await trio.sleep(POLL_S * 0.9)
            its.processors[0].run(1)
            its.processors[0].signal()
            await wait_all_tasks_blocked()
        assert its.results == 3
        assert its.looks == []


async def test_feeding_a_busy_processor_does_not_put_its_look_off(autojump_clock: MockClock) -> None:
    async with desk() as its:
        began = trio.current_time()
        for _ in range(9):
            its.slice(1)
            await trio.sleep(POLL_S / 5)
        assert its.looks == pytest.approx([began + POLL_S])


async def test_results_that_had_to_wait_for_the_scheduler_are_sent_soon_after_it_reads(
    autojump_clock: MockClock,
) -> None:
    async with desk() as its:
        its.slice()
        its.link.outbox_bytes = OUTBOX_BYTES + 1
        its.processors[0].run(2)
        its.processors[0].signal()
        await trio.sleep(POLL_S * 0.25)
        assert its.results == 0
        assert 0 < len(its.looks) <= POLL_S * 0.25 / RETRY_S + 2, "it looks whether there is room, and not all the time"
        its.link.outbox_bytes = 0
        await trio.sleep(RETRY_S)
        assert its.results == 2
        looks = len(its.looks)
        await trio.sleep(POLL_S * 0.9)
        assert len(its.looks) == looks, "and then there is nothing to try again"


async def test_with_a_full_outbox_a_silent_processor_makes_no_busy_loop(autojump_clock: MockClock) -> None:
    async with desk() as its:
        its.slice()
        its.link.outbox_bytes = OUTBOX_BYTES + 1
        await trio.sleep(POLL_S + 10.0)
        assert len(its.looks) <= 10.0 / RETRY_S + 2


async def test_other_events_do_not_put_a_second_try_off(autojump_clock: MockClock) -> None:
    async with desk() as its:
        attempt = its.slice()
        with _locked(its.processors[0].page.fd):
            its.agent.apply(m.Recall(((attempt, 0),)))
            assert not [x for x in its.link.sent if isinstance(x, m.Returned)]
        for _ in range(20):
            await trio.sleep(RETRY_S / 10)
            its.agent.apply(m.Recall(((99, 0),)))
        returned = [row for x in its.link.sent if isinstance(x, m.Returned) for row in x.rows]
        assert (attempt, 0, 4, 0) in returned


async def test_a_page_that_stays_locked_makes_no_busy_loop(autojump_clock: MockClock) -> None:
    async with desk() as its:
        attempt = its.slice()
        with _locked(its.processors[0].page.fd):
            its.agent.apply(m.Recall(((attempt, 0),)))
            await trio.sleep(1.0)
            assert 1.0 / RETRY_S - 2 <= len(its.looks) <= 1.0 / RETRY_S + 2


async def test_a_processor_that_does_not_die_of_its_kill_makes_no_busy_loop(autojump_clock: MockClock) -> None:
    async with desk() as its:
        its.slice(1)
        its.processors[0].run(0, then=True)
        its.agent.apply(m.Drain(1.0))
        await trio.sleep(3.0)
        assert (1, signal.SIGKILL) in its.template.signals
        assert len(its.looks) <= 3.0 / RETRY_S + 2


async def test_a_processor_that_is_not_ready_makes_no_busy_loop(autojump_clock: MockClock) -> None:
    async with desk(slots=2) as its:
        its.slice(100)
        for processor in its.agent.processors.values():
            processor.is_ready = False
        await trio.sleep(POLL_S + 1.0)
        assert len(its.looks) <= 1.0 / RETRY_S + 2


class _locked:
    """The page's lock, held by another process for as long as the block runs."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pid = 0

    def __enter__(self) -> None:
        held, holds = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            _run_and_exit(lambda: _hold(self._fd, holds))
        os.close(holds)
        assert os.read(held, 1)
        os.close(held)

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _hold(fd: int, holds: int) -> None:
    fcntl.lockf(fd, fcntl.LOCK_EX)
    os.write(holds, b"x")
    signal.pause()


def _run_and_exit(function: Callable[[], None]) -> None:
    try:
        function()
    finally:
        os._exit(1)
