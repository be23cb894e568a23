"""What must be true of the scheduler's tables between two events."""

from collections import Counter
from collections.abc import Container, Iterator

from scaler_trio.ranges import RangeSet
from scaler_trio.scheduler.core.records import Array, Client, Graph, Source, Task, Worker
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskState


def broken(state: SchedulerState, held: Container[Source]) -> Iterator[str]:
    """A sentence for each rule that does not hold. ``held`` are ready tasks that rest or are held back."""
    yield from _stranded(state, held)
    for worker in state.workers.values():
        yield from _worker(state, worker)
    yield from _fleet(state)
    references: Counter[bytes] = Counter()
    users: Counter[int] = Counter()
    for client in state.clients.values():
        yield from _client(client)
        references.update(client.held)
        references.update(client.result_objects)
        for task in client.tasks.values():
            yield from _task(state, task)
            if task.state is not TaskState.DONE:
                users[id(task.function)] += 1
                if task.objects:
                    references.update(task.objects)
            if task.node is not None:
                references.update(task.node.result_objects)
        for graph in client.graphs.values():
            yield from _graph(graph)
        for array in client.arrays.values():
            users[id(array.function)] += 1
            yield from _array(array)
            for block in array.blocks:
                for ids in block.objects.values():
                    references.update(ids)
        sources: list[Source] = [*client.tasks.values(), *client.arrays.values()]
        for function in [*client.functions.values(), *[source.function for source in sources]]:
            if function.users != users[id(function)]:
                yield f"function {function.name}: {function.users} users, counted {users[id(function)]}"
    if dict(references) != state.references.counts:
        yield f"objects are referred to {dict(references)} times, counted {state.references.counts}"
    if state.references.adopted or state.references.deleted:
        yield "changes of references were left over after a step"
    for attempt in state.attempts.values():
        if not attempt.open and not attempt.unacknowledged:
            yield f"attempt {attempt.number} has neither open rows nor results under way"
        if attempt.open and attempt.worker.attempts.get(attempt.number) is not attempt:
            yield f"attempt {attempt.number} has open rows, and its worker does not list it"
    if state.touched or state.assigned:
        yield "rows for peers were left over after a step"


def _stranded(state: SchedulerState, held: Container[Source]) -> Iterator[str]:
    """A ready task that is in no queue would never be run."""
    queued = {s.source for suspects in state.ready.suspects.values() for s in suspects if type(s.source) is Task}
    for client in state.clients.values():
        for line in client.lines.values():
            queued.update([source for queue in line.queues.values() for source in queue if type(source) is Task])
    for client in state.clients.values():
        for task in client.tasks.values():
            if task.state is TaskState.READY and task not in queued and task not in held:
                yield f"task {task.number} of {client.name} is ready and in no queue; its story: {task.story}"


def _fleet(state: SchedulerState) -> Iterator[str]:
    fleet = state.fleet
    ready = [worker for worker in state.workers.values() if worker.ready]
    if fleet.slots != sum(worker.slots for worker in ready):
        yield f"{fleet.slots} slots, counted {sum(worker.slots for worker in ready)}"
    for group in fleet.groups.values():
        if group.members != sum(worker.group is group for worker in ready):
            yield f"a group of {group.members}, counted {sum(worker.group is group for worker in ready)}"
        for tier, place in enumerate(group.places):
            if bool(place) != (group in fleet.hungry[tier]):
                yield f"a group with {len(place)} workers in tier {tier} is listed: {group in fleet.hungry[tier]}"
            for worker in place:
                if worker.tier != tier or worker.group is not group:
                    yield f"worker {worker.name} stands in tier {tier} instead of {worker.tier}"
    for worker in (*fleet.overloaded, *fleet.reserved):
        if not worker.ready:
            yield f"worker {worker.name} is listed as overloaded or reserved, and not connected"


def _worker(state: SchedulerState, worker: Worker) -> Iterator[str]:
    where = f"worker {worker.name}"
    counted = [attempt for attempt in worker.attempts.values() if not attempt.lost]
    waits = worker.waits
    busy = {attempt: len(attempt.open) - waits.get(attempt.number, 0) for attempt in counted}
    items = sum(busy.values())
    if items != worker.items:
        yield f"{where}: {worker.items} items, counted {items}"
    load = sum(count * attempt.expected_s for attempt, count in busy.items())
    rows_load = sum(a.expected_s * count for a, count in busy.items() if type(a.source) is Array)
    if worker.waiting != sum(waits.values()) or not waits.keys() <= {attempt.number for attempt in counted}:
        yield f"{where}: {worker.waiting} rows wait, of {waits}"
    if min([*busy.values(), *waits.values()], default=0) < 0 or (waits and not min(waits.values())):
        yield f"{where}: more rows wait than are open, or an attempt is listed of which none does: {waits}"
    if abs(rows_load - worker.rows_load_s) > 1e-6 * max(1.0, load):
        yield f"{where}: load of rows {worker.rows_load_s}, counted {rows_load}"
    if abs(load - worker.load_s) > 1e-6 * max(1.0, load):
        yield f"{where}: load {worker.load_s}, counted {load}"
    if worker.ready != (worker.group is not None) or (worker.ready and not worker.connected):
        yield f"{where}: ready {worker.ready}, connected {worker.connected}, in a group {worker.group is not None}"
    if worker.tier != (state.fleet.tier(worker) if worker.ready else -1):
        yield f"{where}: tier {worker.tier}, should be {state.fleet.tier(worker)}"
    free = {name: amount for name, amount in worker.capabilities.items() if amount >= 0}
    for attempt in counted:
        for name, amount in attempt.source.demand.amounts:
            if name in free:
                free[name] -= amount * len(attempt.open)
    if worker.ready and free != worker.free:
        yield f"{where}: free {worker.free}, counted {free}"
    for number, attempt in worker.attempts.items():
        if not attempt.open or state.attempts.get(number) is not attempt:
            yield f"{where}: attempt {number} is listed without open rows, or is not in the table"
    if bool(worker.settled) != (worker in state.unsettled):
        yield f"{where}: attempts {worker.settled} to hear of, due at {state.unsettled.get(worker)}"
    for rows in (worker.assignments, worker.cancels, worker.forgets):
        if rows:
            yield f"{where}: rows left over after a step: {rows}"
    for function in worker.functions:
        if worker not in function.workers:
            yield f"{where}: has function {function.name}, which does not know it"


