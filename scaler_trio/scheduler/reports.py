"""What workers send: results, crashes, work given back. A worker may report only its own attempts."""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field

from scaler_protocol import Message
from scaler_protocol import messages as m
from scaler_protocol.fields import Row
from scaler_protocol.messages import Outcome, ReturnReason
from scaler_trio.scheduler.completion import Completion
from scaler_trio.scheduler.delivery import Delivery
from scaler_trio.scheduler.errors import PeerFault
from scaler_trio.scheduler.estimates import observe
from scaler_trio.scheduler.ranges import NO_ROWS, ONE_ROW, Range
from scaler_trio.scheduler.recall import Recall
from scaler_trio.scheduler.records import Array, Attempt, Client, Function, Task, Worker
from scaler_trio.scheduler.recovery import Recovery
from scaler_trio.scheduler.requeue import Requeue
from scaler_trio.scheduler.state import SchedulerState
from scaler_trio.scheduler.states import ON, TaskEvent, TaskState
from scaler_trio.scheduler.tables import read_u32

_ON_RESULT = ON[TaskEvent.RESULT]
_VALUE = int(Outcome.VALUE)
_CANCELLED = int(Outcome.CANCELLED)


@define(eq=False, repr=False)
class Reports:
    """Turns workers' messages into ended or requeued items."""

    state: SchedulerState
    completion: Completion
    delivery: Delivery
    requeue: Requeue
    recall: Recall
    recovery: Recovery
    handlers: dict[type, Callable[[Worker, Any], None]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.handlers = {
            m.AttemptResults: self._results,
            m.SliceResults: self._slice,
            m.Returned: self._returned,
            m.Crashed: self._crashed,
            m.WorkerStatus: lambda worker, message: None,
        }

    def handle(self, worker: Worker, message: Message) -> None:
        """Take in one message.

        Raises:
            PeerFault: before anything of the message is taken in.
        """
        handler = self.handlers.get(type(message))
        if handler is None:
            raise PeerFault(f"a worker does not send {type(message).__name__}")
        handler(worker, message)
        self.state.fleet.update(worker)

    def _find(self, worker: Worker, message: Any, kind: type | None) -> tuple[Sequence[Row], Sequence[Attempt | None]]:
        """The rows, and the attempt of each: None where it is not known (any more)."""
        get = self.state.attempts.get
        found = [get(row[0]) for row in message.rows]
        for attempt in found:
            if attempt is not None and (
                attempt.worker is not worker or (kind is not None and type(attempt.source) is not kind)
            ):
                raise PeerFault(f"{type(message).__name__} of attempt {attempt.number}, which is not its own")
        if self.recovery.claims:
            # What is claimed for a client that has not come, or not completely, waits for it.
            kept = [self.recovery.keep(worker, type(message), row) for row in message.rows]
            rows = [row for row, is_kept in zip(message.rows, kept, strict=True) if not is_kept]
            return rows, [attempt for attempt, is_kept in zip(found, kept, strict=True) if not is_kept]
        return message.rows, found

    # ---------------------------------------------------------------------------------------------------- results

    def _results(self, worker: Worker, message: m.AttemptResults) -> None:
        rows, found = self._find(worker, message, Task)
        now = worker.last_report_at = self.state.now
        client: Client | None = None
        function: Function | None = None
        mine, touched = worker.attempts, self.state.touched
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
                or task.node is not None
                or task.rivals
                or task.attempt is not attempt
                or task.objects
                or task.demand.amounts
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
            attempt.unacknowledged = 1
            del mine[attempt.number]
            items += 1
            load_s += attempt.expected_s
            count += 1
            seconds_sum += seconds
            client.rows.append((task.number, outcome, payload, objects, seconds))
            client.rows_tasks.append(task)
            client.rows_bytes += len(payload)
        if function is not None and client is not None:
            self._account(worker, client, function, count, seconds_sum, items, load_s)

    def _account(
        self, worker: Worker, client: Client, function: Function, count: int, seconds: float, items: int, load_s: float
    ) -> None:
        """A run of results of one function was taken in."""
        observe(function, seconds, count, self.state.tuning)
        client.usage_s += seconds
        client.load_s = max(0.0, client.load_s - load_s)
        worker.items -= items
        worker.load_s -= load_s
        if worker.items == 0:
            worker.load_s = 0.0  # no drift by rounding
            worker.exclusive = False
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
        if outcome is Outcome.CANCELLED and task.state is not TaskState.CANCELLING:
            # The worker stopped it for a reason of its own; whoever lost a race was told to.
            state.references.discard(objects)
            self.requeue.take_back(attempt, 0, 1, TaskEvent.CANCELLED)
        else:
            if was_open and outcome is Outcome.VALUE:
                observe(task.function, seconds, 1, state.tuning)
                task.client.usage_s += seconds
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

    # --------------------------------------------------------------------------------------------- results of slices

    def _slice(self, worker: Worker, message: m.SliceResults) -> None:
        state = self.state
        number, lo, hi = message.attempt, message.lo, message.hi
        attempt = state.attempts.get(number)
        if attempt is not None and attempt.worker is not worker:
            raise PeerFault(f"results of attempt {number}, which is another worker's")
        if attempt is not None and (type(attempt.source) is not Array or not attempt.lo <= lo < hi <= attempt.hi):
            raise PeerFault(f"attempt {number} has no rows {lo} to {hi}")
        _check(message)
        if self.recovery.claims and self.recovery.keep_slice(worker, message):
            return
        if attempt is None:
            for _, ids in message.objects:
                state.references.discard(ids)
            state.tell_settled(worker, number)
            return
        array = attempt.source
        assert type(array) is Array
        worker.last_report_at = state.now
        stopped = [row for row, outcome in message.failed if outcome == _CANCELLED and row not in array.cancelled]
        closed = state.close_rows(attempt, lo, hi)
        if closed:
            observe(array.function, message.seconds, hi - lo, state.tuning)
            array.client.usage_s += message.seconds
        new = array.done.missing(lo, min(hi, array.received))
        if closed < hi - lo and sum([b - a for a, b in new]) > closed:
            array.raced = True  # it reports what it had given back, or lost: somebody else may have it too
        if stopped:  # for a reason of the worker's own
            new = _without(new, stopped)
        if new == [(lo, hi)]:
            self._forward(array, attempt, message)
        else:
            for a, b in new:
                self._forward(array, attempt, _part(message, a, b))
            for row, ids in message.objects:
                if not any(a <= row < b for a, b in new):
                    state.references.discard(ids)
            for row in stopped:
                self.requeue.take_back(attempt, row, row + 1, TaskEvent.CANCELLED)
        self.delivery.forget_if_complete(array)
        state.settle(attempt)

    def _forward(self, array: Array, attempt: Attempt, message: m.SliceResults) -> None:
        """Pass results, all of them new, on to the client, as they are."""
        client = array.client
        for _, ids in message.objects:
            self.state.refer_result(client, ids)
        self.completion.finish_rows(array, message.lo, message.hi)
        passed_on = m.ArrayResults(
            sequence=client.sequence + 1,
            task=array.number,
            lo=message.lo,
            hi=message.hi,
            failed=message.failed,
            objects=message.objects,
            seconds=message.seconds,
            lengths=message.lengths,
            data=message.data,
        )
        self.delivery.send_rows_of(array, passed_on, attempt)

    # -------------------------------------------------------------------------------------------------- given back

    def _returned(self, worker: Worker, message: m.Returned) -> None:
        state = self.state
        rows, found = self._find(worker, message, None)
        for (_, lo, hi, reason), attempt in zip(rows, found, strict=True):
            if reason == ReturnReason.DRAINING:
                worker.draining = True
            if reason == ReturnReason.RECALLED:
                self.recall.answered(worker, hi - lo)
            if attempt is None:
                continue
            if reason == ReturnReason.RECALLED:
                attempt.recalled = False
            event = TaskEvent.CANCELLED if reason == ReturnReason.CANCELLED else TaskEvent.RETURN
            for a, b in attempt.open.within(lo, hi):
                state.close_rows(attempt, a, b)
                self.requeue.take_back(attempt, a, b, event)
            state.settle(attempt)

    def _crashed(self, worker: Worker, message: m.Crashed) -> None:
        rows, found = self._find(worker, message, None)
        worker.last_report_at = self.state.now
        for (_, row, charged, text), attempt in zip(rows, found, strict=True):
            if attempt is not None and row in attempt.open:
                self.state.close_rows(attempt, row, row + 1)
                self.requeue.crash(attempt, row, text, charged=charged)
                self.state.settle(attempt)


def _check(message: m.SliceResults) -> None:
    """Raise ``PeerFault`` if the parts of the message contradict each other."""
    lo, hi = message.lo, message.hi
    where = f"results of attempt {message.attempt}, rows {lo} to {hi}"
    if not lo < hi or len(message.lengths) != 4 * (hi - lo):
        raise PeerFault(f"{where}: {len(message.lengths)} bytes of lengths")
    total = sum(read_u32(message.lengths))
    if total != len(message.data):
        raise PeerFault(f"{where}: the lengths add up to {total}, the data has {len(message.data)} bytes")
    for rows in (message.failed, message.objects):
        if any(not lo <= row[0] < hi for row in rows):
            raise PeerFault(f"{where}: a row outside of them failed or names objects")


def _part(message: m.SliceResults, lo: int, hi: int) -> m.SliceResults:
    """The part of a result message that is about these rows."""
    i, j = lo - message.lo, hi - message.lo
    lengths = read_u32(message.lengths)
    begin = sum(lengths[:i])
    return m.SliceResults(
        attempt=message.attempt,
        lo=lo,
        hi=hi,
        failed=tuple([row for row in message.failed if lo <= row[0] < hi]),
        objects=tuple([row for row in message.objects if lo <= row[0] < hi]),
        seconds=message.seconds * (j - i) / (message.hi - message.lo),
        lengths=memoryview(message.lengths).cast("B")[4 * i : 4 * j],
        data=memoryview(message.data)[begin : begin + sum(lengths[i:j])],
    )


def _without(ranges: list[Range], rows: list[int]) -> list[Range]:
    """The ranges without these rows."""
    left = []
    for lo, hi in ranges:
        at = lo
        for row in sorted(rows):
            if at <= row < hi:
                if at < row:
                    left.append((at, row))
                at = row + 1
        if at < hi:
            left.append((at, hi))
    return left
