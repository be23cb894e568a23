"""What the benchmarks run on workers; without NumPy, whose import is no part of a first result."""

import time

TASK_S = 0.010
"""Seconds of CPU of one task that does something."""


def no_op(value: int) -> int:
    """Nothing."""
    return value


def nothing() -> None:
    """Less than nothing."""


def spin(wanted_s: float) -> float:
    """Use the CPU for that long, by this process's own CPU clock."""
    end = time.process_time() + wanted_s
    while time.process_time() < end:
        pass
    return wanted_s


def add(*values: int) -> int:
    """A sum."""
    return sum(values)


def spin_often(times: int) -> None:
    """``spin`` for ``TASK_S``, so many times."""
    for _ in range(times):
        spin(TASK_S)
