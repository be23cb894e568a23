"""What a task used, for its client."""

from scaler_protocol.fields import Row
from scaler_protocol.values import frozen


@frozen
class ProfilingInfo:
    """What a task used. Only ``duration_s`` is known without the option ``profiling``."""

    duration_s: float
    """Seconds that it ran, the loading of its arguments included."""

    cpu_time_s: float | None = None
    """Seconds of CPU time of its function, in all threads of its process and in subprocesses that it waited for."""

    peak_memory_bytes: int | None = None
    """The most memory that its process held while its function ran, with what it had held before: resident memory,
    stored objects that it had mapped included."""

    queue_time_s: float | None = None
    """Seconds from when the scheduler could have started it until its function began."""

    worker: str | None = None
    """The name of the worker that ran it."""


def profiling_info(duration_s: float, row: Row | None) -> ProfilingInfo:
    """From what a result brought."""
    return ProfilingInfo(duration_s, *row[1:]) if row is not None else ProfilingInfo(duration_s)
