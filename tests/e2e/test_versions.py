"""A client and workers whose pickles may not load at the other side: nothing runs, and one plain sentence says why."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import cloudpickle
import pytest

from scaler_trio import Client, NoWorkerError, SchedulerClusterCombo
from tests.kit.remote import ROOT, remote_workers
from tests.kit.waiting import wait_until

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
PICKLER = ".".join(cloudpickle.__version__.split(".")[:2])

FAILS_AFTER_S = 5.0
"""So long work waits for a worker that fits, while others are connected."""


def claim(python: str, pickler: str) -> None:
    """Say from now on in handshakes of this process that it runs these versions."""
    from scaler_trio.serialization import identity

    major, minor = map(int, python.split("."))
    cloudpickle.__version__ = f"{pickler}.0"
    identity.sys = SimpleNamespace(version_info=SimpleNamespace(major=major, minor=minor))  # type: ignore[attr-defined]


@contextmanager
def worker_that_claims(cluster: SchedulerClusterCombo, python: str, pickler: str) -> Iterator[None]:
    """A real worker, in all but its word a match."""
    code = (
        "import sys; from tests.e2e.test_versions import claim; from tests.kit.remote import main; "
        "claim(*sys.argv[3:]); main(*sys.argv[1:3])"
    )
    arguments = [cluster.get_address(), f"of {python} and {pickler}", python, pickler]
    environment = dict(os.environ, SCALER_TOKEN=cluster.token)
    with subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.parametrize(
    ("python", "pickler", "sentence"),
    [
        ("3.99", PICKLER, f"client runs Python {MINOR}, every worker 3.99"),
        (MINOR, "1.6", f"client runs Python {MINOR} with cloudpickle {PICKLER}, every worker cloudpickle 1.6"),
    ],
)
def test_work_that_no_worker_can_unpickle_fails_with_a_sentence(python: str, pickler: str, sentence: str) -> None:
    with SchedulerClusterCombo(n_workers=0) as cluster, Client(cluster.get_address()) as client:
        with worker_that_claims(cluster, python, pickler):
            single = client.submit(abs, -1)
            node = client.get({"a": -1, "b": (abs, "a")}, ["b"], block=False)["b"]
            rows = client.map(abs, range(3), return_exceptions=True, timeout=FAILS_AFTER_S + 20)
            errors = [single.exception(20), node.exception(20), *rows]
        for error in errors:
            assert type(error) is NoWorkerError
            assert f"{sentence}: use the same version on both sides" in str(error)


def names_the_template(_: int) -> int:
    return os.getppid()


def test_a_worker_of_another_version_gets_nothing_beside_one_that_fits() -> None:
    with SchedulerClusterCombo(n_workers=0) as cluster, Client(cluster.get_address()) as client:
        with worker_that_claims(cluster, "3.99", PICKLER):
            first = client.submit(names_the_template, 0)
            wait_until(lambda: "none of those connected fits" in first.explain(), first.explain)
            with remote_workers(cluster.get_address(), cluster.token, 1):
                own = first.result(20)
                assert set(client.map(names_the_template, range(5_000))) == {own}
                futures = [client.submit(names_the_template, n) for n in range(200)]
                assert {future.result(20) for future in futures} == {own}
