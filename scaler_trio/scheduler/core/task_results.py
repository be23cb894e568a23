"""Results of single tasks and nodes: the path that every one of them takes, so it is written for speed."""

from attrs import define

from scaler_protocol import messages as m
from scaler_protocol.fields import Row
from scaler_protocol.messages import Outcome
from scaler_trio.scheduler.core.completion import Completion
from scaler_trio.scheduler.core.estimates import observe
from scaler_trio.scheduler.core.fixed_rows import NO_ROWS, ONE_ROW
from scaler_trio.scheduler.core.ownership import find
from scaler_trio.scheduler.core.records import Attempt, Client, Function, Task, Worker
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.requeue import Requeue
from scaler_trio.scheduler.core.retries import Retries
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import ON, TaskEvent, TaskState

_ON_RESULT = ON[TaskEvent.RESULT]
_VALUE = int(Outcome.VALUE)


@define(eq=False, repr=False)
class TaskResults:
    """Ends tasks by what their workers report."""

    state: SchedulerState
    completion: Completion
    requeue: Requeue
    retries: Retries
    recovery: Recovery

    def take(self, worker: Worker, message: m.AttemptResults) -> None:
        """Take in results.

        Raises:
            PeerFault: one is not the worker's own; none was taken in.
        """
        rows, found = find(self.state, self.recovery, worker, message, Task)
        now = worker.last_report_at = self.state.now
        if message.profiles:
            self._take_profiles(worker, message)
        client: Client | None = None
        function: Function | None = None
        mine, waits, touched = worker.attempts, worker.waits, self.state.touched
        attempts = self.state.attempts
        entry = ((now, "result"),)
        count, seconds_sum, load_s, items = 0, 0.0, 0.0, 0
        for row, attempt in zip(rows, found, strict=True):
            _, outcome, payload, objects, seconds = row
            if attempt is None:
                self._late(worker, row)
                continue
            task = attempt.source
            if (
                outcome != _VALUE
                or objects
                or attempt.lost
                or attempt.open is not ONE_ROW
                or type(task) is not Task
                or task.rivals
                or task.attempt is not attempt
                or task.objects
                or task.demand.amounts
                or (waits and attempt.number in waits)
            ):
                self._result(attempt, outcome, payload, objects, seconds)
                continue
            # The usual case, which is that of `Completion.finish`, in line.
            if task.function is not function:
                if function is not None and client is not None:
                    self._account(worker, client, function, count, seconds_sum, items, load_s)
                    count, seconds_sum, load_s, items = 0, 0.0, 0.0, 0
                function, client = task.function, task.client
                touched[client] = None
            assert client is not None
            after = _ON_RESULT[task.state]
            assert after is not None
            task.state = after
            task.story += entry
            task.payload = b""
            task.function.users -= 1
            attempt.open = NO_ROWS
            del mine[attempt.number]
            items += 1
            load_s += attempt.expected_s
            count += 1
            seconds_sum += seconds
            if task.wanted:
                attempt.unacknowledged = 1
                client.rows.append((task.number, outcome, payload, objects, seconds))
                client.rows_tasks.append(task)
                client.rows_bytes += len(payload)
            else:
                task.attempt = None
                del attempts[attempt.number]
                worker.settled.append(attempt.number)
            if task.node is not None:
                if task.wanted:
                    task.node.graph.unacknowledged += 1
                self.completion.node_done(task, task.node, payload)
        if worker.settled:
            self.state.assigned[worker] = None
        if function is not None and client is not None:
            self._account(worker, client, function, count, seconds_sum, items, load_s)

    def _take_profiles(self, worker: Worker, message: m.AttemptResults) -> None:
        """What tasks used goes to their clients with their results, if these do in this step."""
        now = self.state.now
        for number, cpu_s, peak_bytes, since_s in message.profiles:
            attempt = self.state.attempts.get(number)
            if attempt is None or attempt.worker is not worker or type(attempt.source) is not Task:
                continue
            task = attempt.source
            queue_s = max(0.0, now - since_s - _ready_at(task))
            task.client.profiles[task.number] = (task.number, cpu_s, peak_bytes, queue_s, worker.name)
            self.state.touched[task.client] = None

    def _account(
        self, worker: Worker, client: Client, function: Function, count: int, seconds: float, items: int, load_s: float
    ) -> None:
        """A run of results of one function was taken in."""
        observe(function, seconds, count, self.state.tuning)
        root = client.root
        root.usage_s += seconds
        root.load_s = max(0.0, root.load_s - load_s)
        worker.items -= items
        worker.load_s -= load_s
        if worker.items == 0:
            worker.load_s = worker.rows_load_s = 0.0  # no drift by rounding
            worker.exclusive = worker.exclusive and worker.waiting > 0
        if function.retired:
            self.state.forget_if_unused(function)

    def _result(
        self, attempt: Attempt, number: int, payload: bytes, objects: tuple[bytes, ...], seconds: float
    ) -> None:
        """One result, whatever its circumstances."""
        state = self.state
        task = attempt.source
        assert type(task) is Task
        was_open = state.close_rows(attempt, 0, 1)
        outcome = Outcome(number)
        if outcome is Outcome.RETRY and not self.retries.take_task(task, attempt):
            outcome = Outcome.ERROR
        if outcome is Outcome.TIMED_OUT and task.demand.options.name:
            payload = task.demand.options.name.encode() + b": " + payload
        if outcome is Outcome.RETRY:
            state.references.discard(objects)
        elif outcome is Outcome.CANCELLED and task.state is not TaskState.CANCELLING:
            # The worker stopped it for a reason of its own; whoever lost a race was told to.
            state.references.discard(objects)
            self.requeue.take_back(attempt, 0, 1, TaskEvent.CANCELLED)
        else:
            if was_open and outcome is Outcome.VALUE:
                observe(task.function, seconds, 1, state.tuning)
                task.client.root.usage_s += seconds
            event = TaskEvent.CANCELLED if outcome is Outcome.CANCELLED else TaskEvent.RESULT
            of_rival = attempt is not task.attempt and outcome is Outcome.CANCELLED
            if of_rival or not self.completion.finish(
                task, event, outcome, payload, objects=objects, seconds=seconds, attempt=attempt
            ):
                state.references.discard(objects)
        state.settle(attempt)

    def _late(self, worker: Worker, row: Row) -> None:
        """A result that nobody waits for: the worker may forget it."""
        self.state.references.discard(row[3])
        self.state.tell_settled(worker, row[0])


def _ready_at(task: Task) -> float:
    """When it could have been run: at what came before its last assignment."""
    story = task.story
    at = max((i for i, entry in enumerate(story) if entry[1] == "assign"), default=0)
    return float(story[max(0, at - 1)][0])
