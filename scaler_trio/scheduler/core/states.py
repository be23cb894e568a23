"""The states of a task and what each event does to them: one table, with a row for every pair.

``None`` in the table means: this event says nothing new in this state and is dropped (a late or repeated one).
A pair that must not occur is in ``IMPOSSIBLE`` with the reason, and raises with the task's story.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final

from scaler_trio.scheduler.core.errors import IllegalTransition


class TaskState(Enum):
    """Where a task is."""

    __hash__ = object.__hash__  # Enum's own is a Python call, in every look-up of the table

    WAITING = "waiting"  # for results of other nodes of its graph, or for the graph's end
    READY = "ready"  # in a ready queue; or held back for a worker that may have it, or until it is tried again
    ASSIGNED = "assigned"  # at one worker, queued or running there
    CANCELLING = "cancelling"  # at one worker, which was told to stop it
    DONE = "done"  # its result is made, and not yet acknowledged by the client


class TaskEvent(Enum):
    """What can happen to a task."""

    __hash__ = object.__hash__

    INPUTS_READY = "inputs ready"
    ASSIGN = "assign"
    ADOPT = "adopt"  # a worker that comes back holds it
    RESULT = "result"
    RETURN = "return"  # the worker gives it back unstarted, for whatever reason
    REQUEUE = "requeue"  # its worker or processor was lost, and it may run again
    CRASH_LIMIT = "crash limit"
    RETRY = "retry"  # it raised, and may be tried again
    CANCEL = "cancel"
    CANCELLED = "cancelled"  # the worker confirms, or stopped it for a reason of its own
    UPSTREAM_FAILED = "upstream failed"
    UNRUNNABLE = "unrunnable"
    ABANDON = "abandon"  # its client is gone


_S, _E = TaskState, TaskEvent

TRANSITIONS: Final[dict[tuple[TaskState, TaskEvent], TaskState | None]] = {
    (_S.WAITING, _E.INPUTS_READY): _S.READY,
    (_S.WAITING, _E.CANCEL): _S.DONE,
    (_S.WAITING, _E.UPSTREAM_FAILED): _S.DONE,
    (_S.WAITING, _E.ABANDON): _S.DONE,
    (_S.READY, _E.ASSIGN): _S.ASSIGNED,
    (_S.READY, _E.ADOPT): _S.ASSIGNED,
    (_S.READY, _E.RESULT): _S.DONE,  # from a worker that was thought lost
    (_S.READY, _E.CANCEL): _S.DONE,
    (_S.READY, _E.UNRUNNABLE): _S.DONE,
    (_S.READY, _E.ABANDON): _S.DONE,
    (_S.ASSIGNED, _E.RESULT): _S.DONE,
    (_S.ASSIGNED, _E.RETURN): _S.READY,
    (_S.ASSIGNED, _E.REQUEUE): _S.READY,
    (_S.ASSIGNED, _E.CRASH_LIMIT): _S.DONE,
    (_S.ASSIGNED, _E.RETRY): _S.READY,
    (_S.ASSIGNED, _E.CANCEL): _S.CANCELLING,
    (_S.ASSIGNED, _E.CANCELLED): _S.READY,  # nobody asked for it
    (_S.ASSIGNED, _E.ABANDON): _S.DONE,
    (_S.CANCELLING, _E.RESULT): _S.DONE,  # it was faster than the cancel
    (_S.CANCELLING, _E.RETURN): _S.DONE,
    (_S.CANCELLING, _E.REQUEUE): _S.DONE,
    (_S.CANCELLING, _E.CRASH_LIMIT): _S.DONE,
    (_S.CANCELLING, _E.RETRY): _S.DONE,
    (_S.CANCELLING, _E.CANCEL): None,
    (_S.CANCELLING, _E.CANCELLED): _S.DONE,
    (_S.CANCELLING, _E.ABANDON): _S.DONE,
    (_S.DONE, _E.RESULT): None,  # of a rival: the first won
    (_S.DONE, _E.CANCEL): None,
    (_S.DONE, _E.UPSTREAM_FAILED): None,  # it had ended before, by a cancel, or by another input
    (_S.DONE, _E.ABANDON): None,
}

_NO_ATTEMPT: Final = "no attempt counts for it, and what other attempts report besides results is not its business"
_NOT_QUEUED: Final = "only what stands in a ready queue is assigned, adopted or found unrunnable"
_INPUTS_COME_FIRST: Final = "it became ready when its last input did, and inputs do not end twice"

IMPOSSIBLE: Final[dict[tuple[TaskState, TaskEvent], str]] = {
    **{
        (state, event): _NO_ATTEMPT
        for state in (_S.WAITING, _S.READY, _S.DONE)
        for event in (_E.RETURN, _E.REQUEUE, _E.CRASH_LIMIT, _E.RETRY, _E.CANCELLED)
    },
    **{
        (state, event): _NOT_QUEUED
        for state in (_S.WAITING, _S.ASSIGNED, _S.CANCELLING, _S.DONE)
        for event in (_E.ASSIGN, _E.ADOPT, _E.UNRUNNABLE)
    },
    **{
        (state, event): _INPUTS_COME_FIRST
        for state in (_S.READY, _S.ASSIGNED, _S.CANCELLING)
        for event in (_E.INPUTS_READY, _E.UPSTREAM_FAILED)
    },
    (_S.DONE, _E.INPUTS_READY): "a node that ended early is skipped when its inputs end",
    (_S.WAITING, _E.RESULT): "a claim of an earlier epoch is adopted only once the node is ready",
}
"""Pairs that only our own fault can bring about, and why nothing else can."""

ON: Final[dict[TaskEvent, dict[TaskState, TaskState | None]]] = {
    event: {state: TRANSITIONS[state, event] for state in TaskState if (state, event) in TRANSITIONS}
    for event in TaskEvent
}
"""The same table by event, for loops that apply one event to many tasks."""


def transition(state: TaskState, event: TaskEvent, story: Iterable[object]) -> TaskState | None:
    """The next state, or None when the event is to be dropped.

    Raises:
        IllegalTransition: a fault of ours; it carries ``story``.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event.value} in state {state.value}", story) from None
