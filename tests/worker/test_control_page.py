"""Claims, recalls and results through a real page, a real socket pair and a real processor loop in another process."""

from __future__ import annotations

import fcntl
import os
import pickle
import random
import signal
import socket
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from scaler_trio.serialization import Style, dump_function
from scaler_trio.worker import channel
from scaler_trio.worker.control_page import DATA_BYTES, ENTRIES, GENERATION, STUCK, ControlPage, Sight
from scaler_trio.worker.processor.loop import AgentGone, ProcessorLoop
from scaler_trio.worker.processor.store import ObjectStore

if TYPE_CHECKING:
    from scaler_trio.worker.core.events import Taken


class LoopProcess:
    """A processor loop in a forked process, and the agent's end of it."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.page = ControlPage.create()
        self.socket, its = socket.socketpair()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                self.socket.close()
                ProcessorLoop(self.page, its, ObjectStore()).run()
            except AgentGone:
                status = 0
            finally:
                os._exit(status)
        its.close()
        self.limit = 0
        self.rows: list[Any] = []  # what each item number holds
        self.send(channel.function(1, dump_function(function, Style.ONE)))

    def send(self, buffers: Any) -> None:
        for buffer in buffers:
            self.socket.sendall(buffer)

    def feed(self, rows: list[Any], *, expected_ns: int = 1000, page_rows: int = 16) -> None:
        pages = [pickle.dumps(rows[i : i + page_rows]) for i in range(0, len(rows), page_rows)]
        if page_rows == 1:
            pages = [pickle.dumps(row) for row in rows]
        offsets = array("I", [0])
        for page in pages:
            offsets.append(offsets[-1] + len(page))
        self.limit += len(rows)
        self.rows += rows
        self.page.feed(self.limit, None)
        part = channel.Pages(1, expected_ns, len(rows), 0, page_rows, offsets.tobytes(), b"".join(pages))
        self.send(channel.pages(part))

    def recall(self, item: int) -> list[Any]:
        """The rows that came back."""
        # None: the processor lost its core in the middle of a claim. The agent, too, tries again until it has gone on.
        while (limit := self.page.recall(item)) is None:
            pass
        self.send(channel.truncate(limit, self.page.cells[GENERATION]))
        back, self.rows, self.limit = self.rows[limit:], self.rows[:limit], limit
        return back

    def take(self) -> Taken | None:
        taken = self.page.take()
        if self.page.cells[STUCK]:
            self.send(channel.wake())
        return taken

    def wait(self) -> None:
        """For a signal."""
        assert self.socket.recv(4096)


@contextmanager
def loop_process(function: Callable[[Any], Any]) -> Iterator[LoopProcess]:
    process = LoopProcess(function)
    try:
        yield process
    finally:
        process.socket.close()
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)
        process.page.close()


def payloads(taken: Taken) -> list[bytes]:
    at, found = 0, []
    for length in memoryview(taken.lengths).cast("I"):
        found.append(taken.data[at : at + length])
        at += length
    return found


def same(row: Any) -> Any:
    return row


def large(row: int) -> bytes:
    return row.to_bytes(4, "little") * 4000


@pytest.mark.parametrize("page_rows", [1, 16])
def test_claims_and_recalls_that_race_lose_no_item_and_run_none_twice(page_rows: int) -> None:
    rng = random.Random(7)
    total = 30_000
    waiting = list(range(total))
    results: list[int] = []
    recalled = 0
    with loop_process(same) as process:
        while len(results) < total:
            if waiting and process.limit - len(results) < 2000:
                count = rng.choice([1, 3, 50, 1500])
                some, waiting = waiting[:count], waiting[count:]
                process.feed(some, page_rows=page_rows)
            if rng.random() < 0.5:
                back = process.recall(rng.randint(len(results), process.limit))
                recalled += len(back)
                waiting += back
            if taken := process.take():
                first = len(results)
                assert taken.first == first
                results += [pickle.loads(payload) for payload in payloads(taken)]
                assert results[first:] == process.rows[first : len(results)]
    assert sorted(results) == list(range(total))
    assert recalled > 0


def test_results_larger_than_the_ring_pass_through_it_in_order() -> None:
    rows = list(range(400))
    assert len(rows) * 16_000 > 6 * DATA_BYTES
    found: list[bytes] = []
    with loop_process(large) as process:
        process.feed(rows)
        while len(found) < len(rows):
            process.wait()
            if taken := process.take():
                found += payloads(taken)
    assert [pickle.loads(payload) for payload in found] == [large(row) for row in rows]


def test_more_results_than_the_ring_has_entries_for_wait_until_they_are_taken() -> None:
    total = 3 * ENTRIES
    count = 0
    with loop_process(same) as process:
        process.feed([None] * total)
        while count < total:
            process.wait()
            time.sleep(0.01)  # let it run into the end of the ring
            assert process.page.sight().done - count <= ENTRIES
            if taken := process.take():
                count += taken.items
    assert count == total


def test_everything_finished_before_a_sigkill_can_still_be_read() -> None:
    rng = random.Random(3)
    for _ in range(10):
        with loop_process(large) as process:
            process.feed(list(range(60)))
            process.wait()
            time.sleep(rng.random() * 0.001)
            os.kill(process.pid, signal.SIGKILL)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            taken = process.page.take()
            found = [] if taken is None else [pickle.loads(payload) for payload in payloads(taken)]
            assert found == [large(row) for row in range(len(found))]
            sight = process.page.sight()
            assert sight.done == len(found)
            assert sight.running in (None, sight.done)


def _hang(row: Any) -> None:
    time.sleep(60)


def test_the_page_says_which_item_runs_and_for_how_long() -> None:
    with loop_process(_hang) as process:
        assert process.page.sight() == Sight(0, 0, None, 0)
        process.feed(["a", "b", "c"], expected_ns=0)
        deadline = time.monotonic() + 10
        while process.page.sight().running is None and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        sight = process.page.sight()
        assert (sight.done, sight.claimed, sight.running) == (0, 1, 0)
        assert 0.03e9 < sight.running_ns < 10e9


def _hold_the_lock(page: ControlPage, ready: int) -> None:
    fcntl.lockf(page.fd, fcntl.LOCK_EX)
    os.write(ready, b"x")
    time.sleep(60)


def test_a_processor_stopped_in_the_middle_of_a_claim_does_not_block_the_agent_and_its_death_frees_the_lock() -> None:
    page = ControlPage.create()
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            _hold_the_lock(page, write)
        finally:
            os._exit(0)
    try:
        os.read(read, 1)
        page.feed(10, None)
        assert page.recall(5) is None
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)
    assert page.recall(5) == 5
    page.close()


def test_a_released_page_refuses_every_access() -> None:
    page = ControlPage.create()
    page.release()
    with pytest.raises(ValueError, match="released"):
        page.cells[0] = 1
    page.close()
    page.close()
