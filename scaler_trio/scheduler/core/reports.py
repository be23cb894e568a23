"""What workers send: results, crashes, work given back. A worker may report only its own attempts."""

from collections.abc import Callable
from typing import Any

from attrs import define, field

from scaler_protocol import Message
from scaler_protocol import messages as m
from scaler_protocol.messages import ReturnReason
from scaler_trio.scheduler.core.errors import PeerFault
from scaler_trio.scheduler.core.nesting import Nesting
from scaler_trio.scheduler.core.ownership import find
from scaler_trio.scheduler.core.recall import Recall
from scaler_trio.scheduler.core.records import Client, Worker
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.requeue import Requeue
from scaler_trio.scheduler.core.slice_results import SliceResults
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskEvent
from scaler_trio.scheduler.core.task_results import TaskResults


@define(eq=False, repr=False)
class Reports:
    """Turns workers' messages into ended or requeued items."""

    state: SchedulerState
    task_results: TaskResults
    slice_results: SliceResults
    requeue: Requeue
    recall: Recall
    recovery: Recovery
    nesting: Nesting
    handlers: dict[type, Callable[[Worker, Any], None]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.handlers = {
            m.AttemptResults: self.task_results.take,
            m.SliceResults: self.slice_results.take,
            m.Returned: self._returned,
            m.Crashed: self._crashed,
            m.Waiting: self.nesting.take,
            m.AttemptOutput: self._printed,
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

    def _returned(self, worker: Worker, message: m.Returned) -> None:
        state = self.state
        rows, found = find(self.state, self.recovery, worker, message, None)
        for (_, lo, hi, reason), attempt in zip(rows, found, strict=True):
            if reason == ReturnReason.DRAINING:
                worker.draining = True
                if worker.settled:
                    state.assigned[worker] = None
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

    def _printed(self, worker: Worker, message: m.AttemptOutput) -> None:
        """What tasks printed goes on to their clients; what is not of their own, or of nobody any more, is dropped."""
        rows, found = find(self.state, self.recovery, worker, message, None)
        output: dict[Client, list[tuple[Any, ...]]] = {}
        for (_, row, *rest), attempt in zip(rows, found, strict=True):
            if attempt is not None and attempt.source.client.ready:
                source = attempt.source
                output.setdefault(source.client, []).append((source.number, row, *rest))
        for client, its in output.items():
            self.state.effects.output.setdefault(client.session, []).append(m.TaskOutput(tuple(its)))

    def _crashed(self, worker: Worker, message: m.Crashed) -> None:
        rows, found = find(self.state, self.recovery, worker, message, None)
        worker.last_report_at = self.state.now
        for (_, row, charged, text), attempt in zip(rows, found, strict=True):
            if attempt is not None and row in attempt.open:
                self.state.close_rows(attempt, row, row + 1)
                self.requeue.crash(attempt, row, text, charged=charged)
                self.state.settle(attempt)
