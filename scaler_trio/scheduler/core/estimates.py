"""How long an item will run: measured per function, guessed until it is known."""

from scaler_trio.scheduler.core.records import Function
from scaler_trio.scheduler.core.tuning import Tuning

LEAST_S = 2e-6
"""No item costs a worker less than this, whatever its own clock says."""

WINDOW = 32
"""Items after which the mean begins to forget: it follows a function whose items grow along the array."""


def observe(function: Function, seconds: float, items: int, tuning: Tuning) -> None:
    """Items of the function took ``seconds`` together."""
    samples = function.samples
    if samples < WINDOW:
        function.mean_s = (function.mean_s * samples + seconds) / (samples + items)
    else:
        weight = min(0.5, items / WINDOW)
        function.mean_s += weight * (seconds / items - function.mean_s)
    function.samples = samples = samples + items
    function.expected_s = max(function.mean_s, LEAST_S) if samples >= tuning.samples else tuning.prior_s


def slice_rows(function: Function, remaining: int, slots: int, slice_s: float, tuning: Tuning) -> int:
    """Rows of the next slice: ``slice_s`` of work, but no more than a fair share of the rest: all end together."""
    if function.samples < tuning.samples:
        return 1
    each = function.expected_s
    full = min(int(slice_s / each), tuning.slice_bytes // max(1, function.result_bytes))
    if full <= 1:
        return 1
    share = remaining // (2 * max(slots, 1)) + 1
    least = int(tuning.least_slice_s / each) + 1
    return max(1, min(full, max(share, least)))
