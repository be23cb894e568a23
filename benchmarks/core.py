"""The scheduler's core alone: simulated clients and workers, no IO, no codec; only the time inside the core counts.

``python -m benchmarks.core [--workers N] [--tasks N] [--batch N]``. The reference loop does by hand, for as many tasks,
the least that any scheduler in Python must: a record and a result, in and out of two dictionaries and two queues.
"""

import argparse
import time
from collections import deque
from collections.abc import Iterator
from itertools import count

from scaler_protocol import Message
from scaler_protocol import messages as m
from scaler_trio.config.collector import collect_rarely
from scaler_trio.scheduler.core.core import SchedulerCore
from scaler_trio.scheduler.core.effects import Effects
from scaler_trio.scheduler.core.events import ClientConnected, Event, Received, WorkerConnected
from scaler_trio.scheduler.core.tables import write_u32

SUBMIT_ROWS = 256
"""Rows of one message of the client, as its flush under load makes them."""

ACKNOWLEDGE_MESSAGES = 16
"""Result messages for one acknowledgement: a client acknowledges at the latest after 64, or 100 ms."""

EVENTS_TIMED = 16
"""Events between two looks at the clock."""

PAYLOAD = bytes(30)


class Simulation:
    """A core with workers that answer whatever they are given."""

    def __init__(self, workers: int, *, batch: int, seconds_each: float = 0.002) -> None:
        collect_rarely()  # as the scheduler's process does
        self.core = SchedulerCore(epoch=1, now=0.0)
        self.now = 10.0  # past the recovery window
        self.spent_s = 0.0
        self.batch = batch
        self.seconds_each = seconds_each
        self.client = bytes(16)
        self.sequence = 0
        self.credit_bytes = 0
        self.done = 0
        self.assigned: dict[bytes, deque[tuple[int, int, int]]] = {}
        self.busy: dict[bytes, None] = {}
        self._unacknowledged = 0
        self.event(ClientConnected(self.client))
        self.send(self.client, m.ClientHeld(0, (), ()))
        self.send(self.client, m.DefineFunction(0, "f", b"code"))
        for number in range(1, workers + 1):
            session = number.to_bytes(16, "big")
            self.assigned[session] = deque()
            self.event(WorkerConnected(session, str(number)))
            self.send(session, m.WorkerHeld(1, (), "", 0.0, (), ()))
        self.spent_s = 0.0
        self.events = 0

    def send(self, session: bytes, message: Message) -> None:
        """One message to the core."""
        self.event(Received(session, (message,)))

    def event(self, *events: Event) -> None:
        """Some events; their effects are what the peers have next."""
        handle, now = self.core.handle, self.now
        started = time.thread_time()  # the thread's own time, as others use this machine; but a call takes 5 µs
        all_effects = [handle(event, now) for event in events]
        self.spent_s += time.thread_time() - started
        self.now += 20e-6 * len(events)
        for effects in all_effects:
            self._take(effects)

    def _take(self, effects: Effects) -> None:
        for session, messages in effects.sends.items():
            if session == self.client:
                self._take_client(messages)
                continue
            mine = self.assigned[session]
            for message in messages:
                if type(message) is m.AssignTasks:
                    mine.extend([(row[0], 0, 1) for row in message.rows])
                elif type(message) is m.AssignSlice:
                    mine.append((message.attempt, message.lo, message.hi))
            if mine:
                self.busy[session] = None

    def _take_client(self, messages: list[Message]) -> None:
        for message in messages:
            if type(message) is m.TaskResults:
                self.done += len(message.rows)
                self.sequence = message.sequence
                self._unacknowledged += 1
            elif type(message) is m.ArrayResults:
                self.done += message.hi - message.lo
                self.sequence = message.sequence
                self._unacknowledged += 1
            elif type(message) is m.Credit:
                self.credit_bytes = message.total_bytes
            elif type(message) is m.ClientKnown:
                self.credit_bytes = message.credit_bytes

    def acknowledge(self, *, least: int = ACKNOWLEDGE_MESSAGES) -> None:
        """Acknowledge, if enough has come."""
        if self._unacknowledged >= least:
            self._unacknowledged = 0
            self.send(self.client, m.AckResults(self.sequence))

    def work(self) -> None:
        """Every busy worker reports once, up to a batch of what it has."""
        busy = list(self.busy)
        for at in range(0, len(busy), EVENTS_TIMED):
            events: list[Event] = []
            for session in busy[at : at + EVENTS_TIMED]:
                mine = self.assigned[session]
                rows = [mine.popleft() for _ in range(min(self.batch, len(mine)))]
                if not mine:
                    del self.busy[session]
                events.append(Received(session, self._report(rows)))
            self.event(*events)
            self.acknowledge()

    def _report(self, rows: list[tuple[int, int, int]]) -> list[Message]:
        return [m.AttemptResults(tuple([(attempt, 0, b"result", (), self.seconds_each) for attempt, _, _ in rows]))]


class ArraySimulation(Simulation):
    """The same for slices."""

    def _report(self, rows: list[tuple[int, int, int]]) -> list[Message]:
        return [
            m.SliceResults(
                a, lo, hi, (), (), self.seconds_each * (hi - lo), write_u32([1] * (hi - lo)), b"r" * (hi - lo)
            )
            for a, lo, hi in rows
        ]


