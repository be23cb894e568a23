"""A distributed engine for Python tasks with a `multiprocessing`-style client."""

import importlib

TYPE_CHECKING = False  # `typing` alone takes longer to import than all of this
if TYPE_CHECKING:
    from scaler_trio.client import AsyncClient as AsyncClient
    from scaler_trio.client import Client as Client
    from scaler_trio.client import ProfilingInfo as ProfilingInfo
    from scaler_trio.client import ResultIterator as ResultIterator
    from scaler_trio.client import ScalerFuture as ScalerFuture
    from scaler_trio.client import connect as connect
    from scaler_trio.client import node as node
    from scaler_trio.cluster.combo import LocalCluster as LocalCluster
    from scaler_trio.cluster.combo import SchedulerClusterCombo as SchedulerClusterCombo
    from scaler_trio.errors import AuthenticationFailed as AuthenticationFailed
    from scaler_trio.errors import CannotPickle as CannotPickle
    from scaler_trio.errors import CannotUnpickle as CannotUnpickle
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
    from scaler_trio.errors import ProtectedError as ProtectedError
    from scaler_trio.errors import RemoteError as RemoteError
    from scaler_trio.errors import ScalerError as ScalerError
    from scaler_trio.errors import SerializationError as SerializationError
    from scaler_trio.errors import TaskCancelled as TaskCancelled
    from scaler_trio.errors import TaskError as TaskError
    from scaler_trio.errors import TaskTimeout as TaskTimeout
    from scaler_trio.serialization import ObjectReference as ObjectReference
    from scaler_trio.serialization import Serializer as Serializer

_ERRORS = (
    *("AuthenticationFailed", "CannotPickle", "CannotUnpickle", "ClientClosed", "ConnectionFailed", "ConnectionLost"),
    *("DependencyFailed", "GraphError", "NestingLimitError", "NoWorkerError", "ObjectLost", "ObjectStorageFailed"),
    *("ProcessorDiedError", "ProtectedError", "RemoteError", "ScalerError", "SerializationError", "TaskCancelled"),
    *("TaskError", "TaskTimeout"),
)

_HOMES = {
    **dict.fromkeys(
        ("AsyncClient", "Client", "ProfilingInfo", "ResultIterator", "ScalerFuture", "connect", "node"),
        "scaler_trio.client",
    ),
    **dict.fromkeys(("LocalCluster", "SchedulerClusterCombo"), "scaler_trio.cluster.combo"),
    **dict.fromkeys(_ERRORS, "scaler_trio.errors"),
    "ObjectReference": "scaler_trio.serialization",
    "Serializer": "scaler_trio.serialization",
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
