"""``SchedulerClusterCombo``: what it refuses, what it says when it cannot start, and what is left when it is gone."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from scaler_trio import Client, ConnectionFailed, ObjectStorageFailed, SchedulerClusterCombo
from scaler_trio.cluster import launch
from tests.kit.processes import SCHEDULER, alive, below
from tests.kit.waiting import wait_until


@pytest.fixture(autouse=True)
def _before() -> None:
    _others.update(psutil.Process().children())


_others: set[psutil.Process] = set()
"""Children of other tests, as a cluster for the whole session."""


def children() -> list[psutil.Process]:
    new = [child for child in psutil.Process().children() if child not in _others]
    return alive(new)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"n_workers": -1}, "n_workers is -1; it must be a whole number, and not negative"),
        ({"n_workers": "2"}, "n_workers is '2'; it must be a whole number"),
        ({"logging_level": "LOUD"}, "logging_level is 'LOUD'; it is one of DEBUG"),
        ({"per_worker_capabilities": ["gpu"]}, "it must be a mapping of names to amounts"),
        ({"address": "localhost"}, "'localhost' is not an address; write tcp://host:port"),
        ({"object_storage_address": "tcp://x"}, "'tcp://x' is not an address"),
        ({"token": "short"}, "the token in token= has 5 bytes; at least 16 are needed"),
        ({"worker_timeout_s": 0}, "worker_timeout_s is 0; it must be positive"),
    ],
)
def test_a_wrong_setting_is_refused_and_nothing_is_left(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below, with its parentheses)
        SchedulerClusterCombo(**settings)  # type: ignore[arg-type]
    assert text in str(caught.value)
    assert children() == []


def test_an_application_that_is_no_interpreter_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(ConnectionFailed, match="start scaler_scheduler and workers elsewhere"):
        SchedulerClusterCombo()


def test_an_interpreter_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ConnectionFailed, match=r"could be started with /nowhere/python: .*No such file"):
        SchedulerClusterCombo()


def test_a_launcher_that_ends_early_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "_search_path", lambda: ["/nowhere"])
    started = time.monotonic()
    with pytest.raises(ConnectionFailed, match="its launcher ended with 1; what it wrote to standard error"):
        SchedulerClusterCombo()
    assert time.monotonic() - started < launch.START_S / 2
    assert "ModuleNotFoundError" in capfd.readouterr().err
    assert children() == []


def test_a_launcher_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "START_S", 0.5)
    monkeypatch.setattr(launch, "_PROGRAM", "import time; time.sleep(60)")
    with pytest.raises(ConnectionFailed, match=r"did not start within 0\.5 s; its processes are stopped"):
        SchedulerClusterCombo()
    assert children() == []


def test_an_interrupt_while_it_starts_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch.select, "select", interrupted)
    with pytest.raises(KeyboardInterrupt):
        SchedulerClusterCombo()
    assert children() == []


def test_its_secret_is_on_no_command_line_and_in_no_environment() -> None:
    token = "a-secret-of-at-least-sixteen-bytes"
    with SchedulerClusterCombo(n_workers=1, token=token) as cluster:
        assert cluster.token == token
        with Client(cluster.get_address(), token=token) as client:
            assert client.submit(abs, -1).result() == 1
        (launcher,) = children()
        for process in [launcher, *launcher.children(recursive=True)]:
            assert token not in " ".join(process.cmdline())
            assert token not in Path(f"/proc/{process.pid}/environ").read_text(errors="replace")


def test_it_accepts_clients_when_it_returns_and_is_gone_when_shutdown_returns() -> None:
    cluster = SchedulerClusterCombo(n_workers=1, worker_manager_id="mine", logging_level="ERROR")
    family = [*children(), *[below for child in children() for below in child.children(recursive=True)]]
    assert repr(cluster).endswith("running>")
    with Client(cluster.get_address()) as client:
        assert client.submit(os.getppid).result() > 0
    cluster.shutdown()
    cluster.shutdown()
    assert repr(cluster).endswith("shut down>")
    assert not [process for process in family if process.is_running()]


def test_a_cluster_whose_scheduler_dies_stops_as_a_whole_and_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    cluster = SchedulerClusterCombo(n_workers=1)
    (launcher,) = children()
    (scheduler,) = wait_until(lambda: below(launcher.pid, SCHEDULER), "its scheduler")
    scheduler.kill()
    wait_until(lambda: not children(), "its processes to end")
    assert repr(cluster).endswith("ended unexpectedly>")
    assert "the scheduler ended by signal 9 (SIGKILL); everything is stopped" in capfd.readouterr().err
    cluster.shutdown()


def test_a_cluster_without_workers_is_allowed_and_waits_for_some() -> None:
    with SchedulerClusterCombo(n_workers=0) as cluster, Client(cluster.get_address()) as client:
        future = client.submit(abs, -1)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.2)


def test_a_result_that_the_storage_has_no_room_for_is_the_same_error_as_an_argument() -> None:
    with SchedulerClusterCombo(n_workers=1, object_memory_bytes=100_000) as cluster:
        with Client(cluster.get_address()) as client:
            for call in (lambda: client.submit(bytes, 200_000).result(), lambda: client.submit(len, bytes(200_000))):
                with pytest.raises(ObjectStorageFailed, match="it is larger than the memory for objects"):
                    call()
            assert client.submit(abs, -1).result() == 1


def test_a_notebook_shows_where_a_cluster_is_and_not_its_token() -> None:
    with SchedulerClusterCombo(n_workers=0) as cluster:
        html = cluster._repr_html_()
        assert cluster.get_address() in html
        assert ">running<" in html
        assert cluster.token not in html
        assert cluster.token not in repr(cluster)
    assert ">shut down<" in cluster._repr_html_()
