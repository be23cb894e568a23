"""When a processor tells its agent of results: a loop in this process, whose rows say how long they take."""

from __future__ import annotations

import pickle
import socket
from array import array
from collections.abc import Iterator, Sequence

import pytest
from attrs import define, field

from scaler_trio.serialization import Style, dump_function
from scaler_trio.worker import channel
from scaler_trio.worker.control_page import ControlPage
from scaler_trio.worker.processor import loop as processor_loop
from scaler_trio.worker.processor.batches import PageBatch, TaskBatch
from scaler_trio.worker.processor.loop import AgentGone, ProcessorLoop
from scaler_trio.worker.processor.store import ObjectStore

MS = 1_000_000


@define
class Stage:
    """The clock that the loop reads, and what has been seen of its signals."""

    now_ns: int = 1_000 * MS
    socket: socket.socket | None = None
    signals: list[int] = field(factory=list)  # before each item: how many there were since the item before

    def monotonic_ns(self) -> int:
        return self.now_ns

    def hear(self) -> int:
        assert self.socket is not None
        try:
            return len(self.socket.recv(4096))
        except BlockingIOError:
            return 0


STAGE = Stage()


def take_ms(duration: float) -> None:
    """The user's function; one for each expectation that a test needs."""
    STAGE.signals.append(STAGE.hear())
    STAGE.now_ns += int(duration * MS)


def take_ms_too(duration: float) -> None:
    take_ms(duration)


FUNCTIONS = {1: take_ms, 2: take_ms_too, 3: take_ms}


class Desk:
    """The agent's end: everything is sent before the loop runs, which ends when it has run dry.

    The very first item is not the tests': as after every pause its result is told of at once.
    """

    def __init__(self) -> None:
        self.page = ControlPage.create()
        self.socket, self.its_socket = socket.socketpair()
        self.limit = 0
        STAGE.socket = self.socket
        STAGE.signals.clear()
        for key, function in FUNCTIONS.items():
            self.send(channel.function(key, dump_function(function, Style.ONE)))
        self.rows([0], key=3, expected_ms=1)

    def send(self, buffers: Sequence[bytes]) -> None:
        for buffer in buffers:
            self.socket.sendall(buffer)

    def rows(self, durations: Sequence[float], *, key: int = 1, expected_ms: float = 0) -> None:
        """A slice of an array."""
        page = pickle.dumps(list(durations) if len(durations) > 1 else durations[0])
        offsets = array("I", [0, len(page)]).tobytes()
        self.limit += len(durations)
        part = channel.Pages(key, int(expected_ms * MS), len(durations), 0, len(durations), offsets, page)
        self.send(channel.pages(part))

    def tasks(self, durations: Sequence[float], *, key: int = 1) -> None:
        """Single tasks."""
        self.limit += len(durations)
        self.send(channel.tasks([(key, pickle.dumps(duration), ()) for duration in durations]))

    def run(self, *, wake_at: int | None = None) -> list[int]:
        """Signals heard before each item but the very first, and last those behind the last one."""
        self.page.feed(self.limit, wake_at)
        self.socket.setblocking(False)
        self.socket.shutdown(socket.SHUT_WR)
        with pytest.raises(AgentGone):
            ProcessorLoop(self.page, self.its_socket, ObjectStore()).run()
        assert not any(self.page.outcomes[: self.limit]), "a row failed"
        nothing, first, *heard = [*STAGE.signals, STAGE.hear()]
        assert (nothing, first > 0) == (0, True)
        return [first - 1, *heard]


def positions(heard: Sequence[int]) -> list[int]:
    """Before which items signals were heard."""
    return [at for at, signals in enumerate(heard) if signals]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(processor_loop, "time", STAGE)
    desk = Desk()
    yield desk
    desk.socket.close()
    desk.its_socket.close()
    desk.page.close()


ROWS_MS = PageBatch.report_ns // MS
TASKS_MS = TaskBatch.report_ns // MS


def test_rows_are_told_of_at_their_interval(desk: Desk) -> None:
    desk.rows([10] * 40, expected_ms=10)
    interval = ROWS_MS // 10 + 1
    assert positions(desk.run()) == [interval, 2 * interval]


def test_single_tasks_are_told_of_at_a_shorter_interval(desk: Desk) -> None:
    desk.tasks([8] * 10)
    interval = TASKS_MS // 8 + 1
    assert positions(desk.run()) == [interval, 2 * interval, 3 * interval]
    assert TASKS_MS < ROWS_MS


def test_single_tasks_behind_rows_do_not_wait_for_the_rows_interval(desk: Desk) -> None:
    desk.rows([1] * 10, expected_ms=1)
    desk.tasks([1] * 30)
    assert positions(desk.run()) == [10 + TASKS_MS + 1]


def test_a_long_row_is_preceded_by_a_signal_if_results_wait(desk: Desk) -> None:
    desk.rows([1] * 5, expected_ms=1)
    desk.rows([ROWS_MS] * 3, key=2, expected_ms=ROWS_MS)
    assert desk.run()[:8] == [0] * 5 + [1, 1, 1]


def test_a_single_task_does_not_wait_for_a_row_that_is_long_for_it_and_short_for_rows(desk: Desk) -> None:
    desk.tasks([1] * 3)
    desk.rows([2 * TASKS_MS] * 3, key=2, expected_ms=2 * TASKS_MS)
    assert positions(desk.run())[0] == 3


def test_a_long_row_with_nothing_before_it_costs_no_signal(desk: Desk) -> None:
    desk.rows([2 * ROWS_MS], expected_ms=2 * ROWS_MS)
    assert desk.run() == [0, 1]


def test_a_row_of_unknown_duration_is_preceded_by_a_signal_if_results_wait(desk: Desk) -> None:
    desk.rows([1] * 5, expected_ms=1)
    desk.rows([1] * 5, key=2)
    assert positions(desk.run()) == [5], "it is known when the second one begins"


def test_a_single_task_of_unknown_duration_is_preceded_by_a_signal_if_results_wait(desk: Desk) -> None:
    desk.tasks([1] * 3)
    desk.tasks([1] * 3, key=2)
    assert positions(desk.run()) == [3]


@pytest.mark.parametrize(("is_task", "heard"), [(True, [0, 1]), (False, [0, 0])])
def test_what_is_long_for_a_single_task_is_short_for_a_row(desk: Desk, is_task: bool, heard: list[int]) -> None:
    desk.rows([2 * TASKS_MS], expected_ms=2 * TASKS_MS)
    if is_task:
        desk.tasks([1])
    else:
        desk.rows([1])
    assert desk.run()[:2] == heard


def test_a_claim_past_the_mark_is_a_signal(desk: Desk) -> None:
    desk.rows([1] * 20, expected_ms=1)
    assert positions(desk.run(wake_at=1 + 12)) == [11]
