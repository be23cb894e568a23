"""The states of a task and what each event does to them: one table, with a row for every pair.

``None`` in the table means: this event says nothing new in this state and is dropped (a late or repeated one).
A pair that must not occur is absent, and raises with the task's story.
"""

from enum import Enum
from typing import Final

from scaler_trio.scheduler.errors import IllegalTransition


class TaskState(Enum):
    """Where a task is."""

    WAITING = "waiting"  # for results of other nodes of its graph
    READY = "ready"  # in a ready queue
    ASSIGNED = "assigned"  # at one worker, queued or running there
    CANCELLING = "cancelling"  # at one worker, which was told to stop it
    DONE = "done"  # its result is made, and not yet acknowledged by the client


class TaskEvent(Enum):
    """What can happen to a task."""

    INPUTS_READY = "inputs ready"
    ASSIGN = "assign"
    ADOPT = "adopt"  # a worker that comes back holds it
    RESULT = "result"
    RETURN = "return"  # the worker gives it back unstarted, for whatever reason
    REQUEUE = "requeue"  # its worker or processor was lost, and it may run again
    CRASH_LIMIT = "crash limit"
    CANCEL = "cancel"
    CANCELLED = "cancelled"  # the worker confirms, or was lost meanwhile
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
    (_S.READY, _E.RETURN): None,
    (_S.READY, _E.REQUEUE): None,
    (_S.READY, _E.CRASH_LIMIT): _S.DONE,
    (_S.READY, _E.CANCEL): _S.DONE,
    (_S.READY, _E.CANCELLED): None,
    (_S.READY, _E.UNRUNNABLE): _S.DONE,
    (_S.READY, _E.ABANDON): _S.DONE,
    (_S.ASSIGNED, _E.ADOPT): None,
    (_S.ASSIGNED, _E.RESULT): _S.DONE,
    (_S.ASSIGNED, _E.RETURN): _S.READY,
    (_S.ASSIGNED, _E.REQUEUE): _S.READY,
    (_S.ASSIGNED, _E.CRASH_LIMIT): _S.DONE,
    (_S.ASSIGNED, _E.CANCEL): _S.CANCELLING,
    (_S.ASSIGNED, _E.CANCELLED): _S.READY,  # the worker stopped it for a reason of its own
    (_S.ASSIGNED, _E.ABANDON): _S.DONE,
    (_S.CANCELLING, _E.ADOPT): None,
    (_S.CANCELLING, _E.RESULT): _S.DONE,  # it was faster than the cancel
    (_S.CANCELLING, _E.RETURN): _S.DONE,
    (_S.CANCELLING, _E.REQUEUE): _S.DONE,
    (_S.CANCELLING, _E.CRASH_LIMIT): _S.DONE,
    (_S.CANCELLING, _E.CANCEL): None,
    (_S.CANCELLING, _E.CANCELLED): _S.DONE,
    (_S.CANCELLING, _E.ABANDON): _S.DONE,
    (_S.DONE, _E.ADOPT): None,
    (_S.DONE, _E.RESULT): None,
    (_S.DONE, _E.RETURN): None,
    (_S.DONE, _E.REQUEUE): None,
    (_S.DONE, _E.CRASH_LIMIT): None,
    (_S.DONE, _E.CANCEL): None,
    (_S.DONE, _E.CANCELLED): None,
    (_S.DONE, _E.UPSTREAM_FAILED): None,
    (_S.DONE, _E.INPUTS_READY): None,
    (_S.DONE, _E.UNRUNNABLE): None,
    (_S.DONE, _E.ABANDON): None,
}

IMPOSSIBLE: Final[frozenset[tuple[TaskState, TaskEvent]]] = frozenset(
    (state, event) for state in TaskState for event in TaskEvent if (state, event) not in TRANSITIONS
)
"""Pairs that only our own fault can bring about: an unassigned task's worker, a second release, a ready task's input."""


def transition(state: TaskState, event: TaskEvent, story: object) -> TaskState | None:
    """The next state, or None when the event is to be dropped.

    Raises:
        IllegalTransition: a fault of ours; it carries ``story``.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event.value} in state {state.value}", story) from None
