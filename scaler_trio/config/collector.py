"""How often Python looks for reference cycles.

A service makes a great many small records and frees each as soon as it is settled; hardly any of them is in a cycle
(who writes one breaks it). At Python's own threshold of 700 new objects the collector walks through all that is waiting
again and again: with 10,000 workers that was a third of the scheduler's time. Processes that run a user's code keep
Python's thresholds.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (20_000, 20, 50)
"""New objects before a young collection, young ones before a middle one, middle ones before a full one."""


def collect_rarely() -> None:
    """For this process, from now on."""
    gc.set_threshold(*THRESHOLDS)


@contextmanager
def collector_paused() -> Iterator[None]:
    """For a moment in which very many objects are made and none is dropped: looking at them is in vain each time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
