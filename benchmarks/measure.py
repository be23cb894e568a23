"""How a number is measured: several runs, each beside its reference, results verified, median and spread reported."""

import statistics
import time
from collections.abc import Callable, Sequence

from attrs import asdict, frozen


@frozen
class Row:
    """One line of the report: a measurement, its reference from the same run, and its budget."""

    name: str
    unit: str
    value: float
    low: float
    high: float
    reference: str = ""
    reference_value: float | None = None
    ratio: float | None = None
    """Value to reference: the median of the pairs that ran one after the other."""
    budget: str = ""
    holds: bool | None = None
    note: str = ""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


@frozen
class Samples:
    """Measured values in the order in which they were taken."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The least."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The greatest."""
        return max(self.values)


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def pairs(ours: Callable[[], float], reference: Callable[[], float], count: int) -> tuple[Samples, Samples, float]:
    """Measure both in turn, so that a machine whose speed drifts drifts for both; and the median ratio of the pairs."""
    mine, theirs = [], []
    for _ in range(count):
        mine.append(ours())
        theirs.append(reference())
    ratio = statistics.median([a / b for a, b in zip(mine, theirs, strict=True)])
    return Samples(mine), Samples(theirs), ratio


def row(
    name: str,
    unit: str,
    samples: Samples,
    *,
    budget: str,
    holds: bool | None,
    reference: str = "",
    references: Samples | None = None,
    ratio: float | None = None,
    note: str = "",
) -> Row:
    """A line of the report."""
    return Row(
        name,
        unit,
        samples.median,
        samples.low,
        samples.high,
        reference,
        references.median if references is not None else None,
        ratio,
        budget,
        holds,
        note,
    )
