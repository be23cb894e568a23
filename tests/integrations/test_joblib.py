"""The joblib backend "scaler_trio": joblib's own promises, what goes wrong, and scikit-learn."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scaler_trio import (
    CannotPickle,
    Client,
    ClientClosed,
    ProcessorDiedError,
    ScalerError,
    SchedulerClusterCombo,
    TaskCancelled,
)
from tests.kit.waiting import in_background, wait_until

joblib = pytest.importorskip("joblib")
from joblib import Parallel, delayed, parallel_config  # noqa: E402

from scaler_trio.integrations.joblib_backend import ScalerTrioBackend, take_apart  # noqa: E402


class NeverSent:
    def __reduce__(self) -> Any:
        raise RuntimeError("I stay here")


def square(number: int) -> int:
    return number * number


def where(_: Any = None) -> int:
    return os.getpid()


def fail_at(number: int, bad: int) -> int:
    if number == bad:
        raise ArithmeticError(f"on {number}")
    return number


def mark_and_sleep(path: Path, seconds: float) -> None:
    path.touch()
    time.sleep(seconds)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nested(count: int) -> tuple[str, list[int], set[int]]:
    backend = Parallel(n_jobs=2)._backend
    inner = Parallel(n_jobs=2)(delayed(square)(number) for number in range(count))
    pids = Parallel(n_jobs=2)(delayed(where)() for _ in range(count))
    return type(backend).__name__, inner, set(pids) - {os.getpid()}


@pytest.fixture
def configured(client: Client) -> Iterator[Client]:
    with parallel_config("scaler_trio", client=client, n_workers=2):
        yield client


# ------------------------------------------------------------------------------------------------- what it does


@pytest.mark.usefixtures("configured")
def test_calls_run_on_the_workers_and_results_are_in_order() -> None:
    assert Parallel()(delayed(square)(number) for number in range(500)) == [number**2 for number in range(500)]
    assert os.getpid() not in Parallel()(delayed(where)() for _ in range(10))
    assert Parallel()([]) == []
    assert Parallel()([delayed(pow)(2, exp=5)]) == [32]


def test_the_older_parallel_backend_selects_it_too(client: Client) -> None:
    with joblib.parallel_backend("scaler_trio", client=client):
        assert Parallel()(delayed(square)(number) for number in range(10)) == [number**2 for number in range(10)]


def test_without_a_client_it_connects_by_the_environment(
    cluster: SchedulerClusterCombo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCALER_ADDRESS", cluster.get_address())
    with parallel_config("scaler_trio"):
        assert os.getpid() not in Parallel()(delayed(where)() for _ in range(4))

    def threads() -> list[str]:
        gc.collect()  # joblib's objects refer to each other
        ours = f"scaler client of {cluster.get_address()}"
        return [thread.name for thread in threading.enumerate() if thread.name == ours]

    wait_until(lambda: not threads(), threads)


def test_without_client_and_address_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCALER_ADDRESS", raising=False)
    with pytest.raises(ValueError, match="No scheduler address provided") as caught:
        parallel_config("scaler_trio")
    assert "parallel_config" in caught.value.__notes__[0]


@pytest.mark.usefixtures("configured")
def test_results_may_be_taken_one_by_one_in_either_order() -> None:
    calls = [delayed(square)(number) for number in range(50)]
    assert list(Parallel(return_as="generator")(calls)) == [number**2 for number in range(50)]
    assert sorted(Parallel(return_as="generator_unordered")(calls)) == [number**2 for number in range(50)]


@pytest.mark.usefixtures("configured")
def test_one_parallel_object_may_be_called_again() -> None:
    with Parallel() as parallel:
        for count in (3, 40, 1):
            assert parallel(delayed(square)(number) for number in range(count)) == [n**2 for n in range(count)]


@pytest.mark.usefixtures("configured")
def test_small_calls_are_put_into_batches() -> None:
    parallel = Parallel(pre_dispatch="4*n_jobs")
    assert len(parallel(delayed(square)(number) for number in range(2000))) == 2000
    assert parallel.n_dispatched_batches < 500


@pytest.mark.parametrize(("asked", "given"), [(-1, 4), (None, 4), (-2, 3), (-9, 1), (1, 1), (3, 3), (100, 100)])
def test_how_many_jobs_there_are(client: Client, asked: int | None, given: int) -> None:
    backend = ScalerTrioBackend(client, n_workers=4)
    assert backend.effective_n_jobs(asked) == given
    with parallel_config("scaler_trio", client=client, n_workers=4):
        assert joblib.effective_n_jobs(asked) == given


def test_numbers_of_jobs_that_make_no_sense_are_refused(client: Client) -> None:
    backend = ScalerTrioBackend(client)
    assert backend.effective_n_jobs(-1) >= 2, "joblib runs a single job in its own process"
    with pytest.raises(ValueError, match="n_jobs == 0"):
        backend.effective_n_jobs(0)
    with pytest.raises(ValueError, match="n_workers is 0; it must be positive"):
        ScalerTrioBackend(client, n_workers=0)


@pytest.mark.usefixtures("configured")
def test_calls_within_calls_run_in_threads_of_their_worker_and_cannot_lock_the_cluster() -> None:
    results = Parallel(timeout=30)(delayed(nested)(5) for _ in range(8))
    assert results == [("ThreadingBackend", [0, 1, 4, 9, 16], set())] * 8


def test_a_large_argument_is_stored_once_for_all_batches(configured: Client) -> None:
    import numpy as np

    large = np.ones(1_000_000)
    written: list[int] = []
    objects = configured._session.objects
    write_new = objects.write_new

    def count(parts: Any, size_bytes: int) -> bytes:
        written.append(size_bytes)
        return write_new(parts, size_bytes)

    objects.write_new = count  # type: ignore[method-assign]
    sums = Parallel(batch_size=3)(delayed(np.multiply.reduce)(large[:0] if n < 0 else large) for n in range(30))
    assert sums == [1.0] * 30
    assert len(written) == 1


def test_calls_are_taken_apart_and_what_they_share_is_there_once() -> None:
    shared = [1, 2]
    shapes, values = take_apart([(square, (shared, 3), {}), (square, (3,), {"key": shared})])
    assert values == [square, shared, 3]
    assert shapes == [(0, (1, 2), {}), (0, (2,), {"key": 1})]


# ------------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.usefixtures("configured")
def test_the_error_of_a_call_is_raised_with_its_remote_traceback() -> None:
    with pytest.raises(ArithmeticError, match="on 30") as caught:
        Parallel()(delayed(fail_at)(number, 30) for number in range(1000))
    assert "raise ArithmeticError" in str(caught.value.__cause__)
    assert Parallel()(delayed(square)(number) for number in range(5)) == [0, 1, 4, 9, 16]


@pytest.mark.usefixtures("configured")
def test_an_error_cancels_what_waits_and_what_runs(tmp_path: Path) -> None:
    calls = [delayed(mark_and_sleep)(tmp_path / "long", 30), delayed(fail_at)(1, 1)]
    calls += [delayed(mark_and_sleep)(tmp_path / str(number), 30) for number in range(20)]
    start = time.monotonic()
    with pytest.raises(ArithmeticError):
        Parallel(pre_dispatch="all", batch_size=1)(calls)
    assert Parallel()(delayed(square)(number) for number in range(5)) == [0, 1, 4, 9, 16]
    assert time.monotonic() - start < 10
    assert len(list(tmp_path.iterdir())) < 5


@pytest.mark.usefixtures("configured")
def test_a_time_out_cancels_too() -> None:
    start = time.monotonic()
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.3)(delayed(time.sleep)(30) for _ in range(4))
    assert Parallel()(delayed(square)(number) for number in range(5)) == [0, 1, 4, 9, 16]
    assert time.monotonic() - start < 10


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("bad", [0, 3, 150])
def test_an_argument_that_cannot_be_pickled_is_an_error_wherever_it_is_met(bad: int) -> None:
    """Past what is dispatched at first, callbacks dispatch: an error that they raised would be lost, and hang."""
    calls = (delayed(fail_at)(NeverSent() if number == bad else number, -1) for number in range(300))
    with pytest.raises(CannotPickle, match="I stay here"):
        in_background(Parallel(batch_size=1), calls).result(20)


def test_a_client_that_was_closed_is_an_error(cluster: SchedulerClusterCombo, tmp_path: Path) -> None:
    client = Client(cluster.get_address())
    with parallel_config("scaler_trio", client=client, n_workers=2):
        running = in_background(Parallel(batch_size=1), [delayed(mark_and_sleep)(tmp_path / "started", 30)] * 10)
        wait_until((tmp_path / "started").exists, "a call to run")
        client.close()
        with pytest.raises(ScalerError) as caught:
            running.result(10)
        assert isinstance(caught.value, TaskCancelled | ClientClosed)
        with pytest.raises(ClientClosed):
            Parallel()(delayed(square)(number) for number in range(5))


def test_a_call_that_kills_its_process_is_an_error(client: Client) -> None:
    with parallel_config("scaler_trio", client=client.options(crash_limit=1), n_workers=2):
        with pytest.raises(ProcessorDiedError):
            Parallel()(delayed(die)() for _ in range(2))
        assert Parallel()(delayed(square)(number) for number in range(5)) == [0, 1, 4, 9, 16]


@pytest.mark.usefixtures("configured")
def test_a_generator_that_is_dropped_cancels_the_rest(tmp_path: Path) -> None:
    results = Parallel(return_as="generator", pre_dispatch="all", batch_size=1)(
        [delayed(square)(2), *[delayed(mark_and_sleep)(tmp_path / str(number), 30) for number in range(20)]]
    )
    assert next(results) == 4
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")  # joblib warns of the work that was in vain
        results.close()
    start = time.monotonic()
    assert Parallel()(delayed(square)(number) for number in range(5)) == [0, 1, 4, 9, 16]
    assert time.monotonic() - start < 10


# -------------------------------------------------------------------------------------------------- scikit-learn


@pytest.mark.slow
@pytest.mark.usefixtures("configured")
def test_scikit_learn_searches_and_grows_forests_as_it_does_alone() -> None:
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    data, target = load_iris(return_X_y=True)
    search = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2, 3]}, cv=3, error_score="raise")
    forest = RandomForestClassifier(n_estimators=12, random_state=0)
    search.fit(data, target)
    forest.fit(data, target)
    scores = cross_val_score(forest, data, target, cv=3)
    with parallel_config("sequential"):
        alone = GridSearchCV(search.estimator, search.param_grid, cv=3).fit(data, target)
        assert search.best_params_ == alone.best_params_
        assert search.cv_results_["mean_test_score"].tolist() == alone.cv_results_["mean_test_score"].tolist()
        grown_alone = RandomForestClassifier(n_estimators=12, random_state=0).fit(data, target)
        assert (forest.predict_proba(data) == grown_alone.predict_proba(data)).all()
        assert scores.tolist() == cross_val_score(grown_alone, data, target, cv=3).tolist()


@pytest.mark.slow
def test_the_module_is_all_that_a_script_needs(cluster: SchedulerClusterCombo) -> None:
    script = """if True:
        import joblib, os, sys
        import scaler_trio.integrations.joblib_backend
        def triple(n):
            return n * 3, os.getpid() == caller
        caller = os.getpid()
        with joblib.parallel_config("scaler_trio"):
            print(joblib.Parallel()(joblib.delayed(triple)(n) for n in range(4)))
        """
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "SCALER_ADDRESS": cluster.get_address()},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.stderr == ""
    assert ended.stdout.strip() == "[(0, False), (3, False), (6, False), (9, False)]"
