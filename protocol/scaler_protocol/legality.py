"""Which role may send which message to which role, as a table. Everything else closes the connection."""

from typing import Final

from scaler_protocol import messages as m
from scaler_protocol.messages import Role

_ANYONE: Final = frozenset({m.Error, m.Ping, m.Pong, m.Goodbye})

_OBJECT_READER: Final = frozenset({m.Fetch, m.EndLease})
_OBJECT_WRITER: Final = _OBJECT_READER | {m.Reserve, m.ObjectChunk, m.Seal}
_OBJECT_SERVER: Final = frozenset({m.ObjectServer, m.Granted, m.Refused, m.ObjectChunk, m.Sealed, m.Found, m.Missing})

SENDABLE: Final[dict[tuple[Role, Role], frozenset[type]]] = {
    (Role.CLIENT, Role.SCHEDULER): frozenset(
        {m.ClientHeld, m.DefineFunction, m.DropFunctions, m.SubmitTasks, m.OpenArray, m.ArrayBlock, m.EndArray}
    )
    | {m.GraphNodes, m.GraphEnd, m.CancelTasks, m.AckResults, m.HoldObjects, m.ReleaseObjects, m.Backlog, m.Explain}
    | {m.Shutdown},
    (Role.SCHEDULER, Role.CLIENT): frozenset(
        {m.ClientKnown, m.TaskResults, m.ArrayResults, m.Credit, m.Notices, m.Explanation, m.TaskOutput}
    )
    | {m.Shutdown, m.ShutdownRefused},
    (Role.WORKER, Role.SCHEDULER): frozenset(
        {m.WorkerHeld, m.AttemptResults, m.SliceResults, m.Returned, m.Crashed, m.WorkerStatus}
    )
    | {m.Waiting, m.AttemptOutput},
    (Role.SCHEDULER, Role.WORKER): frozenset(
        {m.WorkerKnown, m.PutFunction, m.ForgetFunctions, m.AssignTasks, m.AssignSlice, m.AssignInputs}
    )
    | {m.Recall, m.CancelAttempts, m.Settled, m.Drain, m.Shutdown},
    (Role.MANAGER, Role.SCHEDULER): frozenset({m.ManagerStatus}),
    (Role.SCHEDULER, Role.MANAGER): frozenset({m.DesiredUnits, m.Units, m.Shutdown}),
    (Role.MONITOR, Role.SCHEDULER): frozenset({m.AskStatus, m.ExplainTask}),
    (Role.SCHEDULER, Role.MONITOR): frozenset({m.ClusterStatus, m.Explanation, m.Shutdown}),
    (Role.SCHEDULER, Role.OBJECTS): frozenset({m.AdoptObjects, m.DeleteObjects, m.Shutdown}),
    (Role.OBJECTS, Role.SCHEDULER): frozenset({m.ObjectServer, m.ObjectUsage}),
    (Role.CLIENT, Role.OBJECTS): _OBJECT_WRITER,
    (Role.WORKER, Role.OBJECTS): _OBJECT_WRITER,
    (Role.PROCESSOR, Role.OBJECTS): _OBJECT_WRITER,
    (Role.OBJECTS, Role.CLIENT): _OBJECT_SERVER,
    (Role.OBJECTS, Role.WORKER): _OBJECT_SERVER,
    (Role.OBJECTS, Role.PROCESSOR): _OBJECT_SERVER,
    # An agent on another host than the object storage server offers its processors the server's local side.
    (Role.PROCESSOR, Role.WORKER): _OBJECT_WRITER,
    (Role.WORKER, Role.PROCESSOR): _OBJECT_SERVER,
}
"""(sender, receiver) to message classes, besides those that anyone may send."""


def sendable(sender: Role, receiver: Role) -> frozenset[type]:
    """The message classes that ``sender`` may send to ``receiver`` on an open connection."""
    return SENDABLE.get((sender, receiver), frozenset()) | _ANYONE


def may_connect(dialer: Role, listener: Role) -> bool:
    """Whether these roles have anything to say to each other."""
    return (dialer, listener) in SENDABLE