def _client(client: Client) -> Iterator[str]:
    where = f"client {client.name}"
    waiting = (TaskState.WAITING, TaskState.READY)
    unassigned = sum(len(task.payload) for task in client.tasks.values() if task.state in waiting)
    unassigned += sum(block.unshipped_bytes for array in client.arrays.values() for block in array.blocks)
    if client.unassigned_bytes != unassigned:
        yield f"{where}: {client.unassigned_bytes} bytes unassigned, counted {unassigned}"
    total = sum(entry.size_bytes for entry in client.unacknowledged)
    if total != client.unacknowledged_bytes:
        yield f"{where}: {client.unacknowledged_bytes} bytes unacknowledged, counted {total}"
    if client.rows or client.rows_tasks or client.rows_bytes or client.profiles:
        yield f"{where}: result rows left over after a step"
    root = client.root
    if root is not client and (client not in root.nested or root.root is not root or not client.depth):
        yield f"{where}: depth {client.depth}, on the account of {root}, which does not say so"
    for line in client.lines.values():
        if line.client is not root:
            yield f"{where}: its work of class {line.key} queues for another root"
        if line.head() is not None and not line.listed and not client.blocked:
            yield f"{where}: its line of class {line.key} has ready work and is not listed"


def _task(state: SchedulerState, task: Task) -> Iterator[str]:
    for fault in _task_faults(state, task):
        yield f"task {task.number} ({task.state.value}), story {task.story}: {fault}"


def _task_faults(state: SchedulerState, task: Task) -> Iterator[str]:
    if (task.attempt is not None) != (task.state in (TaskState.ASSIGNED, TaskState.CANCELLING)):
        if task.state is not TaskState.DONE:
            yield f"attempt {task.attempt}"
        elif task.attempt is not None and not task.attempt.unacknowledged:
            yield f"its attempt {task.attempt.number} has no result under way"
    if task.attempt is not None and state.attempts.get(task.attempt.number) is not task.attempt:
        yield "its attempt is not in the table"
    node = task.node
    if node is None:
        if task.state is TaskState.WAITING:
            yield "it waits, and is no node"
        return
    missing = sum(source.state is not TaskState.DONE for source in node.inputs)
    if task.state is TaskState.WAITING and node.graph.complete and (node.missing == 0 or node.missing != missing):
        yield f"{node.missing} inputs missing, counted {missing}"
    readers = sum(dependent.node.inputs.count(task) for dependent in set(node.dependents) if dependent.node is not None)
    if task.state is not TaskState.DONE and node.readers != readers:
        yield f"{node.readers} readers, counted {readers}"
    if node.readers == 0 and (node.result is not None or node.result_objects):
        yield "its result is kept for nobody"


def _graph(graph: Graph) -> Iterator[str]:
    unfinished = sum(task.state is not TaskState.DONE for task in graph.nodes.values())
    if unfinished != graph.unfinished:
        yield f"graph {graph.number}: {graph.unfinished} nodes unfinished, counted {unfinished}"
    if graph.complete and not graph.unfinished and not graph.unacknowledged:
        yield f"graph {graph.number} has ended and is not forgotten"


def _array(array: Array) -> Iterator[str]:
    where = f"array {array.number}, story {list(array.story)}"
    assigned = RangeSet([part for attempt in array.outstanding.values() for part in attempt.open])
    seen = RangeSet()
    for name, ranges in (
        ("done", array.done.within(0, array.received)),
        ("open", [gap for lo, hi in assigned for gap in array.done.missing(lo, hi)]),
        ("to be done again", list(array.redo)),
        ("suspect", list(array.suspects)),
        ("resting", list(array.resting)),
        ("held", list(array.held)),
        ("new", array.done.missing(array.next, array.received)),
    ):
        for lo, hi in ranges:
            if seen.add(lo, hi) != hi - lo:
                yield f"{where}: rows {lo} to {hi} are {name} and something else"
    if not all(row in array.retries for lo, hi in array.resting for row in range(lo, hi)):
        yield f"{where}: rows {array.resting} rest, {array.retries} were tried"
    if len(seen) != array.received:
        yield f"{where}: {array.received} rows, {len(seen)} accounted for: {seen}"
    for block in array.blocks:
        if block.open != sum(hi - lo for lo, hi in array.done.missing(block.start, block.end)) or not block.open:
            yield f"{where}: block {block.start} to {block.end} has {block.open} rows open"
