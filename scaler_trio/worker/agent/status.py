"""How a worker is: CPU and memory of its processes, for the heartbeat."""

from collections.abc import Sequence

import psutil


class StatusMeter:
    """Remembers what each process had used at the last measurement."""

    def __init__(self) -> None:
        self._used_s: dict[int, float] = {}
        self._at = 0.0

    def measure(self, pids: Sequence[int], now: float) -> tuple[float, int]:
        """CPU of these processes since the last call (100 = one core); their memory in bytes, shared pages included."""
        used_s: dict[int, float] = {}
        memory_bytes = 0
        for pid in pids:
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    times = process.cpu_times()
                    memory_bytes += process.memory_info().rss
            except psutil.Error:
                continue  # it has just ended
            used_s[pid] = times.user + times.system
        spent_s = sum([used - self._used_s.get(pid, used) for pid, used in used_s.items()])
        elapsed_s, self._at, self._used_s = now - self._at, now, used_s
        return (max(0.0, 100 * spent_s / elapsed_s) if elapsed_s > 0 else 0.0), memory_bytes
