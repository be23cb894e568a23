"""What goes wrong in a worker, by whose fault it is."""

from scaler_trio.errors import ObjectStorageFailed
from scaler_trio.process.errors import ServiceError


class WorkerFailed(ServiceError):
    """The worker cannot go on: no scheduler, no processor that starts. The text says what was tried and what to do."""


class PeerFault(Exception):
    """The scheduler sent what contradicts what it sent before; its connection is closed, and nothing else."""


class InternalError(Exception):
    """A fault of ours; the text carries the story of the attempt it happened to."""


class NoObjectStorage(ObjectStorageFailed):
    """A value is too large to travel inline and there is no object storage server to put it to or to read it from."""
