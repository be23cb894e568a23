"""What the benchmarks do with arrays on workers."""

from typing import Any

import numpy as np


def touch(array: Any) -> float:
    """Look at one element of an array."""
    return float(array[-1])


def touch_numbered(array: Any, number: int) -> float:
    """Look at one element, chosen by number."""
    return float(array[number])


def make_array(megabytes: int) -> Any:
    """An array of float64."""
    return np.ones(megabytes * 125_000)
