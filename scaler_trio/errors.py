"""The exceptions that users meet; ``ScalerError`` is above them all.

What a task itself raised is raised as it is, with its remote traceback as cause; nothing here wraps it.
"""

from concurrent.futures import CancelledError


class ScalerError(Exception):
    """Something about scaler-trio, not about the user's function; raised only as one of its subclasses."""


class ConnectionFailed(ScalerError):
    """The first connection of a client did not come about; the text names the address and what to check."""


class AuthenticationFailed(ConnectionFailed):
    """The scheduler is there, but this client has no token, or another one than the scheduler."""


class ConnectionLost(ScalerError):
    """The connection ended and did not come back within ``reconnect_timeout``. What was unfinished fails with this."""


class ClientClosed(ScalerError):
    """The client was closed, or belongs to another process (a client does not survive a fork)."""


class ProtectedError(ScalerError, ValueError):
    """The scheduler runs in protected mode: clients may not shut it down."""


class TaskError(ScalerError):
    """A task could not be run to its end, through no exception of its own; raised only as one of its subclasses."""


class ProcessorDiedError(TaskError):
    """The process that ran the task died, up to the task's crash limit; the text has signal and last output."""


class NoWorkerError(TaskError):
    """No connected or obtainable worker fits the task; the text says what it needs and what there is."""


class DependencyFailed(TaskError):
    """A node of the graph that this one needs failed; ``__cause__`` has that node's own error where it is known."""


class TaskTimeout(TaskError):
    """The task ran longer than its ``timeout`` option. Waiting too short for a result is a ``TimeoutError`` instead."""


class NestingLimitError(TaskError):
    """The task is a task of a task of a task …, deeper than the limit: a recursion without an end?"""


class ObjectLost(TaskError):
    """A stored object that the task or the result needs is gone and cannot be made again."""


class ObjectStorageFailed(ScalerError):
    """A large value could not be stored: no room, or no object storage server; the text says which."""


class TaskCancelled(ScalerError, CancelledError):
    """The task was cancelled, by ``cancel``, by ``clear``, or because its client was closed."""


class GraphError(ScalerError, ValueError):
    """The graph is not one: a cycle, an unknown name; the text shows the path to the culprit."""


class SerializationError(ScalerError):
    """A value cannot travel; raised only as one of its subclasses."""


class CannotPickle(SerializationError):
    """A function, an argument or a result cannot be pickled; the text names it and the cause."""


class CannotUnpickle(SerializationError):
    """What arrived cannot be unpickled here: most often a module that this machine lacks; the text names it."""


class RemoteTraceback(Exception):
    """The ``__cause__`` of an exception that a task raised: its traceback, as text, from where it happened."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class RemoteError(Exception):
    """Stands for an exception which could not be pickled.

    Attributes:
        type_name: the qualified name of the original's type.
        traceback_text: its traceback where it was raised.
    """

    def __init__(self, message: str, type_name: str = "", traceback_text: str = "") -> None:
        super().__init__(message, type_name, traceback_text)
        self.type_name = type_name
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        return str(self.args[0])


DisconnectedError = ConnectionLost
ClientQuitException = ClientShutdownException = ClientCancelledException = ClientClosed
WorkerDiedError = ProcessorDiedError  # whatever died, process or worker: it counts towards the task's crash limit
MissingObjects = ObjectLost
ObjectStorageException = ObjectStorageFailed
DeserializeObjectError = CannotUnpickle
TaskExceptionNotSerializableError = RemoteError
"""What users of OpenGRIS Scaler know these as: the same classes, so that their ``except`` clauses go on working."""
