"""CPython's own executor tests, on `client.executor()`; skipped where the interpreter was built without its tests.

`test_executor.py` has the same behaviours under the same names, for every interpreter. Left out of CPython's classes,
as they do not apply:

* `test_max_workers_negative`: there is no `max_workers`; how much runs at a time is the cluster's matter.
* `test_interpreter_shutdown`, `test_submit_after_interpreter_shutdown`, `test_hang_gh83386`: they start an executor of
  `concurrent.futures` by its name in a process of their own. At the end of ours the client is closed, which cancels
  what is unfinished, and output of a task is the worker's and not the script's.
* `test_cancel_futures`: it expects that what runs is finished; a client does not know what runs, and cancels it too.
* `test_hang_gh94440`: it makes an executor with `max_workers=1`.
* `test_deadlock`, `test_init`, `test_process_pool`, `test_thread_pool`: how the two pools are built.
* `test_future`: `ScalerFuture` cannot be made by a user, nor be given a result.
* Python's leak checks around each test: they would reap the cluster's processes.
"""

from __future__ import annotations

import importlib
import time
import unittest
from typing import Any

import pytest

from scaler_trio import Client

pytestmark = pytest.mark.slow

WHERE = {  # each of them in a module of its own since Python 3.12
    "ExecutorTest": "executor",
    "WaitTests": "test_wait",
    "AsCompletedTests": "test_as_completed",
    "ExecutorShutdownTest": "test_shutdown",
}
LEFT_OUT = {
    *("test_max_workers_negative", "test_interpreter_shutdown", "test_submit_after_interpreter_shutdown"),
    *("test_hang_gh83386", "test_cancel_futures", "test_hang_gh94440"),
}
PACKAGE = "test.test_concurrent_futures"


def cpython(name: str) -> type | None:
    """One of CPython's classes of tests, or None."""
    for module in (PACKAGE, f"{PACKAGE}.{WHERE[name]}"):
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            continue
        if found is not None:
            return found
    return None


CLASSES = [found for found in map(cpython, WHERE) if found is not None]
CASES = [(found, name) for found in CLASSES for name in dir(found) if name[:5] == "test_" and name not in LEFT_OUT]


@pytest.mark.skipif(not CASES, reason="this interpreter has no test.test_concurrent_futures")
@pytest.mark.parametrize(("found", "name"), CASES, ids=[f"{found.__name__}-{name}" for found, name in CASES])
def test_of_cpython_passes(found: type, name: str, client: Client) -> None:
    class Case(found, unittest.TestCase):  # type: ignore[misc]
        worker_count = 2

        def setUp(self) -> None:
            self.executor: Any = client.executor()
            self.executor_type = type(self.executor)

        def tearDown(self) -> None:
            self.executor.shutdown(wait=True)

    start = time.monotonic()
    result = unittest.TestResult()
    Case(name).run(result)
    problems = "\n".join(text for _, text in [*result.errors, *result.failures])
    assert not problems, problems
    assert result.testsRun == 1
    assert time.monotonic() - start < 30
    if result.skipped:
        pytest.skip(result.skipped[0][1])
