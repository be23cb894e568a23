"""What a policy decides by, made from the tables. It looks at all workers and at all queues, but at no single task.

Queues are counted, and what their items take is judged by some at their ends: a policy needs magnitudes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice

from attrs import define

from scaler_trio.scheduler.core.managers import statuses, unit_name
from scaler_trio.scheduler.core.queues import Line
from scaler_trio.scheduler.core.records import Array, ClassKey, Function, Source, Worker
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.policy.core.view import Manager, Unit, View, Work

SAMPLE = 8
"""Sources at each end of a queue that are looked at."""

LEAST_UNKNOWN_S = 0.005
"""What an item of an unknown function is taken for when it has just begun …"""

AGE_FACTOR = 2.0
"""… and, later, as a multiple of the time that it has run: what has run long will probably run long."""


@define
class _Total:
    """Items of one class, and the expected seconds of those of which something is known."""

    queued: int = 0
    running: int = 0
    known: int = 0
    known_s: float = 0.0
    unknown: int = 0
    age_s: float = 0.0

    def add(self, function: Function, items: int, samples: int) -> None:
        """So many items of the function are among them."""
        if function.samples >= samples:
            self.known += items
            self.known_s += items * function.expected_s
        else:
            self.unknown += items

    def work(self, key: ClassKey) -> Work:
        """Half or more of it known counts as known."""
        is_known = self.known >= self.unknown
        each_s = self.known_s / self.known if is_known and self.known else 0.0
        if not is_known:
            each_s = max(LEAST_UNKNOWN_S, AGE_FACTOR * self.age_s)
        return Work(key[0], key[1], self.queued, self.running, each_s, is_known)


def view(state: SchedulerState) -> View:
    """The whole of it. Costs about a microsecond per worker, and per queue."""
    totals: defaultdict[ClassKey, _Total] = defaultdict(_Total)
    for worker in state.workers.values():
        if worker.ready and worker.attempts:
            _count_worker(state, worker, totals)
    for heap in state.ready.classes.values():
        for line in {line for _, _, line in heap if line.listed}:
            _count_line(state, line, totals[line.key])
    for suspects in state.ready.suspects.values():
        for suspect in islice(suspects, SAMPLE):
            total = totals[suspect.source.demand.class_key]
            total.queued += suspect.hi - suspect.lo
            total.add(suspect.source.function, suspect.hi - suspect.lo, state.tuning.samples)
    return View(tuple([total.work(key) for key, total in totals.items()]), tuple(_managers(state)))


def _count_worker(state: SchedulerState, worker: Worker, totals: dict[ClassKey, _Total]) -> None:
    """What it holds, counted as if all were like the oldest."""
    oldest = next(iter(worker.attempts.values())).source
    total = totals[oldest.demand.class_key]
    running = min(worker.items, worker.slots)
    total.running += running
    total.queued += worker.items - running
    total.add(oldest.function, worker.items, state.tuning.samples)
    if oldest.function.samples < state.tuning.samples:
        total.age_s = max(total.age_s, state.now - worker.last_report_at)


def _count_line(state: SchedulerState, line: Line, total: _Total) -> None:
    for queue in line.queues.values():
        ends: list[Source] = [
            *islice(queue, SAMPLE),
            *islice(reversed(queue), min(SAMPLE, max(0, len(queue) - SAMPLE))),
        ]
        tasks = [source for source in ends if type(source) is not Array]
        arrays = {source for source in _arrays(line) if source.queued} if len(tasks) < len(ends) else set()
        for array in arrays:
            if array.client is queue[0].client:
                rows = len(array.redo) + array.received - array.next
                total.queued += rows
                total.add(array.function, rows, state.tuning.samples)
        count = len(queue) - len(arrays) if tasks else 0
        total.queued += count
        for task in tasks:
            total.add(task.function, max(1, count // len(tasks)), state.tuning.samples)


def _arrays(line: Line) -> Iterator[Array]:
    for client in (line.client, *line.client.nested):
        for array in client.arrays.values():
            if array.demand.class_key == line.key:
                yield array


def _managers(state: SchedulerState) -> Iterator[Manager]:
    known = statuses(state.managers.values())
    units: defaultdict[str, list[Unit]] = defaultdict(list)
    alone: defaultdict[tuple[str, tuple[tuple[str, int], ...], int], list[Worker]] = defaultdict(list)
    for worker in state.workers.values():
        if not worker.ready:
            continue
        if worker.manager in known:
            units[worker.manager].append(_unit(state, worker))
        else:
            alone[worker.python, tuple(sorted(worker.capabilities.items())), worker.slots].append(worker)
    for name, manager in known.items():
        status = manager.status
        assert status is not None
        yield Manager(
            name,
            status.limit,
            status.slots,
            status.start_s,
            tuple(units[name]),
            status.launching,
            manager.python,
            tuple([(row[0], row[1]) for row in status.capabilities]),
            status.problem,
        )
    for (python, capabilities, slots), workers in alone.items():
        its = _units(state, workers)
        yield Manager("", 0, slots, 0.0, its, python=python, capabilities=capabilities)


def _units(state: SchedulerState, workers: Iterable[Worker]) -> tuple[Unit, ...]:
    return tuple([_unit(state, worker) for worker in workers])


def _unit(state: SchedulerState, worker: Worker) -> Unit:
    busy = worker.items + worker.waiting
    idle_s = 0.0 if busy else max(0.0, state.now - worker.last_report_at)
    return Unit(unit_name(worker), worker.slots, busy, idle_s, worker.draining)
