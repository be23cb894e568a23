"""Rows one to three: many no-ops by ``map``, many by ``submit``, and one at a time."""

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

from benchmarks.measure import Row, pairs, row, seconds
from benchmarks.tasks import no_op
from scaler_trio import Client

ITEMS = 200_000
SUBMITS = 20_000
LONE_CALLS = 500


def measure_map(client: Client, runs: int) -> Row:
    """``map`` of 200,000 no-ops against ``multiprocessing.Pool.map(chunksize=1)``."""
    items = range(ITEMS)
    expected = list(items)
    with multiprocessing.get_context("fork").Pool(2) as pool:

        def ours() -> float:
            started = time.perf_counter()
            result = client.map(no_op, items)
            elapsed = time.perf_counter() - started
            assert result == expected
            return ITEMS / elapsed

        def reference() -> float:
            count = ITEMS // 4
            return count / seconds(lambda: pool.map(no_op, range(count), chunksize=1))

        ours()
        mine, theirs, ratio = pairs(ours, reference, runs)
    return row(
        "map of 200,000 no-ops",
        "items/s",
        mine,
        reference="Pool.map(chunksize=1)",
        references=theirs,
        ratio=ratio,
        budget="≥ 5 × (aim 1,000,000/s)",
        holds=ratio >= 5,
    )


def measure_submit(client: Client, runs: int) -> Row:
    """A loop of ``submit``, then a loop of ``result``, against ``ProcessPoolExecutor``."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as executor:

        def ours() -> float:
            started = time.perf_counter()
            futures = [client.submit(no_op, n) for n in range(SUBMITS)]
            results = [future.result() for future in futures]
            elapsed = time.perf_counter() - started
            assert results == list(range(SUBMITS))
            return SUBMITS / elapsed

        def reference() -> float:
            count = SUBMITS // 2

            def run() -> None:
                for future in [executor.submit(no_op, n) for n in range(count)]:
                    future.result()

            return count / seconds(run)

        ours()
        reference()
        mine, theirs, ratio = pairs(ours, reference, runs)
    return row(
        "submit loop, then result loop",
        "calls/s",
        mine,
        reference="ProcessPoolExecutor.submit",
        references=theirs,
        ratio=ratio,
        budget="≥ 1.2 × (aim 40,000/s)",
        holds=ratio >= 1.2,
    )


def measure_lone_call(client: Client, runs: int) -> Row:
    """One no-op at a time, median, against ``ProcessPoolExecutor``."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as executor:

        def p50(call: object) -> float:
            assert callable(call)
            times = []
            for n in range(LONE_CALLS):
                started = time.perf_counter()
                assert call(no_op, n).result() == n
                times.append(time.perf_counter() - started)
            return 1000 * statistics.median(times)

        p50(executor.submit)
        p50(client.submit)
        mine, theirs, ratio = pairs(lambda: p50(client.submit), lambda: p50(executor.submit), runs)
    return row(
        "one no-op at a time, p50",
        "ms",
        mine,
        reference="ProcessPoolExecutor",
        references=theirs,
        ratio=ratio,
        budget="≤ 4 × (aim 2.5 ×, 0.25 ms)",
        holds=ratio <= 4,
    )
