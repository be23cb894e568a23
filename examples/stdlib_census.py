"""A census of the standard library: what Python is made of, counted in parallel.

Parses every module of the standard library that this Python came with, gathers a few facts per module with ``map``, and
puts them together with a graph. Run it with ``make demo``.
"""

import ast
import sys
import sysconfig
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from scaler_trio import Client, SchedulerClusterCombo

WORKERS = 2
SKIPPED = {"site-packages", "test", "tests", "idle_test", "idlelib", "distutils", "lib2to3"}
"""Not part of the library, longer than the rest of it, or gone from newer versions."""
GROUPS = 8


class Facts(NamedTuple):
    """What is counted; facts of several modules add up."""

    modules: int
    lines: int
    functions: int
    classes: int
    documented: int
    imports: Counter[str]
    longest: tuple[int, str]
    failed: int


def find_modules() -> list[str]:
    """Paths of all modules of the standard library, but for what is skipped."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(str(path) for path in root.rglob("*.py") if SKIPPED.isdisjoint(path.relative_to(root).parts))


def examine(path: str) -> Facts:
    """The facts of one module."""
    source = Path(path).read_bytes()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # some installations carry modules that are wrong on purpose
        return Facts(1, source.count(b"\n"), 0, 0, 0, Counter(), (0, ""), 1)
    functions = classes = documented = 0
    imports: Counter[str] = Counter()
    longest = (0, "")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions += 1
            documented += ast.get_docstring(node, clean=False) is not None
            longest = max(longest, ((node.end_lineno or 0) - node.lineno + 1, f"{Path(path).name}: {node.name}"))
        elif isinstance(node, ast.ClassDef):
            classes += 1
        elif isinstance(node, ast.Import):
            imports.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports[node.module.partition(".")[0]] += 1
    return Facts(1, source.count(b"\n"), functions, classes, documented, imports, longest, 0)


def add(*parts: Facts) -> Facts:
    """The facts of several modules together."""
    imports: Counter[str] = Counter()
    for part in parts:
        imports.update(part.imports)
    return Facts(
        sum(part.modules for part in parts),
        sum(part.lines for part in parts),
        sum(part.functions for part in parts),
        sum(part.classes for part in parts),
        sum(part.documented for part in parts),
        imports,
        max((part.longest for part in parts), default=(0, "")),
        sum(part.failed for part in parts),
    )


def add_all(parts: list[Facts]) -> Facts:
    """``add`` for a list."""
    return add(*parts)


def census(client: Client, paths: list[str]) -> Facts:
    """Examine all modules and add up the facts, on a cluster."""
    facts = client.map(examine, paths, progress=True)
    graph: dict[str, object] = {f"group {n}": facts[n::GROUPS] for n in range(GROUPS)}
    graph |= {f"sum {n}": (add_all, f"group {n}") for n in range(GROUPS)}
    graph["census"] = (add, *(f"sum {n}" for n in range(GROUPS)))
    result: Facts = client.get(graph, ["census"])["census"]
    return result


def show(facts: Facts) -> None:
    """Print the census."""
    unparsed = f", {facts.failed} of them cannot be parsed" if facts.failed else ""
    print(f"  {facts.modules:,} modules, {facts.lines:,} lines{unparsed}")
    print(f"  {facts.classes:,} classes, {facts.functions:,} functions, ", end="")
    print(f"{100 * facts.documented / facts.functions:.0f} % of them with a docstring")
    print("  imported most:", ", ".join(f"{name} ({count})" for name, count in facts.imports.most_common(6)))
    print(f"  longest function: {facts.longest[1]}, {facts.longest[0]:,} lines")


def main() -> None:
    """Run the census on a cluster and serially, and compare."""
    paths = find_modules()
    print(f"The standard library of Python {sys.version.split()[0]}: {len(paths):,} files.")

    started = time.perf_counter()
    with SchedulerClusterCombo(n_workers=WORKERS) as cluster, Client(cluster.get_address()) as client:
        ready = time.perf_counter()
        facts = census(client, paths)
        done = time.perf_counter()
    show(facts)

    serial_started = time.perf_counter()
    serial = add_all([examine(path) for path in paths])
    serial_s = time.perf_counter() - serial_started
    if serial != facts:
        sys.exit("The cluster and the serial run disagree.")
    cluster_s = done - ready
    print(f"  cluster of {WORKERS} workers started in {ready - started:.2f} s and took {cluster_s:.2f} s,", end=" ")
    print(f"one process {serial_s:.2f} s: {serial_s / cluster_s:.2f} times as fast, same result")


main()
