"""A connection comes and goes: what was kept is told and sent again, and what the scheduler knows of it is let go."""

from itertools import chain

from scaler_protocol import messages as m
from scaler_protocol.messages import ReturnReason
from scaler_trio.worker.core import blocking, reports, withdrawing
from scaler_trio.worker.core import events as e
from scaler_trio.worker.core.audit import held_ranges
from scaler_trio.worker.core.state import WorkerState


def on_connected(state: WorkerState, event: e.Connected) -> None:
    state.is_connected, state.is_known = True, False
    unfinished, finished = held_ranges(state)
    offer = state.offer
    state.out.append(
        e.Send(
            m.WorkerHeld(
                offer.slots, offer.capabilities, offer.manager, offer.latency_s, unfinished, finished, offer.unit
            )
        )
    )
    kept = tuple(reports.messages(chain.from_iterable([a.kept for a in state.attempts.values()])))
    if kept:
        state.out.append(e.Resend(kept))


def on_disconnected(state: WorkerState, event: e.Disconnected) -> None:
    state.is_connected = state.is_known = False
    for slot in state.slots:
        if slot.limit > slot.done:
            state.truncate(slot, 0)
    for withdrawal in list(state.withdrawals):
        if withdrawal.reason in withdrawing.VOIDABLE:
            withdrawing.end_withdrawal(state, withdrawal)
    for function in state.functions.values():
        state.forget(function)
    state.functions.clear()
    state.inputs.clear()
    state.inputs_bytes = 0


def on_known(state: WorkerState, message: m.WorkerKnown) -> None:
    state.epoch = message.epoch
    state.is_known = True
    if message.object_address != state.object_address:
        state.object_address = message.object_address
        state.out.append(e.Configure(message.object_address))
    dropped = [attempt for key in message.drop if (attempt := state.attempts.get((key[0], key[1]))) is not None]
    for attempt in dropped:
        attempt.is_dropped = True
        state.unkeep(attempt)
        attempt.open -= len(attempt.crashes)
        attempt.crashes.clear()
    withdrawing.withdraw(state, {attempt: [(attempt.lo, attempt.hi)] for attempt in dropped}, ReturnReason.CANCELLED)
    blocking.declare(state)
    crashed = []
    for attempt in state.attempts.values():
        crashed += [(attempt.number, *crash) for crash in attempt.crashes]
        attempt.open -= len(attempt.crashes)
        attempt.crashes.clear()
    if crashed:
        state.out.append(e.Send(m.Crashed(tuple(crashed))))
    for attempt in list(state.attempts.values()):
        state.forget_if_done(attempt)


def on_settled(state: WorkerState, message: m.Settled) -> None:
    attempts, epoch = state.attempts, state.epoch
    for number in message.attempts:
        attempt = attempts.get((epoch, number)) or state.find(number)
        if attempt is not None:
            state.unkeep(attempt)
            state.forget_if_done(attempt)
