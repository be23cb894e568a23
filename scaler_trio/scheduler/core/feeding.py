"""Who gets what: ready work goes to workers that want it, idle ones first, then those with little queued.

A worker is fed to a depth in predicted time, so that short tasks are prefetched deep and long ones not at all.
"""

from collections import deque

from attrs import define

from scaler_protocol import messages as m
from scaler_protocol.limits import BATCH_ROWS, INPUTS_BYTES, MIB
from scaler_trio.scheduler.core.fixed_rows import ONE_ROW
from scaler_trio.scheduler.core.fleet import ATTEMPTS_PER_WORKER, DEEP, EMPTY, NESTED, PASSED, TIERS, Group
from scaler_trio.scheduler.core.records import Array, Attempt, ClassKey, Node, Source, Suspect, Task, Worker
from scaler_trio.scheduler.core.slicing import Slicing
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import ON, TaskEvent, TaskState

ASSIGN_BYTES = 1 * MIB
"""Assignment rows are put together up to this."""

ROW_INPUTS_BYTES = 256 * 1024
"""Inputs of a node up to this travel in its row; more go ahead of it in messages of their own."""

LOOK = 64
"""Workers of later tiers that are passed over in the search for amounts."""

RESERVED = 64
"""Workers that are run empty for suspects at one time; once empty, a worker takes one suspect after the other."""

_ON_ASSIGN = {before: after for before, after in ON[TaskEvent.ASSIGN].items() if after is not None}
_NO_INPUTS: tuple[bytes, ...] = ()


