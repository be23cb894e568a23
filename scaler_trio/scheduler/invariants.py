"""What must be true of the scheduler's tables between two events."""

from collections import Counter
from collections.abc import Iterator

from scaler_trio.scheduler.ranges import RangeSet
from scaler_trio.scheduler.records import Array, Task, Worker
from scaler_trio.scheduler.state import SchedulerState
from scaler_trio.scheduler.states import TaskState


def broken(state: SchedulerState) -> Iterator[str]:
    """A sentence for each rule that does not hold."""
    for worker in state.workers.values():
        yield from _worker(state, worker)
    references: Counter[bytes] = Counter()
    for client in state.clients.values():
        references.update(client.held)
        references.update(client.result_objects)
        for object_, count in client.result_objects.items():
            references[object_] += count - 1
        for task in client.tasks.values():
            yield from _task(state, task)
            if task.state is not TaskState.DONE:
                references.update(task.objects)
            elif task.readers:
                references.update(task.result_objects)
        for array in client.arrays.values():
            yield from _array(array)
            for block in array.blocks.values():
                for ids in block.objects.values():
                    references.update(ids)
        unassigned = sum(len(t.payload) for t in client.tasks.values() if t.state is TaskState.READY)
        if not client.arrays and client.unassigned_bytes != unassigned:
            yield f"client {client.name}: {client.unassigned_bytes} bytes unassigned, counted {unassigned}"
        total = sum(entry.size_bytes for entry in client.unacknowledged)
        if total != client.unacknowledged_bytes:
            yield f"client {client.name}: {client.unacknowledged_bytes} bytes unacknowledged, counted {total}"
        if client.rows:
            yield f"client {client.name}: result rows left over after a step"
    if dict(references) != state.references.counts:
        yield f"objects are referred to {dict(references)} times, counted {state.references.counts}"
    for attempt in state.attempts.values():
        if not attempt.open and not attempt.unacknowledged:
            yield f"attempt {attempt.number} has neither open rows nor results under way"


def _worker(state: SchedulerState, worker: Worker) -> Iterator[str]:
    items = sum(len(attempt.open) for attempt in worker.attempts.values())
    if items != worker.items:
        yield f"worker {worker.name}: {worker.items} items, counted {items}"
    load = sum(len(attempt.open) * attempt.expected_s for attempt in worker.attempts.values())
    if abs(load - worker.load_s) > 1e-6 * max(1.0, load):
        yield f"worker {worker.name}: load {worker.load_s}, counted {load}"
    if state.is_hungry(worker) != (worker in state.hungry):
        yield f"worker {worker.name}: hungry is {state.is_hungry(worker)}, listed {worker in state.hungry}"
    for attempt in worker.attempts.values():
        if attempt.lost or not attempt.open:
            yield f"worker {worker.name}: attempt {attempt.number} is listed, lost or without open rows"


def _task(state: SchedulerState, task: Task) -> Iterator[str]:
    where = f"task {task.number} ({task.state.value}), story {list(task.story)}"
    assigned = task.state in (TaskState.ASSIGNED, TaskState.CANCELLING)
    if assigned != (task.attempt is not None):
        yield f"{where}: attempt {task.attempt}"
    if task.attempt is not None and task.attempt.number not in state.attempts:
        yield f"{where}: its attempt is not in the table"
    if (task.state is TaskState.WAITING) and task.missing == 0 and not _in_open_graph(task):
        yield f"{where}: it waits for nothing"
    if task.missing != sum(source.state is not TaskState.DONE for source in task.inputs):
        yield f"{where}: {task.missing} inputs missing"


def _in_open_graph(task: Task) -> bool:
    return any(task in nodes for nodes in task.client.graphs.values())


def _array(array: Array) -> Iterator[str]:
    seen = RangeSet()
    assigned = RangeSet()
    for attempt in array.outstanding.values():
        for lo, hi in attempt.open:
            assigned.add(lo, hi)
    for name, ranges in (
        ("done", [(max(lo, 0), min(hi, array.received)) for lo, hi in array.done if lo < array.received]),
        ("open", [gap for lo, hi in assigned for gap in array.done.missing(lo, hi)]),
        ("redo", [gap for lo, hi in array.redo for gap in array.done.missing(lo, hi)]),
        ("new", array.done.missing(array.next, array.received)),
    ):
        for lo, hi in ranges:
            if seen.add(lo, hi) != hi - lo:
                yield f"array {array.number}: rows {lo} to {hi} are {name} and something else; story {list(array.story)}"
    if len(seen) != array.received:
        yield f"array {array.number}: {array.received} rows, {len(seen)} accounted for: {seen}; story {list(array.story)}"
