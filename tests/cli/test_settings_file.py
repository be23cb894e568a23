"""The TOML file of the commands: precedence, and each mistake with its line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scaler_trio import Client
from scaler_trio.cli.settings_file import RETIRED
from tests.kit.services import BIN, Command, free_ports

GOOD = """
[object_storage_server]
bind_address = "tcp://127.0.0.1:2346"

[scheduler]
bind-address = "tcp://127.0.0.1:2345"
object_storage_address = "tcp://127.0.0.1:2346"
protected = false

[scheduler.policy]
policy_engine_type = "waterfall_v1"
policy_content = '''
1,native
'''

[[worker_manager]]
type = "baremetal_native"
scheduler_address = "tcp://127.0.0.1:2345"
max_task_concurrency = 2
"""


def check(path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path.write_text(text)
    command = [str(BIN / "scaler"), "check", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_good_file(tmp_path: Path) -> None:
    done = check(tmp_path / "a.toml", GOOD)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 sections, no mistake found" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("protected = false", "protectd = false", "line 8: [scheduler] has no key 'protectd'; did you mean protected?"),
        ("protected = false", "protected = 'perhaps'", "line 8"),
        ("protected = false", "worker_timeout_seconds = -1", "line 8. Must be > 0"),
        ("protected = false", "worker_timeout_seconds = 'soon'", 'line 8: unable to convert "soon" into float'),
        ("protected = false", "event_loop = 'uvloop'", "line 8: event_loop is not needed: there is one event loop"),
        ("protected = false", "logging_level = 'LOUD'", "line 8"),
        ("tcp://127.0.0.1:2345", "127.0.0.1", "'127.0.0.1' is not an address; write tcp://host:port"),
        ("[scheduler]", "[schedular]", "line 5: there is no section [schedular]; did you mean [scheduler]?"),
        ("[object_storage_server]", "[scheduler]", "is no TOML"),
        ("1,native", "one,native", "line 12: line 1 of policy_content is 'one,native'"),
        ('type = "baremetal_native"', "", "there is no type; it is one of baremetal_native"),
        ("baremetal_native", "mainframe", "line 17: type is 'mainframe'; it is one of baremetal_native"),
        ("max_task_concurrency = 2", "max_task_concurrency = 'all'", "line 19"),
        ('bind-address = "tcp://127.0.0.1:2345"', "", "[scheduler]"),
    ],
)
def test_a_mistake_is_shown_with_file_and_line(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in GOOD
    path = tmp_path / "a.toml"
    done = check(path, GOOD.replace(old, new, 1))
    assert done.returncode == 2
    assert done.stderr.startswith(f"scaler: {path}"), done.stderr
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("key", sorted(RETIRED))
def test_every_retired_key_says_why(tmp_path: Path, key: str) -> None:
    done = check(tmp_path / "a.toml", GOOD.replace("protected", key))
    assert f"{key} is not needed: {RETIRED[key]}" in done.stderr


def test_two_managers_of_one_id(tmp_path: Path) -> None:
    done = check(tmp_path / "a.toml", GOOD + GOOD[GOOD.index("[[worker_manager]]") :])
    assert "there is a worker manager 'native' already" in done.stderr


def test_a_file_that_is_not_there() -> None:
    done = subprocess.run([str(BIN / "scaler"), "/missing.toml"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "scaler: the settings file /missing.toml cannot be read: No such file or directory\n",
    )


def test_flags_come_before_the_environment_before_the_file_before_defaults(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[scheduler]\nbind_address = "tcp://127.0.0.1:0"\nlogging_level = "no such level"\n')

    def run(*flags: str, **environment: str) -> str:
        done = subprocess.run(
            [str(BIN / "scaler_scheduler"), "--config", str(path), *flags],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, **environment},
        )
        return done.stderr

    assert "from" in run() and "a.toml, line 3" in run()
    assert "SCALER_LOGGING_LEVEL from env" in run(SCALER_LOGGING_LEVEL="LOUDER")
    told = run("--logging-level", "LOUDEST", SCALER_LOGGING_LEVEL="LOUDER")
    assert "LOUDEST" in told
    assert "env" not in told.split("LOUDEST")[1].split("(see")[0]


def test_the_file_satisfies_required_arguments(tmp_path: Path) -> None:
    path, port = tmp_path / "a.toml", tmp_path / "port"
    path.write_text(f'[scheduler]\nbind_address = "tcp://127.0.0.1:0"\nport_file = "{port}"\n')
    with Command("scaler_scheduler", "--config", str(path)) as scheduler:
        address = scheduler.address
        assert port.read_text() == address + "\n"
        path.write_text(
            "[[worker_manager]]\ntype = 'baremetal_native'\nmode = 'fixed'\nmax_task_concurrency = 1\n"
            f"scheduler_address = '{scheduler.address}'\n"
        )
        with Command("scaler_worker_manager", "baremetal_native", "--config", str(path)) as manager:
            manager.wait_for("connected to the scheduler")


def test_what_init_writes_can_be_checked_and_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    for code in (0, 2):
        done = subprocess.run([str(BIN / "scaler"), "init", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == code, done
    assert "cannot be written: File exists" in done.stderr
    assert check(path, path.read_text()).returncode == 0
    uncommented = path.read_text().replace("\n# ", "\n").replace("\nscaler_object_storage", "\n# scaler_object_storage")
    assert check(path, uncommented).returncode == 0


REFERENCE = """
[object_storage_server]
bind_address = "tcp://127.0.0.1:{objects}"
identity = "ObjectStorageServer"
logging_level = "INFO"
logging_paths = ["/dev/stdout"]

