"""Graphs, cold start, efficiency with real work, and what an idle cluster costs."""

import compileall
import multiprocessing
import os
import time
from pathlib import Path

import psutil

import scaler_protocol
import scaler_trio
from benchmarks.measure import Row, Samples, pairs, row, seconds
from benchmarks.tasks import TASK_S, add, no_op, spin, spin_often
from scaler_trio import Client, SchedulerClusterCombo

LAYERS = 10
WIDTH = 500
TASKS = 400
IDLE_S = 5.0


def measure_graph(client: Client, runs: int) -> Row:
    """5,000 nodes in 10 layers, each node adding two of the layer before."""
    graph: dict[str, object] = {f"0/{n}": (no_op, f"start {n}") for n in range(WIDTH)}
    graph |= {f"start {n}": n for n in range(WIDTH)}
    values = list(range(WIDTH))
    for layer in range(1, LAYERS):
        for n in range(WIDTH):
            graph[f"{layer}/{n}"] = (add, f"{layer - 1}/{n}", f"{layer - 1}/{(n + 1) % WIDTH}")
        values = [values[n] + values[(n + 1) % WIDTH] for n in range(WIDTH)]
    keys = [f"{LAYERS - 1}/{n}" for n in range(WIDTH)]
    rates = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        results = client.get(graph, keys)
        rates.append(LAYERS * WIDTH / (time.perf_counter() - started))
        assert [results[key] for key in keys] == values
    samples = Samples(rates[1:])
    return row(
        "graph of 5,000 nodes, 10 layers",
        "nodes/s",
        samples,
        budget="≥ 20,000/s (aim 50,000/s)",
        holds=samples.median >= 20_000,
    )


def measure_cold_start(runs: int) -> Row:
    """From nothing to the first result of a cluster of two workers."""
    for package in (scaler_trio, scaler_protocol):  # as pip does when it installs one; an editable one is left as it is
        compileall.compile_dir(Path(package.__file__ or "").parent, quiet=1)
    values = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        with SchedulerClusterCombo(n_workers=2) as cluster, Client(cluster.get_address()) as client:
            assert client.submit(no_op, 1).result() == 1
            values.append(time.perf_counter() - started)
    samples = Samples(values[1:])
    return row(
        "cold start to the first result", "s", samples, budget="≤ 0.6 s (aim 0.35 s)", holds=samples.median <= 0.6
    )


def measure_efficiency(client: Client, runs: int) -> Row:
    """400 tasks of 10 ms of CPU on two workers, against half of them in each of two processes that exchange nothing.

    On a machine of its own such processes take 2.0 s; here whoever else uses the cores takes from both alike.
    """
    halves = [TASKS // 2] * 2
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(spin_often, [1, 1], chunksize=1)
        client.map(spin, [TASK_S] * 20)
        ours, ideal, ratio = pairs(
            lambda: seconds(lambda: client.map(spin, [TASK_S] * TASKS)),
            lambda: seconds(lambda: pool.map(spin_often, halves, chunksize=1)),
            runs,
        )
    percent = 100 / ratio
    return row(
        "400 tasks of 10 ms CPU",
        "s",
        ours,
        reference="two processes alone",
        references=ideal,
        ratio=ratio,
        budget="≥ 97 % of ideal (aim 98.5 %)",
        holds=percent >= 97,
        note=f"{percent:.1f} % of ideal",
    )


def measure_idle() -> list[Row]:
    """Memory and CPU of a cluster of two workers with a client, all processes together, doing nothing."""
    with SchedulerClusterCombo(n_workers=2) as cluster, Client(cluster.get_address()) as client:
        client.map(no_op, range(1000))
        own = psutil.Process()
        services = own.children(recursive=True)
        time.sleep(2.0)  # what has just been run is settled and forgotten
        before = _cpu_s([own, *services])
        time.sleep(IDLE_S)
        cpu = 100 * (_cpu_s([own, *services]) - before) / IDLE_S
        memory = sum(process.memory_full_info().pss for process in services) / 1e6
        mine = _client_megabytes()
    total = memory + mine
    return [
        row(
            "idle: PSS of all processes",
            "MB",
            Samples([total]),
            budget="≤ 150 MB (aim 100 MB)",
            holds=total <= 150,
            note=f"services {memory:.0f} MB, client {mine:.0f} MB",
        ),
        row("idle: CPU", "% of a core", Samples([cpu]), budget="≤ 1 % (aim 0.3 %)", holds=cpu <= 1),
    ]


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def _client_megabytes() -> float:
    """What a process with nothing but a client takes: measured in one of its own, without this benchmark's imports."""
    import subprocess
    import sys

    code = (
        "import psutil, scaler_trio as s\n"
        "c = s.SchedulerClusterCombo(n_workers=0); client = s.Client(c.get_address())\n"
        "print(psutil.Process().memory_full_info().pss)\n"
        "client.disconnect(); c.shutdown()"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=dict(os.environ))
    return int(output.stdout) / 1e6
