"""What tasks print comes to the client that asked for it, whoever printed it: each line with its task, in order."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time

import pytest

from scaler_trio import Client, ProcessorDiedError
from tests.kit.waiting import wait_until

Capture = pytest.CaptureFixture[str]


def say(*lines: str) -> None:
    for line in lines:
        print(line)


def say_in_all_ways() -> None:
    print("from Python")
    ctypes.CDLL(None).puts(b"from C")
    sys.stdout.write("no newline")
    sys.stdout.flush()
    subprocess.run(["echo", " and from a subprocess"], check=True)
    print("complaint", file=sys.stderr)
    os.write(1, b"the end, unfinished")


def say_and_wait(seconds: float) -> None:
    print("waiting", flush=True)
    time.sleep(seconds)


def say_number(number: int) -> int:
    print("number", number)
    return number


def say_and_die() -> None:
    os.write(1, b"last words")
    os._exit(3)


def babble(lines: int) -> int:
    for _ in range(lines):
        sys.stdout.write("x" * 99 + "\n")
    return lines


class Shown:
    """What this process has printed so far."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self.out: list[str] = []
        self.err: list[str] = []

    def has(self, *wanted: str) -> bool:
        captured = self._capture.readouterr()
        self.out += captured.out.splitlines()
        self.err += captured.err.splitlines()
        return all(line in self.out or line in self.err for line in wanted)

    def wait_for(self, *wanted: str) -> None:
        wait_until(lambda: self.has(*wanted), lambda: f"printed so far: {self.out[-20:]}, {self.err[-20:]}")


@pytest.fixture
def shown(capsys: Capture) -> Shown:
    return Shown(capsys)


@pytest.fixture
def loud(client: Client) -> Client:
    return client.options(stream_output=True)


def test_all_that_a_task_prints_is_printed_here_in_order_with_its_label(loud: Client, shown: Shown) -> None:
    future = loud.submit(say_in_all_ways)
    future.result(20)
    label = f"(say_in_all_ways {future.task_id})"
    shown.wait_for(f"{label} the end, unfinished", f"{label} complaint")
    assert [line for line in shown.out if line.startswith(label)] == [
        f"{label} from Python",
        f"{label} from C",
        f"{label} no newline and from a subprocess",
        f"{label} the end, unfinished",
    ]
    assert f"{label} complaint" in shown.err


def test_a_name_stands_in_the_label(loud: Client, shown: Shown) -> None:
    future = loud.options(name="greeter").submit(say, "hello")
    shown.wait_for(f"(greeter {future.task_id}) hello")


def test_a_task_is_heard_while_it_runs(loud: Client, shown: Shown) -> None:
    future = loud.submit(say_and_wait, 60)
    shown.wait_for(f"(say_and_wait {future.task_id}) waiting")
    assert not future.done()
    future.cancel()


def test_each_item_of_a_map_has_its_own_label(loud: Client, shown: Shown) -> None:
    assert loud.map(say_number, range(200)) == list(range(200))
    shown.wait_for(*[f"(say_number[{n}]) number {n}" for n in range(200)])


def test_nodes_of_a_graph_are_heard(loud: Client, shown: Shown) -> None:
    futures = loud.get({"a": (say_number, 7)}, ["a"], block=False)
    shown.wait_for(f"(say_number {futures['a'].task_id}) number 7")


def test_the_tasks_beside_it_are_not_heard(client: Client, loud: Client, shown: Shown) -> None:
    for _ in range(20):
        loud.submit(say, "loud")
        client.submit(say, "quiet")
    future = loud.submit(say, "last")
    shown.wait_for(f"(say {future.task_id}) last")
    wait_until(lambda: shown.has() and sum("loud" in line for line in shown.out) == 20, lambda: str(shown.out))
    assert not any("quiet" in line and line.startswith("(") for line in shown.out)


def test_last_words_of_a_process_that_dies_are_heard(loud: Client, shown: Shown) -> None:
    future = loud.options(crash_limit=1).submit(say_and_die)
    with pytest.raises(ProcessorDiedError, match="last words"):
        future.result(20)
    shown.wait_for(f"(say_and_die {future.task_id}) last words")


def test_a_task_that_prints_without_end_loses_output_and_is_told_how_much(loud: Client, shown: Shown) -> None:
    future = loud.submit(babble, 100_000)
    assert future.result(50) == 100_000
    wait_until(lambda: shown.has() and any("were left out" in line for line in shown.out), lambda: str(shown.out[-3:]))
    assert len(shown.out) < 100_000
