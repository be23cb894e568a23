"""What workers send: results, crashes, work given back."""

from array import array as typed_array
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from attrs import define, field

from scaler_protocol import Message
from scaler_protocol import messages as m
from scaler_protocol.messages import NoticeKind, Outcome, ReturnReason
from scaler_trio.scheduler.completion import Completion, failed_rows
from scaler_trio.scheduler.errors import PeerFault
from scaler_trio.scheduler.estimates import observe
from scaler_trio.scheduler.feeding import Feeding
from scaler_trio.scheduler.records import Array, Attempt, Task, Worker
from scaler_trio.scheduler.recovery import Recovery
from scaler_trio.scheduler.state import SchedulerState
from scaler_trio.scheduler.states import TaskEvent, TaskState

_OUTCOMES = {int(outcome): outcome for outcome in Outcome}


@define
class Reports:
    """Turns workers' messages into ended or requeued items. A worker may report only its own attempts."""

    state: SchedulerState
    completion: Completion
    feeding: Feeding
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
        """Take in one message. Raises ``PeerFault`` before anything of it is taken in."""
        handler = self.handlers.get(type(message))
        if handler is None:
            raise PeerFault(f"a worker does not send {type(message).__name__}")
        handler(worker, message)

    def _attempt(self, worker: Worker, number: int) -> Attempt | None:
        attempt = self.state.attempts.get(number)
        if attempt is not None and attempt.worker is not worker:
            raise PeerFault(f"attempt {number} is another worker's")
        return attempt

    # ---------------------------------------------------------------------------------------------------- results

    def _results(self, worker: Worker, message: m.AttemptResults) -> None:
        state = self.state
        attempts = state.attempts
        for row in message.rows:
            attempt = attempts.get(row[0])
            if attempt is not None and (attempt.worker is not worker or type(attempt.source) is not Task):
                raise PeerFault(f"a result of attempt {row[0]}, which is not this worker's task")
            if row[1] not in _OUTCOMES:
                raise PeerFault(f"attempt {row[0]} ended with the unknown outcome {row[1]}")
        worker.last_report_at = state.now
        for number, outcome_number, payload, objects, seconds, *_ in message.rows:
            attempt = attempts.get(number)
            if attempt is None:
                self._stale(worker, number, m.AttemptResults(((number, outcome_number, payload, objects, seconds),)))
                continue
            task = attempt.source
            assert type(task) is Task
            state.close_rows(attempt, 0, 1)
            outcome = _OUTCOMES[outcome_number]
            if outcome is Outcome.VALUE:
                observe(task.function, seconds, 1)
                state.use(task.client, seconds)
            event = TaskEvent.CANCELLED if outcome is Outcome.CANCELLED else TaskEvent.RESULT
            if not self.completion.finish(
                task, event, outcome, payload, objects=objects, seconds=seconds, attempt=attempt
            ):
                state.references.discard(objects)
            state.settle(attempt)

    def _slice(self, worker: Worker, message: m.SliceResults) -> None:
        state = self.state
        attempt = self._attempt(worker, message.attempt)
        lo, hi = message.lo, message.hi
        if attempt is None:
            self._stale(worker, message.attempt, message)
            return
        array = attempt.source
        if type(array) is not Array or not attempt.lo <= lo < hi <= attempt.hi:
            raise PeerFault(f"attempt {message.attempt} has no rows {lo} to {hi}")
        if len(message.lengths) != 4 * (hi - lo):
            raise PeerFault(f"attempt {message.attempt}: {len(message.lengths)} bytes of lengths for {hi - lo} rows")
        if any(not lo <= row < hi or outcome not in _OUTCOMES for row, outcome, *_ in message.failed):
            raise PeerFault(f"attempt {message.attempt}: a failure of a row outside {lo} to {hi}, or of no known kind")
        worker.last_report_at = state.now
        closed = state.close_rows(attempt, lo, hi)
        if closed:
            observe(array.function, message.seconds, hi - lo)
            state.use(array.client, message.seconds)
        new = array.done.missing(lo, hi)
        if new == [(lo, hi)]:
            self._forward(array, attempt, message)
        elif new:
            for part in _parts(message, new):
                self._forward(array, attempt, part)
        if len(new) != 1 or new[0] != (lo, hi):
            for row, ids in message.objects:
                if not any(a <= row < b for a, b in new):
                    state.references.discard(ids)
        state.settle(attempt)

    def _forward(self, array: Array, attempt: Attempt, message: m.SliceResults) -> None:
        """Pass results, all of them new, on to the client, as they are."""
        state = self.state
        client = array.client
        for _, ids in message.objects:
            state.references.add(ids)
            for object_ in ids:
                client.result_objects[object_] = client.result_objects.get(object_, 0) + 1
        array.redo.remove(message.lo, message.hi)
        self.completion.finish_rows(array, message.lo, message.hi)
        attempt.unacknowledged += 1
        array.unacknowledged += 1
        state.send_result(
            client,
            m.ArrayResults(
                sequence=client.sequence + 1,
                task=array.number,
                lo=message.lo,
                hi=message.hi,
                failed=message.failed,
                objects=message.objects,
                seconds=message.seconds,
                lengths=message.lengths,
                data=message.data,
            ),
            len(message.data) + len(message.lengths),
            [attempt],
            [],
        )
        self.completion.check_array(array)

    def _stale(self, worker: Worker, number: int, message: Message) -> None:
        """A result that nobody waits for: it is settled, unless its client may still declare it."""
        foreign = self.recovery.by_attempt.get(number)
        if foreign is not None and foreign.worker is worker:
            foreign.results.append(message)
            return
        if type(message) is m.AttemptResults:
            self.state.references.discard(message.rows[0][3])
        elif type(message) is m.SliceResults:
            for _, ids in message.objects:
                self.state.references.discard(ids)
        self.state.tell_settled(worker, number)

    # -------------------------------------------------------------------------------------------------- given back

    def _returned(self, worker: Worker, message: m.Returned) -> None:
        state = self.state
        for number, *_ in message.rows:
            self._attempt(worker, number)
        for number, lo, hi, reason, *_ in message.rows:
            attempt = state.attempts.get(number)
            if attempt is None:
                continue
            if attempt.recalled and reason == ReturnReason.RECALLED:
                attempt.recalled = False
                worker.recalls = max(0, worker.recalls - 1)
            open_rows = attempt.open.within(lo, hi)
            for a, b in open_rows:
                state.close_rows(attempt, a, b)
                event = TaskEvent.CANCELLED if reason == ReturnReason.CANCELLED else TaskEvent.RETURN
                self.feeding.take_back(attempt, a, b, event)
            state.settle(attempt)

    def _crashed(self, worker: Worker, message: m.Crashed) -> None:
        for number, *_ in message.rows:
            self._attempt(worker, number)
        worker.last_report_at = self.state.now
        for number, row, charged, text, *_ in message.rows:
            attempt = self.state.attempts.get(number)
            if attempt is None or row not in attempt.open:
                continue
            self.state.close_rows(attempt, row, row + 1)
            self.crash(attempt, row, charged, text)
            self.state.settle(attempt)

    def crash(self, attempt: Attempt, row: int, charged: bool, text: str) -> None:
        """An item's processor (or, if it ran alone, its worker) died: run it again, or end it at its limit."""
        source = attempt.source
        source.story.append((self.state.now, "crash", row, text))
        if type(source) is Task:
            if source.attempt is not attempt:
                return  # it runs, or has run, elsewhere
            source.crashes += charged
            crashes = source.crashes
            unwanted = source.state is TaskState.CANCELLING
        else:
            assert type(source) is Array
            if row in source.done:
                return
            crashes = source.crashes.get(row, 0) + charged
            if crashes:
                source.crashes[row] = crashes
            unwanted = row in source.cancelled
        limit = source.options.crash_limit
        if unwanted or crashes < limit:
            if not unwanted:
                retry = f"run again after crash {crashes} of {limit}: {text}"
                self.state.notice(source.client, source.number, row, NoticeKind.RETRY, retry)
            self.feeding.take_back(attempt, row, row + 1, TaskEvent.REQUEUE)
            return
        final = f"{text} (crash {crashes}, limit {limit})".encode()
        if type(source) is Task:
            self.completion.finish(source, TaskEvent.CRASH_LIMIT, Outcome.CRASHED, final, attempt=attempt)
        elif type(source) is Array:
            self.completion.report_rows(source, row, row + 1, Outcome.CRASHED, final, attempt)


def _parts(message: m.SliceResults, ranges: list[tuple[int, int]]) -> list[m.SliceResults]:
    """The parts of a result message that are about these rows: some of the others were done already."""
    lengths = memoryview(message.lengths).cast("B").cast("I")
    ends = [0, *accumulate(lengths)]
    data = memoryview(message.data)
    parts = []
    for a, b in ranges:
        i, j = a - message.lo, b - message.lo
        parts.append(
            m.SliceResults(
                attempt=message.attempt,
                lo=a,
                hi=b,
                failed=failed_rows(message.failed, a, b),
                objects=failed_rows(message.objects, a, b),
                seconds=message.seconds * (b - a) / (message.hi - message.lo),
                lengths=typed_array("I", lengths[i:j]).tobytes(),
                data=data[ends[i] : ends[j]],
            )
        )
    return parts