def run(workers: int, tasks: int, *, batch: int = 16) -> float:
    """Seconds in the core per single task: submit, assign, result, acknowledge; with their stories."""
    simulation = Simulation(workers, batch=batch)
    options = (m.DEFAULT_OPTIONS,)
    sent = 0
    while simulation.done < tasks:
        while sent < tasks and (sent + SUBMIT_ROWS) * len(PAYLOAD) <= simulation.credit_bytes:
            upto = min(tasks, sent + SUBMIT_ROWS)
            rows = tuple([(number, 0, PAYLOAD, (), 0) for number in range(sent, upto)])
            simulation.send(simulation.client, m.SubmitTasks(options, rows))
            sent = upto
        simulation.work()
    simulation.acknowledge(least=1)
    assert simulation.done == tasks
    assert not simulation.core.state.attempts
    return simulation.spent_s / tasks


def run_array(workers: int, rows: int, *, seconds_each: float = 10e-6) -> tuple[float, float]:
    """Seconds in the core per slice and per row of one array."""
    simulation = ArraySimulation(workers, batch=1, seconds_each=seconds_each)
    simulation.send(simulation.client, m.OpenArray(0, 0, m.DEFAULT_OPTIONS, rows, ()))
    page, block_rows = bytes(200), 4096
    offsets = write_u32(range(0, 200 * (block_rows // 64 + 1), 200))
    sent = 0
    while simulation.done < rows:
        while sent < rows and sent // 64 * 200 < simulation.credit_bytes - len(offsets) * 50:
            block = m.ArrayBlock(0, sent, block_rows, 64, (), (), offsets, page * (block_rows // 64))
            simulation.send(simulation.client, block)
            sent += block_rows
        simulation.work()
    simulation.acknowledge(least=1)
    slices = simulation.core.state.next_attempt - (1 << 32)
    assert not simulation.core.state.attempts
    return simulation.spent_s / slices, simulation.spent_s / rows


def run_graph(workers: int, layers: int, width: int) -> float:
    """Seconds in the core per node of a graph of layers, each node taking two results of the layer before."""
    simulation = Simulation(workers, batch=16)
    nodes = layers * width
    for start in range(0, nodes, 4096):
        rows = tuple([(n, 0, PAYLOAD, (), 0, _inputs(n, width)) for n in range(start, min(nodes, start + 4096))])
        simulation.send(simulation.client, m.GraphNodes(nodes, (m.DEFAULT_OPTIONS,), rows))
    simulation.send(simulation.client, m.GraphEnd(nodes, tuple(range(nodes - width, nodes))))
    while simulation.done < width:
        simulation.work()
    simulation.acknowledge(least=1)
    assert not simulation.core.state.attempts
    return simulation.spent_s / nodes


def _inputs(number: int, width: int) -> tuple[int, ...]:
    if number < width:
        return ()
    above = number - width
    return (above, above // width * width + (above + 1) % width)


class _Record:
    __slots__ = ("number", "payload", "state")

    def __init__(self, number: int, payload: bytes) -> None:
        self.number = number
        self.payload = payload
        self.state = 0


def reference(tasks: int = 200_000) -> float:
    """Seconds per task of the reference loop: how fast this machine runs such Python now."""
    started = time.thread_time()
    for start in range(0, tasks, SUBMIT_ROWS):
        known: dict[int, _Record] = {}
        ready: deque[_Record] = deque()
        attempts: dict[int, _Record] = {}
        for number in range(start, start + SUBMIT_ROWS):
            record = known[number] = _Record(number, PAYLOAD)
            ready.append(record)
        attempt = count()
        assigned = []
        while ready:
            record = ready.popleft()
            its = next(attempt)
            attempts[its] = record
            record.state = 1
            assigned.append((its, record.number, record.payload))
        results = []
        for its, _, _ in assigned:
            record = attempts.pop(its)
            record.state = 2
            results.append((record.number, b"result"))
        for number, _ in results:
            del known[number]
    return (time.thread_time() - started) / tasks


def report(workers: list[int], tasks: list[int], batch: int) -> Iterator[str]:
    """The lines of the table, as they are measured."""
    yield f"{'workers':>8} {'tasks':>10} {'µs per task':>12} {'reference µs':>13} {'ratio':>6}"
    for tasks_count in tasks:
        for workers_count in workers:
            before = reference()
            each = run(workers_count, tasks_count, batch=batch)
            base = (before + reference()) / 2
            yield f"{workers_count:8,} {tasks_count:10,} {1e6 * each:12.2f} {1e6 * base:13.2f} {each / base:6.1f}"
    each, row = run_array(100, 4_096 * 500)
    yield f"array of 2,048,000 rows of 10 µs on 100 workers: {1e6 * each:.1f} µs per slice, {1e9 * row:.0f} ns per row"
    yield f"graph of 50,000 nodes in 10 layers on 100 workers: {1e6 * run_graph(100, 10, 5000):.1f} µs per node"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.core", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="*", default=[2, 100, 1_000, 10_000])
    parser.add_argument("--tasks", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--batch", type=int, default=16, help="results that a worker reports in one message (16)")
    arguments = parser.parse_args()
    for line in report(arguments.workers, arguments.tasks, arguments.batch):
        print(line, flush=True)


if __name__ == "__main__":
    main()
