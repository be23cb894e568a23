"""Whether the processors of a worker use more memory than they may, and which of them is to blame."""

from collections.abc import Iterable
from typing import Final

from scaler_trio.process.memory import private_bytes
from scaler_trio.worker.agent.processor_handle import ProcessorHandle
from scaler_trio.worker.core.events import OverMemory

WEIGH_S: Final = 0.2
"""Between two measurements while something runs, of 10 µs for each processor: in that time a task that fills memory as
fast as it can takes a gigabyte."""


class Scales:
    """Weighs processors now and then. Only what is private to each counts: objects that tasks map are not theirs."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes  # of all together; 0 = none
        self._weighed_at = 0.0

    def weigh(self, processors: Iterable[ProcessorHandle], now: float) -> OverMemory | None:
        """Something, if they weigh too much; nothing if they were weighed just now."""
        if not self._limit_bytes or now - self._weighed_at < WEIGH_S:
            return None
        self._weighed_at = now
        used = [(private_bytes(one.pid), one.slot) for one in processors if one.pid and one.is_ready]
        total = sum([count for count, _ in used])
        if total <= self._limit_bytes:
            return None
        most, slot = max(used)
        others = f", {len(used)} processors together {_shown(total)}" if len(used) > 1 else ""
        text = f"it used {_shown(most)} of private memory{others}; this worker may use {_shown(self._limit_bytes)}"
        return OverMemory(slot, f"{text} (per_worker_memory_bytes)")


def _shown(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
