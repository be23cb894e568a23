"""``scaler bench``: latency and throughput of a running cluster, each measured for about as long as one says."""

import json
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Final

from attrs import asdict, frozen
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

from scaler_trio.cli.flags import Target
from scaler_trio.client import Client
from scaler_trio.errors import ScalerError

FIRST_S: Final = 120.0
"""What the first result may take: where capacity follows work, workers have to be started for it."""

LARGE_BYTES: Final = 8_000_000
"""Of a value that goes through the object storage."""

NAP_S: Final = 0.01

SIZES: Final = 30
"""Doublings of a measured batch at most: a billion items."""


@frozen
class Figure:
    """One measured number."""

    what: str
    value: float
    unit: str
    detail: str = ""


def bench(
    address: Target,
    *,
    seconds: Annotated[float, Parameter(validator=Number(gte=1, lte=3600))] = 12.0,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    token_file: Path | None = None,
) -> int:
    """Measure a running cluster: latency, tasks per second, large values, and how well its slots are used.

    It submits work like any client, and shares the cluster with others who use it meanwhile.

    Parameters
    ----------
    address
        Of the scheduler: tcp://host:port.
    seconds
        About how long it may take, the start of first workers not counted.
    as_json
        Print one JSON array.
    token_file
        File with the scheduler's secret; or set SCALER_TOKEN. That of a local scheduler is found without.
    """
    try:
        with Client(address, token_file=token_file) as client:
            figures = measure(client, seconds)
    except (ScalerError, TimeoutError) as error:
        sys.stderr.write(f"scaler: {error}\n")
        return 1
    if as_json:
        sys.stdout.write(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for figure in figures:
        table.add_row(figure.what, f"{figure.value:,.4g} {figure.unit}", figure.detail)
    Console(highlight=False).print(table)
    return 0


def measure(client: Client, seconds: float) -> list[Figure]:
    """All figures, each from about an equal part of the time.

    Raises:
        TimeoutError: no worker has run the first task within ``FIRST_S``; the text says why.
    """
    part_s = seconds / 6
    began = time.perf_counter()
    client.submit(abs, -1).result(timeout=FIRST_S)
    figures = [Figure("first result", time.perf_counter() - began, "s", "from the first call on")]
    figures += _lone_calls(client, part_s)
    count, rate = _rate(part_s, lambda count: [f.result() for f in [client.submit(abs, n) for n in range(count)]])
    figures.append(Figure("submit and result, in loops", rate, "tasks/s", f"{count:,} calls"))
    count, rate = _rate(part_s, lambda count: client.map(abs, range(count)))
    figures.append(Figure("map of no-ops", rate, "items/s", f"{count:,} items"))
    count, rate = _rate(part_s, lambda count: _drain(client.imap(len, (bytes(LARGE_BYTES) for _ in range(count)))))
    figures.append(Figure("large arguments", rate * LARGE_BYTES / 1e6, "MB/s", f"{count:,} of 8 MB each"))
    count, rate = _rate(part_s, lambda count: _drain(client.imap(bytes, [LARGE_BYTES] * count)))
    figures.append(Figure("large results", rate * LARGE_BYTES / 1e6, "MB/s", f"{count:,} of 8 MB each"))
    count, rate = _rate(part_s, lambda count: client.map(time.sleep, [NAP_S] * count))
    figures.append(Figure("tasks of 10 ms at a time", rate * NAP_S, "slots", f"{count:,} tasks; how many run together"))
    return figures


def _lone_calls(client: Client, part_s: float) -> list[Figure]:
    """One call after the other."""
    took: list[float] = []
    ends_at = time.perf_counter() + part_s
    while time.perf_counter() < ends_at or len(took) < 2:
        began = time.perf_counter()
        client.submit(abs, -1).result()
        took.append(time.perf_counter() - began)
    detail = f"{len(took):,} calls, one after the other"
    return [
        Figure("one call, median", 1e3 * statistics.median(took), "ms", detail),
        Figure("one call, 99th of 100", 1e3 * statistics.quantiles(took, n=100)[-1], "ms"),
    ]


def _rate(part_s: float, run: Callable[[int], object]) -> tuple[int, float]:
    """The size of the last batch and its items per second; batches grow until one takes half of the time."""
    count, took_s = 4, 0.0
    for _ in range(SIZES):
        began = time.perf_counter()
        run(count)
        took_s = time.perf_counter() - began
        if took_s >= part_s / 2:
            break
        count *= max(2, min(8, int(part_s / 2 / took_s)))
    return count, count / took_s


def _drain(results: Iterable[object]) -> None:
    """Take results and keep none: they may be more than memory holds."""
    deque(results, maxlen=0)