@define(eq=False, repr=False)
class Feeding:
    """Assigns ready work to hungry workers."""

    state: SchedulerState
    slicing: Slicing

    def feed(self) -> None:
        """Give ready work to hungry workers, in turn, until either runs out."""
        state = self.state
        ready, fleet = state.ready, state.fleet
        if ready.suspects or fleet.reserved:
            self._feed_suspects()
        if not ready.classes:
            return
        for tier in range(TIERS):
            for group in list(fleet.hungry[tier]):
                self._feed_group(group, tier)
                if not ready.classes:
                    return

    def _feed_group(self, group: Group, tier: int) -> None:
        state = self.state
        ready, fleet = state.ready, state.fleet
        keys = [key for key in ready.classes if group.fits(key)]
        place = group.places[tier]
        while place and keys:
            if tier == NESTED:
                line = ready.deep(keys)
            else:
                line = ready.first(keys[0]) if len(keys) == 1 else ready.best(keys)
            if line is None:
                return
            queue = line.front
            source = queue[0]
            if PASSED <= tier <= DEEP and (tier == DEEP) is not (type(source) is Array):
                return
            amounts = source.demand.amounts
            worker = self._choose(group, tier, line.key, amounts) if amounts else next(iter(place))
            if worker is None:
                keys.remove(line.key)
                continue
            if type(source) is Array:
                self.slicing.assign(worker, source)
            else:
                share = 1 if amounts else len(queue) // len(place)
                self._assign_tasks(worker, queue, share)
            fleet.update(worker)
            fleet.to_the_end(worker)

    def _choose(self, group: Group, tier: int, key: ClassKey, amounts: tuple[tuple[str, int], ...]) -> Worker | None:
        """The next of a tier, or of those before it, that has the amounts which this class takes."""
        room = group.room(key)
        chosen = None
        later: list[Worker] = []  # their tier comes after this one
        while room and chosen is None and len(later) < LOOK:
            worker = next(iter(room))
            del room[worker]  # the chosen one is back, at the end, with the update that follows
            if 0 <= worker.tier < PASSED and all(worker.free.get(name, amount) >= amount for name, amount in amounts):
                if worker.tier <= tier:
                    chosen = worker
                else:
                    later.append(worker)
        room.update(dict.fromkeys(later))
        return chosen

    # ------------------------------------------------------------------------------------------------- single tasks

    def _assign_tasks(self, worker: Worker, queue: deque[Source], share: int) -> None:
        """Give a worker tasks of one client from the head of a queue: up to its share, as deep as it should be fed."""
        state = self.state
        now, client = state.now, queue[0].client
        ready, assigned = TaskState.READY, _ON_ASSIGN[TaskState.READY]
        attempts, mine, demands = state.attempts, worker.attempts, worker.assignment_demands
        rows, slots, depth_s, session = worker.assignments, worker.slots, worker.depth_s, client.session
        if not worker.items:
            worker.last_report_at = now
        number = state.next_attempt
        entry = ((now, "assign", worker.name),)
        items, load_s, size = worker.items, worker.load_s, 0
        tasks_s, waiting = load_s - worker.rows_load_s, worker.waiting
        given, given_s, expected_s = 0, 0.0, 0.0
        most = min(BATCH_ROWS, ATTEMPTS_PER_WORKER - len(mine))
        function = demand = None
        option = key = 0
        amounts: tuple[tuple[str, int], ...] = ()
        while queue and given < most:
            task = queue[0]
            if type(task) is not Task:
                break
            if task.state is not ready or task.alone:
                queue.popleft()
                continue
            if given and (given >= share or (items >= slots and (waiting or tasks_s + given_s >= depth_s))):
                break
            queue.popleft()
            if task.function is not function:
                function = task.function
                if function not in worker.functions:
                    state.put_function(worker, function)
                key, expected_s = function.key, function.expected_s
            if task.demand is not demand:
                demand = task.demand
                option = demands.setdefault(demand, len(demands))
                amounts = demand.amounts
            attempt = Attempt(number, worker, task, 0, 1, expected_s, ONE_ROW)
            attempts[number] = mine[number] = task.attempt = attempt
            task.state = assigned
            task.story += entry
            inputs = _NO_INPUTS if task.node is None else self._inputs(worker, attempt, task.node)
            payload = task.payload
            rows.append((number, session, task.number, key, payload, inputs, option))
            number += 1
            items += 1
            given += 1
            given_s += expected_s
            size += len(payload)
            if inputs:
                worker.assignment_bytes += sum(map(len, inputs))
            for name, amount in amounts:
                if name in worker.free:
                    worker.free[name] -= amount
            if len(rows) >= BATCH_ROWS or worker.assignment_bytes + size >= ASSIGN_BYTES:
                worker.items, state.next_attempt = items, number
                self.flush_assignments(worker)
                rows, worker.assignment_bytes = worker.assignments, -size
        state.next_attempt = number
        worker.items = items
        worker.load_s = load_s + given_s
        worker.assignment_bytes += size
        client.root.load_s += given_s
        client.unassigned_bytes -= size
        state.touched[client] = None
        state.assigned[worker] = None

    def _inputs(self, worker: Worker, attempt: Attempt, node: Node) -> tuple[bytes, ...]:
        """The results that a node takes: in its row if they are small, ahead of it otherwise."""
        inputs = tuple([source.node.result or b"" for source in node.inputs])  # type: ignore[union-attr]
        if sum(map(len, inputs)) <= ROW_INPUTS_BYTES:
            return inputs
        part: list[bytes] = []
        size = 0
        for payload in inputs:
            if part and size + len(payload) > INPUTS_BYTES:
                self.state.effects.send(worker.session, m.AssignInputs(attempt.number, tuple(part)))
                part, size = [], 0
            part.append(payload)
            size += len(payload)
        self.state.effects.send(worker.session, m.AssignInputs(attempt.number, tuple(part)))
        return ()

    def flush_assignments(self, worker: Worker) -> None:
        """Put the assignment rows of this step into a message."""
        rows, worker.assignments = worker.assignments, []
        options = tuple([demand.options for demand in worker.assignment_demands])
        worker.assignment_demands.clear()
        worker.assignment_bytes = 0
        self.state.effects.send(worker.session, m.AssignTasks(options, tuple(rows)))

    # ----------------------------------------------------------------------------------------------------- suspects

    def _feed_suspects(self) -> None:
        """Give each suspect a worker of its own; if none is empty, run one empty for it."""
        state = self.state
        fleet = state.fleet
        waiting: dict[ClassKey, int] = {}
        for key in list(state.ready.suspects):
            for group in list(fleet.groups.values()):
                if group.fits(key):
                    self._isolate(group, key)
            if state.ready.next_suspect(key) is not None:
                waiting[key] = len(state.ready.suspects[key])
        for worker in list(fleet.reserved):
            left = waiting.get(worker.reserved or ("", ()), 0)
            if left:
                waiting[worker.reserved or ("", ())] = left - 1
            else:
                fleet.release(worker)
        for key, left in waiting.items():
            for _ in range(min(left, RESERVED - len(fleet.reserved))):
                busy = next((w for g in fleet.groups.values() if g.fits(key) for p in g.places[1:] for w in p), None)
                if busy is None:
                    break
                fleet.reserve(busy, key)

    def _isolate(self, group: Group, key: ClassKey) -> None:
        state = self.state
        for worker in list(group.places[EMPTY]):
            if worker.waiting:  # something is there, although nothing runs
                continue
            suspect = state.ready.next_suspect(key)
            if suspect is None:
                return
            self._assign_alone(worker, suspect)
            worker.exclusive = True
            state.fleet.release(worker)
            state.fleet.update(worker)

    def _assign_alone(self, worker: Worker, suspect: Suspect) -> None:
        source = suspect.source
        if type(source) is Array:
            self.slicing.assign_suspect(worker, source, suspect)
            return
        assert type(source) is Task
        source.alone = False
        self._assign_tasks(worker, deque([source]), 1)
        source.alone = True
