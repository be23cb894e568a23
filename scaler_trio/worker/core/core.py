"""WorkerCore: what the agent decides. Events in, effects out; no clock, no IO.

How to think about it: a row of an attempt is in exactly one place: the queue, a slot, the attempt's crashes, its kept
results; or it is not here. Slots are given some work ahead and can be truncated back to what their processor has
claimed, a millisecond or one item, so nearly everything can still go anywhere. Whatever must leave (a recall, a
cancel, a drain) is first brought back into the queue by truncating the slots that have some of it, then removed from
the queue, then answered.

While there is no connection, or the scheduler has not yet said what it knows, nothing new is started; what runs, runs
on, and its results are kept. Results are kept until they are settled in any case, and sent again on every new
connection.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from scaler_protocol import messages as m
from scaler_trio.worker.core import assigning, blocking, connecting, feeding, leaving, progress, stopping, withdrawing
from scaler_trio.worker.core import events as e
from scaler_trio.worker.core.audit import check_state
from scaler_trio.worker.core.state import Offer, WorkerState
from scaler_trio.worker.errors import InternalError


class WorkerCore:
    """One per agent. ``handle`` is the only entry that changes anything."""

    def __init__(self, offer: Offer, *, task_timeout_s: float = 0.0) -> None:
        """``task_timeout_s``: no item may run longer here, whatever its client allows; 0 = as its client says."""
        self.state = state = WorkerState(offer, task_timeout_s)
        self._handlers: dict[type, Callable[[Any], None]] = {
            e.Connected: partial(connecting.on_connected, state),
            e.Disconnected: partial(connecting.on_disconnected, state),
            e.SlotReady: partial(progress.on_slot_ready, state),
            e.Progress: partial(progress.on_progress, state),
            e.Truncated: partial(progress.on_truncated, state),
            e.SlotDied: partial(stopping.on_slot_died, state),
            e.SpareKept: partial(stopping.on_spare_kept, state),
            e.OverMemory: partial(stopping.on_over_memory, state),
            e.Tick: partial(stopping.on_tick, state),
            m.WorkerKnown: partial(connecting.on_known, state),
            m.PutFunction: partial(assigning.on_put_function, state),
            m.ForgetFunctions: partial(assigning.on_forget_functions, state),
            m.AssignInputs: partial(assigning.on_assign_inputs, state),
            m.AssignTasks: partial(assigning.on_assign_tasks, state),
            m.AssignSlice: partial(assigning.on_assign_slice, state),
            m.Recall: partial(withdrawing.on_recall, state),
            m.CancelAttempts: partial(withdrawing.on_cancel, state),
            m.Settled: partial(connecting.on_settled, state),
            m.Drain: partial(leaving.on_drain, state),
            m.Goodbye: partial(leaving.on_goodbye, state),
        }

    def handle(self, event: e.Event, now: float) -> e.Effects:
        """What is to be done about ``event``, in this order.

        Raises:
            PeerFault: the scheduler's message contradicts what it said before; nothing has changed.
            InternalError: a fault of ours.
        """
        state = self.state
        state.now = now
        out: e.Effects = []
        state.out = out
        try:
            self._handlers[type(event)](event)
            if state.is_nested:
                blocking.balance(state)
                if state.is_start_due:
                    stopping.start_processors(state)
            if state.queued_rows:
                if state.drain_until is not None:
                    withdrawing.return_all(state)
                feeding.feed(state)
            feeding.steal(state)
            if state.drain_until is not None:
                leaving.leave_if_done(state)
        except InternalError as error:
            past = state.last_lines(20)
            raise InternalError(f"{error}; it was given {event!r:.500}; what happened before: {past}") from error
        return out

    def next_deadline(self) -> float | None:
        """When to send ``Tick``, or None."""
        state = self.state
        deadlines = [] if state.drain_until is None or state.is_leaving else [state.drain_until]
        for slot in state.slots:
            if slot.start_at is not None:
                deadlines.append(slot.start_at)
            if slot.interruption is not None and not slot.interruption.is_killed:
                deadlines.append(slot.interruption.kill_at)
            elif (deadline := stopping.timeout(state, slot)) is not None:
                deadlines.append(deadline)
        if state.is_nested and (end_at := blocking.spares_end_at(state)) is not None:
            deadlines.append(end_at)
        return min(deadlines, default=None)

    def check_invariants(self) -> None:
        """Raises InternalError when the records contradict each other."""
        check_state(self.state)
