"""Wherever Python runs: plain scripts, the interactive prompt, ``-c``, running event loops, archives, odd folders."""

from __future__ import annotations

import os
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from tests.kit.scripts import run_python, run_script

PREAMBLE = "from scaler_trio import Client, SchedulerClusterCombo\n"


def test_a_plain_script_needs_no_guard_and_may_use_its_own_functions_and_classes(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
        import attrs
        from scaler_trio import Client, SchedulerClusterCombo

        @attrs.frozen
        class Point:
            x: int
            y: int

        class Broken(Exception):
            pass

        LIMIT = 3

        def shift(point, by=1):
            if point.x > LIMIT:
                raise Broken(f"{point.x} is over {LIMIT}")
            return Point(point.x + by, point.y)

        cluster = SchedulerClusterCombo(n_workers=1)
        client = Client(cluster.get_address())
        print(client.map(shift, [Point(n, 0) for n in range(3)]))
        assert isinstance(client.submit(shift, Point(1, 1)).result(), Point)
        print(repr(client.submit(shift, Point(9, 9)).exception()))
        print([f.result() for f in [client.submit(lambda a: a * LIMIT, n) for n in range(3)]])
        print("loaded once")
        """,
    )
    assert done.stdout.splitlines() == [
        "[Point(x=1, y=0), Point(x=2, y=0), Point(x=3, y=0)]",
        "Broken('9 is over 3')",
        "[0, 3, 6]",
        "loaded once",
    ]
    assert done.stderr == ""


def test_an_exception_that_the_script_defines_is_caught_as_itself(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
        from scaler_trio import Client, SchedulerClusterCombo

        class Refused(Exception):
            def __init__(self, code, reason="none"):
                super().__init__(code, reason)
                self.code = code

        def refuse(code):
            raise Refused(code, "so")

        with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
            calls = {
                "submit": lambda: client.submit(refuse, 1).result(),
                "map": lambda: client.map(refuse, [2]),
                "get": lambda: client.get({"a": 3, "b": (refuse, "a")}, ["b"]),
            }
            for name, call in calls.items():
                try:
                    call()
                except Refused as error:
                    print(name, error.code, error.args, "in refuse" in str(error.__cause__))
        """,
    )
    assert done.stdout.splitlines() == [
        "submit 1 (1, 'so') True",
        "map 2 (2, 'so') True",
        "get 3 (3, 'so') True",
    ]


def test_a_module_beside_the_script_is_found_by_workers_whatever_the_current_directory(tmp_path: Path) -> None:
    beside = tmp_path / "with a space"
    beside.mkdir()
    (beside / "helper_module.py").write_text("def triple(value):\n    return 3 * value\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "json.py").write_text("raise SystemExit('a file of the current directory was imported')\n")
    (beside / "script.py").write_text(
        PREAMBLE
        + "import os, helper_module\n"
        + "with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:\n"
        + "    print(client.map(helper_module.triple, range(3)), client.submit(os.getcwd).result())\n"
    )
    done = run_python(elsewhere, str(beside / "script.py"))
    assert done.stdout == f"[0, 3, 6] {elsewhere}\n"


def test_the_interactive_prompt(tmp_path: Path) -> None:
    lines = [
        "from scaler_trio import Client, SchedulerClusterCombo",
        "cluster = SchedulerClusterCombo(n_workers=1)",
        "client = Client(cluster.get_address())",
        "def twice(value): return value * factor",
        "",
        "factor = 2",
        "print(client.map(twice, range(4)))",
        "factor = 3",
        "print(client.map(twice, range(4)))",
        "print(client.submit(twice, 5))",
    ]
    done = run_python(tmp_path, "-i", "-q", text="\n".join([*lines, ""]))
    assert "[0, 2, 4, 6]" in done.stdout
    assert "[0, 3, 6, 9]" in done.stdout
    assert "<ScalerFuture of task" in done.stdout
    assert "Traceback" not in done.stderr


def test_python_with_a_command_and_a_module_of_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "local_module.py").write_text("def plus(value):\n    return value + 1\n")
    code = PREAMBLE + "import local_module\nwith SchedulerClusterCombo(1) as s, Client(s.get_address()) as c:\n"
    done = run_python(tmp_path, "-c", code + "    print(c.map(local_module.plus, [1, 2]))")
    assert done.stdout == "[2, 3]\n"


def test_an_archive_that_python_runs(tmp_path: Path) -> None:
    archive = tmp_path / "application.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("inner.py", "def negate(value):\n    return -value\n")
        body = "    print(c.map(inner.negate, [1, 2]), c.map(lambda v: v + 1, [1]))\n"
        code = "import inner\nwith SchedulerClusterCombo(1) as s, Client(s.get_address()) as c:\n" + body
        file.writestr("__main__.py", PREAMBLE + code)
    assert run_python(tmp_path, str(archive)).stdout == "[-1, -2] [2]\n"


