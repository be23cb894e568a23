"""Results of slices: passed on as they came, cut where some of their rows had ended before."""

from attrs import define, evolve

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from scaler_trio.ranges import Range
from scaler_trio.scheduler.core.completion import Completion
from scaler_trio.scheduler.core.delivery import Delivery
from scaler_trio.scheduler.core.errors import PeerFault
from scaler_trio.scheduler.core.estimates import observe
from scaler_trio.scheduler.core.records import Array, Attempt, Worker
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.requeue import Requeue
from scaler_trio.scheduler.core.retries import Retries
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskEvent
from scaler_trio.scheduler.core.tables import read_u32

_CANCELLED = int(Outcome.CANCELLED)
_RETRY = int(Outcome.RETRY)


@define(eq=False, repr=False)
class SliceResults:
    """Ends rows by what their workers report."""

    state: SchedulerState
    completion: Completion
    delivery: Delivery
    requeue: Requeue
    retries: Retries
    recovery: Recovery

    def take(self, worker: Worker, message: m.SliceResults) -> None:
        """Take in results.

        Raises:
            PeerFault: they are not the worker's own, or contradict themselves; nothing was taken in.
        """
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
            array.function.result_bytes = len(message.data) // (hi - lo)
            array.client.root.usage_s += message.seconds
        new = array.done.missing(lo, min(hi, array.received))
        if closed < hi - lo and sum([b - a for a, b in new]) > closed:
            array.raced = True  # it reports what it had given back, or lost: somebody else may have it too
        if any(outcome == _RETRY for _, outcome in message.failed):
            message, tried = self._retry(array, attempt, message)
            new = _without(new, tried)
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

    def _retry(self, array: Array, attempt: Attempt, message: m.SliceResults) -> tuple[m.SliceResults, list[int]]:
        """The message with the failures that are final, and the rows whose failures are not."""
        raised = [row for row, outcome in message.failed if outcome == _RETRY and row not in array.done]
        tried = self.retries.take_rows(array, attempt, raised)
        failed = tuple([(row, int(Outcome.ERROR) if outcome == _RETRY else outcome) for row, outcome in message.failed])
        return evolve(message, failed=failed), tried

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
