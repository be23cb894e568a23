"""Arrays of 80 MB as arguments and results, and one array used by many tasks."""

import time

import numpy as np

from benchmarks.array_tasks import make_array, touch, touch_numbered
from benchmarks.measure import Row, Samples, pairs, row, seconds
from scaler_trio import Client, SchedulerClusterCombo

MEGABYTES = 80
USERS = 200


def _copy_rate() -> float:
    """Of ``np.copy``, which makes room for the copy as well, as whoever gets an array must."""
    source = np.ones(MEGABYTES * 125_000)
    return MEGABYTES / sorted(seconds(lambda: np.copy(source)) for _ in range(5))[2]


def _argument(client: Client) -> float:
    array = np.random.default_rng().random(MEGABYTES * 125_000)
    started = time.perf_counter()
    assert client.submit(touch, array).result() == array[-1]
    return MEGABYTES / (time.perf_counter() - started)


def _result(client: Client) -> float:
    started = time.perf_counter()
    array = client.submit(make_array, MEGABYTES).result()
    elapsed = time.perf_counter() - started
    assert array[-1] == 1.0
    assert array.nbytes == MEGABYTES * 1_000_000
    making = seconds(lambda: make_array(MEGABYTES))
    return MEGABYTES / max(1e-6, elapsed - making)


def measure_arrays(runs: int) -> list[Row]:
    """Rates in MB/s as parts of ``np.copy``'s."""
    first = []
    copies = []
    for _ in range(runs):
        with SchedulerClusterCombo(n_workers=2) as cluster, Client(cluster.get_address()) as client:
            client.map(touch, [np.ones(20_000)] * 50)  # all are connected to the storage, and have imported NumPy
            first.append(_argument(client))
            copies.append(_copy_rate())
    ratio = sorted(a / b for a, b in zip(first, copies, strict=True))[runs // 2]
    rows = [
        row(
            "80 MB argument, first use",
            "MB/s",
            Samples(first),
            reference="np.copy",
            references=Samples(copies),
            ratio=ratio,
            budget="≥ 25 % (aim 80 %)",
            holds=ratio >= 0.25,
        )
    ]
    with SchedulerClusterCombo(n_workers=2) as cluster, Client(cluster.get_address()) as client:
        for _ in range(4):
            _argument(client)
            _result(client)
        mine, theirs, ratio = pairs(lambda: _argument(client), _copy_rate, runs)
        rows.append(
            row(
                "80 MB argument, recycled segments",
                "MB/s",
                mine,
                reference="np.copy",
                references=theirs,
                ratio=ratio,
                budget="≥ 45 % (aim 80 %)",
                holds=ratio >= 0.45,
            )
        )
        mine, theirs, ratio = pairs(lambda: _result(client), _copy_rate, runs)
        rows.append(
            row(
                "80 MB result",
                "MB/s",
                mine,
                reference="np.copy",
                references=theirs,
                ratio=ratio,
                budget="≥ 50 % (aim 80 %)",
                holds=ratio >= 0.5,
                note="without the time to make it",
            )
        )
    return rows


def measure_shared_array(client: Client, runs: int) -> Row:
    """One 80 MB array used by 200 tasks."""
    values = []
    for _ in range(runs):
        array = np.random.default_rng().random(MEGABYTES * 125_000)
        reference = client.send_object(array)
        started = time.perf_counter()
        futures = [client.submit(touch_numbered, reference, n) for n in range(USERS)]
        results = [future.result() for future in futures]
        values.append(time.perf_counter() - started)
        assert results == [array[n] for n in range(USERS)]
    samples = Samples(values)
    return row(
        "one 80 MB array used by 200 tasks",
        "s",
        samples,
        budget="≤ 0.2 s (aim 0.1 s)",
        holds=samples.median <= 0.2,
    )
