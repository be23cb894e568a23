"""The end of a worker: it drains, or the scheduler says goodbye."""

from scaler_protocol import messages as m
from scaler_trio.worker.core import events as e
from scaler_trio.worker.core.state import WorkerState


def on_drain(state: WorkerState, message: m.Drain) -> None:
    until = state.now + message.grace_s
    state.drain_until = until if state.drain_until is None else min(until, state.drain_until)
    for slot in state.slots:
        if slot.limit > slot.done:
            state.truncate(slot, 0)


def on_goodbye(state: WorkerState, message: m.Goodbye) -> None:
    if not state.is_leaving:
        state.is_leaving = True
        state.out.append(e.Leave(f"the scheduler said goodbye: {message.reason or 'no reason given'}"))


def leave_if_done(state: WorkerState) -> None:
    assert state.drain_until is not None
    is_late = state.now >= state.drain_until
    open_rows = any(a.open - len(a.crashes) for a in state.attempts.values())
    if not state.is_leaving and not open_rows and (is_late or not state.attempts):
        state.is_leaving = True
        state.out.append(e.Leave("drained"))
