"""A distributed engine for Python tasks with a `multiprocessing`-style client."""

import importlib

TYPE_CHECKING = False  # `typing` alone takes longer to import than all of this
if TYPE_CHECKING:
    from scaler_trio.client import Client as Client
    from scaler_trio.client import ScalerFuture as ScalerFuture
    from scaler_trio.cluster.combo import SchedulerClusterCombo as SchedulerClusterCombo
    from scaler_trio.errors import AuthenticationFailed as AuthenticationFailed
    from scaler_trio.errors import ClientClosed as ClientClosed
    from scaler_trio.errors import ConnectionFailed as ConnectionFailed
    from scaler_trio.errors import ConnectionLost as ConnectionLost
    from scaler_trio.errors import DependencyFailed as DependencyFailed
    from scaler_trio.errors import GraphError as GraphError
    from scaler_trio.errors import NestingLimitError as NestingLimitError
    from scaler_trio.errors import NoWorkerError as NoWorkerError
    from scaler_trio.errors import ObjectLost as ObjectLost
    from scaler_trio.errors import ObjectStorageFailed as ObjectStorageFailed
    from scaler_trio.errors import ProcessorDiedError as ProcessorDiedError
    from scaler_trio.errors import ScalerError as ScalerError
    from scaler_trio.errors import TaskCancelled as TaskCancelled
    from scaler_trio.errors import TaskError as TaskError
    from scaler_trio.errors import TaskTimeout as TaskTimeout
    from scaler_trio.serialization import CannotPickle as CannotPickle
    from scaler_trio.serialization import CannotUnpickle as CannotUnpickle
    from scaler_trio.serialization import ObjectReference as ObjectReference
    from scaler_trio.serialization import RemoteError as RemoteError
    from scaler_trio.serialization import SerializationError as SerializationError

_ERRORS = (
    *("AuthenticationFailed", "ClientClosed", "ConnectionFailed", "ConnectionLost", "DependencyFailed", "GraphError"),
    *("NoWorkerError", "ObjectLost", "ObjectStorageFailed", "ProcessorDiedError", "ScalerError", "TaskCancelled"),
    *("NestingLimitError", "TaskError", "TaskTimeout"),
)
_SERIALIZATION = ("CannotPickle", "CannotUnpickle", "ObjectReference", "RemoteError", "SerializationError")

_HOMES = {
    "Client": "scaler_trio.client",
    "ScalerFuture": "scaler_trio.client",
    "SchedulerClusterCombo": "scaler_trio.cluster.combo",
    **dict.fromkeys(_ERRORS, "scaler_trio.errors"),
    **dict.fromkeys(_SERIALIZATION, "scaler_trio.serialization"),
}
"""Where each public name lives. They are imported when they are asked for: `import scaler_trio` alone costs nothing."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
