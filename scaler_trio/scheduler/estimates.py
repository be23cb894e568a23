"""How long an item will run: measured per function, guessed until it is known."""

from scaler_trio.scheduler.records import Function
from scaler_trio.scheduler.tuning import Tuning

LEAST_S = 2e-6
"""No item costs a worker less than this, whatever its own clock says."""


def observe(function: Function, seconds: float, items: int) -> None:
    """Items of the function took ``seconds`` together."""
    each = seconds / items if items else 0.0
    samples = function.samples
    if samples < 32:
        function.mean_s = (function.mean_s * samples + seconds) / (samples + items)
    else:
        # Old items are forgotten: the mean follows a function whose items grow along the array.
        weight = min(0.5, items / 32)
        function.mean_s += weight * (each - function.mean_s)
    function.samples = samples + items


def expected_s(function: Function, tuning: Tuning) -> float:
    """The predicted running time of one item."""
    if function.samples < tuning.samples:
        return tuning.prior_s
    return max(function.mean_s, LEAST_S)


def slice_rows(function: Function, remaining: int, slots: int, tuning: Tuning) -> int:
    """Rows of the next slice: ``slice_s`` of work, but no more than a fair share of what remains, so that all end together."""
    if function.samples < tuning.samples:
        return 1
    each = max(function.mean_s, LEAST_S)
    full = int(tuning.slice_s / each)
    if full <= 1:
        return 1
    share = remaining // (2 * max(slots, 1)) + 1
    least = int(tuning.least_slice_s / each) + 1
    return max(1, min(full, max(share, least)))