[scheduler]
bind_address = "tcp://127.0.0.1:{scheduler}"
object_storage_address = "tcp://127.0.0.1:{objects}"
advertised_object_storage_address = "tcp://127.0.0.1:{objects}"
monitor_address = "tcp://127.0.0.1:{monitor}"
status_report_interval_seconds = 1
protected = true
max_number_of_tasks_waiting = -1
client_timeout_seconds = 60
worker_timeout_seconds = 60
object_retention_seconds = 60
load_balance_seconds = 1
load_balance_trigger_times = 2
event_loop = "builtin"
io_threads = 1
policy_engine_type = "simple"
policy_content = "allocate=even_load; scaling=vanilla"
logging_level = "INFO"

[[worker_manager]]
type = "baremetal_native"
scheduler_address = "tcp://127.0.0.1:{scheduler}"
worker_scheduler_address = "tcp://127.0.0.1:{scheduler}"
object_storage_address = "tcp://127.0.0.1:{objects}"
worker_manager_id = "wm-native"
mode = "fixed"
worker_type = "FIX"
max_task_concurrency = 2
per_worker_capabilities = "linux,cpu=4"
per_worker_task_queue_size = 1000
heartbeat_interval_seconds = 2
task_timeout_seconds = 0
death_timeout_seconds = 300
garbage_collect_interval_seconds = 30
trim_memory_threshold_bytes = 1073741824
hard_processor_suspend = false
event_loop = "builtin"
io_threads = 1
preload = "json:loads('[1]')"
logging_level = "INFO"

[gui]
monitor_address = "tcp://127.0.0.1:{monitor}"
gui_address = "127.0.0.1:50001"

[top]
monitor_address = "tcp://127.0.0.1:{monitor}"
timeout = 5
"""
"""All keys that a file of OpenGRIS Scaler has for these services, with its defaults."""


def test_a_file_of_the_reference_system_works_without_the_keys_that_have_no_meaning_here(tmp_path: Path) -> None:
    scheduler, objects, monitor = free_ports(3)
    text = REFERENCE.format(scheduler=scheduler, objects=objects, monitor=monitor)
    path = tmp_path / "reference.toml"
    removed = []
    while (done := check(path, text)).returncode:
        key = done.stderr.split(": ")[2].split()[0]
        assert f"{key} is not needed: {RETIRED[key]}; remove it" in done.stderr
        removed.append(key)
        line = next(line for line in text.splitlines() if line.startswith(f"{key} = "))
        text = text.replace(line + "\n", "", 1)
    assert len(removed) == 13
    with Command("scaler", str(path)) as command:
        command.wait_for("all 3 services run")
        with Client(f"tcp://127.0.0.1:{scheduler}") as client:
            with_capabilities = client.options(capabilities={"linux": -1, "cpu": 2})
            assert with_capabilities.map(abs, [-1, -2]) == [1, 2]
        assert command.stop() == 0