def test_a_search_path_longer_than_a_command_line_may_be(tmp_path: Path) -> None:
    code = "import sys\nsys.path += [f'/nowhere/{n:0100d}' for n in range(3000)]\n" + PREAMBLE
    code += "with SchedulerClusterCombo(1) as s, Client(s.get_address()) as c:\n    print(c.map(abs, [-1]))\n"
    assert run_python(tmp_path, "-c", code).stdout == "[1]\n"


def test_optimised_python_runs_tasks_optimised(tmp_path: Path) -> None:
    code = PREAMBLE + "import sys\ndef level():\n    return sys.flags.optimize\n"
    code += "with SchedulerClusterCombo(1) as s, Client(s.get_address()) as c:\n    print(c.submit(level).result())\n"
    assert run_python(tmp_path, "-O", "-c", code).stdout == "1\n"


def test_within_a_running_asyncio_loop_as_in_a_notebook(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
        import asyncio
        from scaler_trio import Client, SchedulerClusterCombo

        async def cell():
            with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
                print(client.map(abs, range(-3, 0)))  # blocks, as a cell of a notebook does
                ticks = 0

                async def tick():
                    nonlocal ticks
                    while True:
                        ticks += 1
                        await asyncio.sleep(0.01)

                ticking = asyncio.create_task(tick())
                import time
                print(await asyncio.gather(*[client.submit(pow, 2, n) for n in range(4)]))
                await client.submit(time.sleep, 0.3)
                ticking.cancel()
                print(ticks >= 10)
                try:
                    await client.submit(divmod, 1, 0)
                except ZeroDivisionError as error:
                    print(error)

        asyncio.run(cell())
        """,
    )
    assert done.stdout.splitlines()[:3] == ["[3, 2, 1]", "[1, 2, 4, 8]", "True"]
    assert "division" in done.stdout or "modulo" in done.stdout


def test_within_trio(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
        import time
        import trio
        from scaler_trio import Client, SchedulerClusterCombo

        async def main():
            with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
                print(await client.submit(pow, 2, 5))
                future = client.submit(time.sleep, 30)
                with trio.move_on_after(0.2):
                    await future
                print(future.cancelled())

        trio.run(main)
        """,
    )
    assert done.stdout.splitlines() == ["32", "True"]


def test_what_tasks_print_appears_on_the_streams_of_the_cluster(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
        import sys
        from scaler_trio import Client, SchedulerClusterCombo

        def speak(number):
            print("said", number)
            print("complained", number, file=sys.stderr)

        with SchedulerClusterCombo(n_workers=1) as cluster, Client(cluster.get_address()) as client:
            client.map(speak, range(2))
        """,
    )
    assert [line for line in done.stdout.splitlines() if line.endswith(("said 0", "said 1"))]
    assert "complained 1" in done.stderr


def test_a_script_that_fails_ends_with_its_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        PREAMBLE + "cluster = SchedulerClusterCombo(2)\nclient = Client(cluster.get_address())\n"
        "client.submit(__import__('time').sleep, 60)\nraise LookupError('the end')\n"
    )
    started = time.monotonic()
    with pytest.raises(AssertionError, match="LookupError: the end"):
        run_python(tmp_path, str(tmp_path / "script.py"))
    assert time.monotonic() - started < 10


def test_multiprocessing_beside_a_cluster_does_not_keep_it_alive(tmp_path: Path) -> None:
    """Children that are forked while a cluster runs hold its pipe too."""
    done = run_script(
        tmp_path,
        """
        import multiprocessing, time
        from scaler_trio import Client, SchedulerClusterCombo

        cluster = SchedulerClusterCombo(n_workers=1)
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3,))
        child.start()
        started = time.monotonic()
        cluster.shutdown()
        print(time.monotonic() - started < 2)
        child.terminate()
        child.join()
        """,
    )
    assert done.stdout == "True\n"


def test_a_cluster_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    import signal
    import subprocess

    code = PREAMBLE + "import time\ncluster = SchedulerClusterCombo(2)\nclient = Client(cluster.get_address())\n"
    code += "client.map(abs, range(10))\nprint('ready', flush=True)\ntime.sleep(60)\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path, env=dict(os.environ))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    services = psutil.Process(process.pid).children(recursive=True)
    assert len(services) >= 7
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    _, alive = psutil.wait_procs(services, timeout=5)
    assert not alive, alive


def test_a_dropped_cluster_is_shut_down(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
        import gc, psutil, time
        from scaler_trio import SchedulerClusterCombo

        cluster = SchedulerClusterCombo(n_workers=1)
        print(repr(cluster).endswith("running>"), len(psutil.Process().children()))
        del cluster
        gc.collect()
        print(psutil.Process().children())
        """,
    )
    assert done.stdout == "True 1\n[]\n"
