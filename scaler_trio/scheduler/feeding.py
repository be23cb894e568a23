"""Who gets what, and when: keeping workers fed ahead by time, cutting slices, and recalling queued work for idle workers."""

from array import array as typed_array
from heapq import nlargest
from itertools import islice

from attrs import define, field

from scaler_protocol import messages as m
from scaler_protocol.limits import BATCH_ROWS, INPUTS_BYTES, MIB
from scaler_protocol.messages import Outcome
from scaler_trio.scheduler.completion import Completion
from scaler_trio.scheduler.estimates import expected_s, slice_rows
from scaler_trio.scheduler.queues import has_unassigned
from scaler_trio.scheduler.records import Array, Attempt, ClassKey, RowBlock, Task, Worker
from scaler_trio.scheduler.state import SchedulerState
from scaler_trio.scheduler.states import TaskEvent, TaskState

MESSAGE_BYTES = 1 * MIB
"""Payloads put together into one assignment message: a small part of a frame's limit."""

IDLE_AT_ONCE = 64
"""Idle workers that one step recalls work for; the next step goes on."""


@define
class Feeding:
    """Assigns ready work to hungry workers."""

    state: SchedulerState
    completion: Completion
    recall_at: float = 0.0  # when to look again at workers that sit on queued work while others idle; 0 = never
    fleet: int = -1  # the fleet that `fitting` is about
    fitting: dict[ClassKey, bool] = field(factory=dict)
    unfit_since: dict[ClassKey, float] = field(factory=dict)  # classes with ready work that no connected worker fits

    # ------------------------------------------------------------------------------------------------------- assign

    def feed(self) -> None:
        """Give ready work to hungry workers, in turn, until either runs out."""
        state = self.state
        ready, hungry = state.ready, state.hungry
        if not ready or not hungry:
            return
        passed_over: list[Worker] = []
        while hungry and ready:
            worker = next(iter(hungry))
            del hungry[worker]
            keys = [
                key for key in ready.classes if state.fits(worker, key) and (not key[1] or state.has_room(worker, key))
            ]
            source = ready.head(keys, state.blocked) if keys else None
            if source is None:
                passed_over.append(worker)
                continue
            if type(source) is Task:
                if source.alone and worker.items:
                    passed_over.append(worker)
                    continue
                ready.pop(source)
                self._assign_task(worker, source)
            elif type(source) is Array and not self._assign_slice(worker, source):
                passed_over.append(worker)
                continue
            hungry.pop(worker, None)  # to the end of the line
            state.check_hunger(worker)
        for worker in passed_over:
            hungry[worker] = None

    def _assign_task(self, worker: Worker, task: Task) -> None:
        state = self.state
        state.move(task, TaskEvent.ASSIGN)
        attempt = state.new_attempt(worker, task, 0, 1, expected_s(task.function, state.tuning))
        task.attempt = attempt
        if task.alone:
            worker.exclusive = True
        client = task.client
        client.unassigned_bytes -= len(task.payload)
        state.touched[client] = None
        function = task.function
        if function.key not in worker.functions:
            self._put_function(worker, task)
        inputs: tuple[bytes, ...] = ()
        if task.inputs:
            inputs = self._inputs(worker, attempt, task)
        option = worker.assignment_options.setdefault(task.options, len(worker.assignment_options))
        worker.assignments.append(
            (attempt.number, client.session, task.number, function.key, task.payload, inputs, option)
        )
        worker.assignment_bytes += len(task.payload) + sum(map(len, inputs))
        state.assigned[worker] = None
        if len(worker.assignments) >= BATCH_ROWS or worker.assignment_bytes >= MESSAGE_BYTES:
            self.flush_worker(worker)

    def _put_function(self, worker: Worker, source: Task | Array) -> None:
        function = source.function
        worker.functions.add(function.key)
        self.state.effects.send(worker.session, m.PutFunction(function.key, function.name, function.payload))

    def _inputs(self, worker: Worker, attempt: Attempt, task: Task) -> tuple[bytes, ...]:
        """The results that a node takes: in its row if they are small, ahead of it otherwise."""
        inputs = tuple([source.result or b"" for source in task.inputs])
        if sum(map(len, inputs)) <= INPUTS_BYTES // 16:
            return inputs
        part: list[bytes] = []
        size = 0
        for payload in inputs:
            if size + len(payload) > INPUTS_BYTES:
                self.state.effects.send(worker.session, m.AssignInputs(attempt.number, tuple(part)))
                part, size = [], 0
            part.append(payload)
            size += len(payload)
        self.state.effects.send(worker.session, m.AssignInputs(attempt.number, tuple(part)))
        return ()

    def flush_worker(self, worker: Worker) -> None:
        """Put the assignment rows and settled attempts of this step into messages."""
        if worker.assignments:
            rows, worker.assignments = worker.assignments, []
            options = tuple(worker.assignment_options)
            worker.assignment_options = {}
            worker.assignment_bytes = 0
            self.state.effects.send(worker.session, m.AssignTasks(options, tuple(rows)))
        if worker.settled:
            settled, worker.settled = worker.settled, []
            if worker.connected:
                for at in range(0, len(settled), BATCH_ROWS):
                    self.state.effects.send(worker.session, m.Settled(tuple(settled[at : at + BATCH_ROWS])))

    # ------------------------------------------------------------------------------------------------------- slices

    def _assign_slice(self, worker: Worker, array: Array) -> bool:
        state = self.state
        found = self._cut(array)
        if found is None:
            return True  # nothing was left after all
        lo, hi, block, suspect = found
        if suspect and worker.items:
            return False
        if array.redo.remove(lo, hi) == 0:
            array.next = hi
        array.redo_most.pop(lo, None)
        attempt = state.new_attempt(worker, array, lo, hi, expected_s(array.function, state.tuning))
        attempt.block = block
        array.outstanding[attempt.number] = attempt
        if suspect:
            worker.exclusive = True
            left = array.redo.within(hi, hi + 1)
            if left and hi not in array.redo_most:
                array.redo_most[hi] = suspect
        page_lo = (lo - block.start) // block.page_rows
        page_hi = -(-(hi - block.start) // block.page_rows)
        begin, end = block.offsets[page_lo], block.offsets[page_hi]
        function = array.function
        if function.key not in worker.functions:
            self._put_function(worker, array)
        offsets = block.offsets[page_lo : page_hi + 1]
        client = array.client
        if page_hi > block.shipped:
            client.unassigned_bytes -= end - block.offsets[block.shipped]
            block.shipped = page_hi
            state.touched[client] = None
        known = function.samples >= state.tuning.samples
        state.effects.send(
            worker.session,
            m.AssignSlice(
                attempt=attempt.number,
                client=client.session,
                task=array.number,
                lo=lo,
                hi=hi,
                function=function.key,
                options=array.options,
                first=block.start + page_lo * block.page_rows,
                page_rows=block.page_rows,
                expected_s=function.mean_s if known else 0.0,
                offsets=_rebased(offsets),
                data=block.data[begin:end],
            ),
        )
        array.story.append((state.now, "slice", lo, hi, worker.session[:4].hex()))
        return True

    def _cut(self, array: Array) -> tuple[int, int, RowBlock, int] | None:
        """The next slice: rows to do again first. The last element is its bound if it is a suspect, else 0."""
        tuning = self.state.tuning
        while has_unassigned(array):
            again = bool(array.redo)
            if again:
                lo, end = array.redo.first
            else:
                lo, end = array.next, array.received
            gaps = array.done.missing(lo, end) if array.done else [(lo, end)]
            if not gaps:
                self._skip(array, again, lo, end)
                continue
            if gaps[0][0] > lo:
                self._skip(array, again, lo, gaps[0][0])
                continue
            lo, end = gaps[0]
            block = _block_of(array, lo)
            suspect = array.redo_most.get(lo, 0) if again else 0
            remaining = (array.count if array.count >= 0 else array.received) - lo
            rows = suspect or slice_rows(array.function, remaining, self.state.slots, tuning)
            for void in block.void:
                if void > lo:
                    end = min(end, void)
                    break
            return lo, min(lo + rows, end, block.end), block, suspect
        return None

    def _skip(self, array: Array, again: bool, lo: int, hi: int) -> None:
        if again:
            array.redo.remove(lo, hi)
        else:
            array.next = hi

    # ------------------------------------------------------------------------------------------------------- recall

    def recall(self) -> None:
        """If workers are idle and nothing is ready, take queued work back from those that sit on it."""
        state = self.state
        self.recall_at = 0.0
        if state.ready or not state.overloaded or not state.hungry:
            return
        idle = [worker for worker in islice(state.hungry, IDLE_AT_ONCE) if worker.items == 0]
        if not idle:
            return
        tuning, now = state.tuning, state.now
        busy = [worker for worker in state.overloaded if not worker.recalls]
        for worker in nlargest(len(idle), busy, key=lambda w: w.load_s):
            silent_s = now - worker.last_report_at
            queued_s = worker.load_s * (worker.items - worker.slots) / worker.items - silent_s
            if queued_s >= tuning.recall_least_s or silent_s >= tuning.recall_after_s:
                self._recall_from(worker, 1 + len(idle))
            else:
                self.recall_at = now + tuning.recall_after_s / 2

    def _recall_from(self, worker: Worker, share: int) -> None:
        """Ask for the last part of what a worker has open: all but a fair share of it."""
        state = self.state
        give = worker.items - max(worker.slots, -(-worker.items // share))
        rows: list[tuple[int, int]] = []
        for attempt in reversed(list(worker.attempts.values())):
            if give <= 0 or len(rows) >= BATCH_ROWS:
                break
            if attempt.recalled or not attempt.open:
                continue
            count = len(attempt.open)
            if not any(state.fits(idle, attempt.source.class_key) for idle in state.hungry if idle.items == 0):
                continue
            if count <= give:
                lo = attempt.open.first[0]
                give -= count
            else:
                lo = attempt.open.last[1] - give
                give = 0
            attempt.recalled = True
            rows.append((attempt.number, lo))
        if rows:
            worker.recalls += len(rows)
            state.effects.send(worker.session, m.Recall(tuple(rows)))

    # --------------------------------------------------------------------------------------------------- unrunnable

    def check_unrunnable(self) -> None:
        """End work that has waited too long while workers were there and none of them fits it."""
        state = self.state
        for key in [key for key in self.unfit_since if key not in state.ready.classes or self._someone_fits(key)]:
            del self.unfit_since[key]
        if not state.ready or not state.slots:
            self.unfit_since.clear()
            return
        for key in [key for key in state.ready.classes if not self._someone_fits(key)]:
            since = self.unfit_since.setdefault(key, state.now)
            if state.now - since >= state.tuning.unrunnable_after_s:
                self._fail_class(key, _why_unrunnable(key, [w for w in state.workers.values() if w.ready]))
                del self.unfit_since[key]

    def _someone_fits(self, key: ClassKey) -> bool:
        """Whether a connected worker fits; remembered until the fleet changes."""
        state = self.state
        if self.fleet != state.fleet:
            self.fleet = state.fleet
            self.fitting.clear()
        known = self.fitting.get(key)
        if known is None:
            known = self.fitting[key] = any(w.ready and state.fits(w, key) for w in state.workers.values())
        return known

    def _fail_class(self, key: ClassKey, text: str) -> None:
        payload = text.encode()
        while True:
            source = self.state.ready.head([key], set())
            if source is None:
                return
            if type(source) is Task:
                self.completion.finish(source, TaskEvent.UNRUNNABLE, Outcome.UNRUNNABLE, payload)
            elif type(source) is Array:
                for lo, hi in [*source.redo, (source.next, source.received)]:
                    self.completion.report_rows(source, lo, hi, Outcome.UNRUNNABLE, payload)
                source.redo = type(source.redo)()
                source.next = source.received

    def next_unrunnable_at(self) -> float | None:
        """When ``check_unrunnable`` has something to end, at the earliest."""
        if not self.unfit_since:
            return None
        return min(self.unfit_since.values()) + self.state.tuning.unrunnable_after_s

    # --------------------------------------------------------------------------------------------------------- back

    def take_back(self, attempt: Attempt, lo: int, hi: int, event: TaskEvent, *, suspect: int = 0) -> None:
        """Rows of an attempt that may be run again: queue them, first in line, or end them if they were cancelled."""
        state = self.state
        source = attempt.source
        if type(source) is Task:
            if source.state is TaskState.CANCELLING:
                self.completion.finish(source, event, Outcome.CANCELLED, b"cancelled")
            elif source.attempt is attempt and state.move(source, event) and source.state is TaskState.READY:
                source.attempt = None
                source.alone = source.alone or bool(suspect)
                source.client.unassigned_bytes += len(source.payload)
                state.ready.add(source, in_front=True)
            return
        assert type(source) is Array
        for start, end in source.done.missing(lo, hi):
            cancelled = source.cancelled.within(start, end)
            for a, b in cancelled:
                self.completion.report_rows(source, a, b, Outcome.CANCELLED, b"cancelled", attempt)
            for a, b in type(source.done)(cancelled).missing(start, end) if cancelled else [(start, end)]:
                source.redo.add(a, b)
                if suspect:
                    source.redo_most[a] = suspect
        if has_unassigned(source):
            state.ready.add(source, in_front=True)


def _block_of(array: Array, row: int) -> RowBlock:
    for block in array.blocks.values():
        if block.start <= row < block.end:
            return block
    raise AssertionError(f"row {row} of array {array.number} has no block; its story: {array.story}")


def _rebased(offsets: memoryview) -> bytes:
    first = offsets[0]
    if first == 0:
        return offsets.tobytes()
    return typed_array("I", [offset - first for offset in offsets]).tobytes()


def _why_unrunnable(key: ClassKey, connected: list[Worker]) -> str:
    python, capabilities = key
    if capabilities:
        wanted = ", ".join(name if amount < 0 else f"{name}={amount}" for name, amount in capabilities)
        offered = sorted({", ".join(f"{n}={a}" for n, a in w.capabilities.items()) or "nothing" for w in connected})
        return f"no worker offers {wanted}; the {len(connected)} connected workers offer: {'; '.join(offered[:5])}"
    pythons = sorted({worker.python for worker in connected})
    return f"the client runs Python {python}, every worker {', '.join(pythons[:5])}: use the same version on both sides"
