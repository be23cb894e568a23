"""How clients end: closed, dropped, forked, at the end of the interpreter; and where they are used."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest

from scaler_protocol import messages as m
from scaler_trio import errors
from scaler_trio.client import Client
from tests.client.fake_scheduler import TOKEN, FakeScheduler
from tests.kit.waiting import in_background


def run_python(scheduler: FakeScheduler, *arguments: str, script: str = "", timeout_s: float = 20) -> str:
    environment = {**os.environ, "SCALER_ADDRESS": scheduler.address, "SCALER_TOKEN": TOKEN.decode()}
    done = subprocess.run(
        [sys.executable, *arguments],
        input=script,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def client_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("scaler ")]


def test_closing_says_goodbye_cancels_and_ends_the_threads(scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    client = Client(scheduler.address, token=TOKEN)
    future = client.submit(abs, 1)
    future.add_done_callback(lambda f: None)
    client.close()
    client.close()
    assert future.cancelled()
    with pytest.raises(errors.TaskCancelled, match="closed before the task was done"):
        future.result()
    with pytest.raises(errors.ClientClosed):
        client.submit(abs, 1)
    with pytest.raises(errors.ClientClosed):
        client.map(abs, [1])
    scheduler.wait_for(lambda: "Goodbye" in scheduler.kinds(), "a goodbye")
    assert "closed" in repr(client)


def test_results_that_came_before_the_end_stay(scheduler: FakeScheduler) -> None:
    with Client(scheduler.address, token=TOKEN) as client:
        future = client.submit(abs, -4)
        concurrent.futures.wait([future])
    assert future.result() == 4


def test_a_client_that_is_dropped_closes_itself(scheduler: FakeScheduler) -> None:
    client = Client(scheduler.address, token=TOKEN)
    assert client.submit(abs, -1).result() == 1
    gone = weakref.ref(client)
    session_thread = client._session._thread
    del client
    gc.collect()
    assert gone() is None
    session_thread.join(5)
    assert not session_thread.is_alive()
    scheduler.wait_for(lambda: "Goodbye" in scheduler.kinds(), "a goodbye")


def test_a_future_outlives_its_client(scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    future = Client(scheduler.address, token=TOKEN).submit(abs, -1)
    gc.collect()
    scheduler.resume()
    assert future.result(10) == 1


def test_clear_cancels_everything_and_the_client_goes_on(client: Client, scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    futures = [client.submit(abs, i) for i in range(10)]
    graph = client.get({"a": (abs, 1)}, ["a"], block=False)
    scheduler.wait_for(lambda: sum(len(s.rows) for s in scheduler.of(m.SubmitTasks)) == 10, "all are sent")
    client.clear()
    assert all(future.cancelled() for future in futures)
    assert graph["a"].done()
    scheduler.resume()
    assert client.submit(abs, -1).result(10) == 1


def test_in_a_forked_child_use_is_a_clear_error_and_the_parent_goes_on(client: Client) -> None:
    assert client.submit(abs, -1).result() == 1
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            client.submit(abs, -2)
            text = "no error"
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode())
        client.close()
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    os.waitpid(pid, 0)
    assert text.startswith("ClientClosed")
    assert f"belongs to process {os.getpid()}" in text
    assert client.map(abs, range(-1000, 0)) == list(range(1000, 0, -1))


def test_disconnecting_with_500_pending_tasks_takes_no_half_second(scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    client = Client(scheduler.address, token=TOKEN)
    futures = [client.submit(abs, i) for i in range(500)]
    scheduler.wait_for(lambda: sum(len(s.rows) for s in scheduler.of(m.SubmitTasks)) == 500, "all are sent")
    started = time.monotonic()
    client.disconnect()
    assert time.monotonic() - started < 0.5
    assert all(future.cancelled() for future in futures)


def test_a_shutdown_that_is_refused_or_not_answered_closes_the_client(scheduler: FakeScheduler) -> None:
    client = Client(scheduler.address, token=TOKEN)
    asked = in_background(client.shutdown)
    scheduler.wait_for(lambda: bool(scheduler.of(m.Shutdown)), "it to be asked")
    scheduler.send(m.ShutdownRefused("is in protected mode"))
    with pytest.raises(errors.ProtectedError, match="is in protected mode"):
        asked.result(5)
    with pytest.raises(errors.ClientClosed):
        client.submit(abs, 1)
    silent = Client(scheduler.address, token=TOKEN, timeout=0.3)
    with pytest.raises(errors.ConnectionLost, match=r"did not answer within 0\.3 s"):
        silent.shutdown()
    assert "closed" in repr(silent)


def test_a_shutdown_by_somebody_else_fails_what_is_unfinished_at_once(scheduler: FakeScheduler) -> None:
    scheduler.paused = True
    client = Client(scheduler.address, token=TOKEN)
    future = client.submit(abs, 1)
    scheduler.send(m.Shutdown("somebody asked for it"))
    with pytest.raises(errors.ConnectionLost, match="was shut down: somebody asked for it"):
        future.result(5)
    client._session._thread.join(5)
    assert not client._session._thread.is_alive(), "it tries to come back"
    client.close()


def test_a_plain_script_needs_no_guard_and_ends_with_work_pending(scheduler: FakeScheduler, tmp_path: object) -> None:
    scheduler.paused = True
    script = "from scaler_trio import Client\nc = Client()\nf = [c.submit(abs, i) for i in range(100)]\nprint('end')\n"
    started = time.monotonic()
    assert run_python(scheduler, "-", script=script) == "end\n"
    assert time.monotonic() - started < 15
    scheduler.wait_for(lambda: "Goodbye" in scheduler.kinds(), "a goodbye")


def test_a_script_with_functions_and_classes_of_its_own(scheduler: FakeScheduler) -> None:
    script = """
from scaler_trio import Client
class Point:
    def __init__(self, x): self.x = x
def double(p): return Point(p.x * 2)
with Client() as client:
    print([p.x for p in client.map(double, [Point(1), Point(2)])])
    print(client.submit(lambda a, *, b: a + b, 1, b=2).result())
"""
    assert run_python(scheduler, "-", script=script) == "[2, 4]\n3\n"


def test_an_interactive_interpreter(scheduler: FakeScheduler) -> None:
    script = "from scaler_trio import Client\nc = Client()\nf = lambda x: x + 1\nprint('got', c.map(f, [1, 2]))\n"
    assert "got [2, 3]" in run_python(scheduler, "-i", "-q", script=script)


def test_importing_the_package_imports_neither_trio_nor_cloudpickle() -> None:
    code = (
        "import scaler_trio, sys; print([n for n in ('trio', 'cloudpickle', 'msgpack', 'attrs') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "[]\n"


def test_every_public_name_exists() -> None:
    import scaler_trio

    for name in scaler_trio.__all__:
        assert getattr(scaler_trio, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        _ = scaler_trio.Clinet  # type: ignore[attr-defined]
