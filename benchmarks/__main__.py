"""``make bench``: every budget of the architecture, measured beside its reference; a table, and JSON (``--json``)."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import arrays, calls, core, whole
from benchmarks.measure import Row, Samples, row
from scaler_trio import Client, SchedulerClusterCombo

CORE_TASKS = 1_000_000
CORE_WORKERS = 10_000


def with_cluster(measure: Callable[[Client, int], Row]) -> Callable[[int], list[Row]]:
    """A measurement on a fresh cluster of two workers."""

    def run(runs: int) -> list[Row]:
        with SchedulerClusterCombo(n_workers=2) as cluster, Client(cluster.get_address()) as client:
            return [measure(client, runs)]

    return run


def measure_core(_runs: int) -> list[Row]:
    """The scheduler's core alone."""
    microseconds = 1e6 * core.run(CORE_WORKERS, CORE_TASKS)
    small = 1e6 * core.run(100, CORE_TASKS // 10)
    return [
        row(
            f"scheduler core, {CORE_WORKERS:,} workers, {CORE_TASKS:,} tasks",
            "µs/task",
            Samples([microseconds]),
            reference="100 workers, 100,000 tasks",
            references=Samples([small]),
            ratio=microseconds / small,
            budget="≤ 10 µs, flat (aim 5 µs)",
            holds=microseconds <= 10,
        )
    ]


MEASUREMENTS: dict[str, Callable[[int], list[Row]]] = {
    "map": with_cluster(calls.measure_map),
    "submit": with_cluster(calls.measure_submit),
    "lone": with_cluster(calls.measure_lone_call),
    "arrays": arrays.measure_arrays,
    "shared": with_cluster(arrays.measure_shared_array),
    "graph": with_cluster(whole.measure_graph),
    "start": lambda runs: [whole.measure_cold_start(runs)],
    "efficiency": with_cluster(whole.measure_efficiency),
    "idle": lambda _runs: whole.measure_idle(),
    "core": measure_core,
}


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table(title=f"Two workers on {os.cpu_count()} cores, Python {platform.python_version()}; medians of runs")
    for heading in ("what", "median", "low to high", "reference", "ratio", "budget", ""):
        table.add_column(heading)
    for r in rows:
        reference = f"{r.reference_value:,.4g} {r.reference}" if r.reference_value is not None else ""
        ratio = f"{r.ratio:.2f}" if r.ratio is not None else ""
        verdict = "" if r.holds is None else "holds" if r.holds else "MISSED"
        table.add_row(
            r.name + (f" ({r.note})" if r.note else ""),
            f"{r.value:,.4g} {r.unit}",
            f"{r.low:,.4g} to {r.high:,.4g}",
            reference,
            ratio,
            r.budget,
            verdict,
        )
    Console(width=170 if not sys.stdout.isatty() else None).print(table)


def main() -> int:
    """Measure what was asked for; exit code 1 if a budget is missed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"of {', '.join(MEASUREMENTS)}; all by default")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (5)")
    parser.add_argument("--json", type=Path, help="file to write as well")
    arguments = parser.parse_args()
    unknown = set(arguments.what) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose of {', '.join(MEASUREMENTS)}")
    rows: list[Row] = []
    for name in arguments.what or MEASUREMENTS:
        rows += MEASUREMENTS[name](arguments.runs)
    show(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps([r.as_dict() for r in rows], indent=1) + "\n")
    return int(any(r.holds is False for r in rows))


if __name__ == "__main__":
    sys.exit(main())
