"""Ctrl-C in a program that waits: the wait ends with it, its work is cancelled, and the client goes on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scaler_trio import Client
from tests.kit.waiting import wait_until


def begin_and_sleep(path: Path) -> None:
    path.touch()
    time.sleep(30)


def by_map(client: Client, path: Path) -> Any:
    return client.map(begin_and_sleep, [path] * 100)


def by_imap(client: Client, path: Path) -> Any:
    with client.imap(begin_and_sleep, [path] * 100) as results:
        return list(results)


def by_graph(client: Client, path: Path) -> Any:
    return client.get({"path": path, "a": (begin_and_sleep, "path"), "b": (repr, "a")}, ["b"])


@pytest.fixture
def ctrl_c_when(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Once a file is there, this process is interrupted as by a Ctrl-C."""
    threads: list[threading.Thread] = []
    main = threading.main_thread().ident
    assert main is not None

    def press(path: Path) -> None:
        wait_until(path.exists, "a task to run")
        signal.pthread_kill(main, signal.SIGINT)

    def arm(path: Path) -> None:
        threads.append(threading.Thread(target=press, args=(path,)))
        threads[-1].start()

    yield arm
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("way", [by_map, by_imap, by_graph])
def test_it_ends_the_call_and_cancels_its_work(
    client: Client, tmp_path: Path, ctrl_c_when: Callable[[Path], None], way: Callable[[Client, Path], Any]
) -> None:
    path = tmp_path / "began"
    ctrl_c_when(path)
    with pytest.raises(KeyboardInterrupt):
        way(client, path)
    started = time.monotonic()
    assert client.map(abs, range(-100, 0)) == list(range(100, 0, -1))
    assert [future.result(10) for future in [client.submit(abs, -n) for n in range(10)]] == list(range(10))
    assert time.monotonic() - started < 3, "the workers are still busy with what was interrupted"


def test_a_result_that_is_waited_for_may_be_waited_for_again(
    client: Client, tmp_path: Path, ctrl_c_when: Callable[[Path], None]
) -> None:
    path = tmp_path / "began"
    future = client.submit(begin_and_sleep, path)
    ctrl_c_when(path)
    with pytest.raises(KeyboardInterrupt):
        future.result()
    assert not future.done(), "who interrupts a wait for one task still has its future"
    assert future.cancel()
    assert client.submit(abs, -1).result(10) == 1
