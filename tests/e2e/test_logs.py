"""Logs of whole clusters: one file for each service, of all its processes, in one format; no alarm about an end."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from scaler_trio import Client, SchedulerClusterCombo
from tests.kit.services import Command, free_ports
from tests.kit.waiting import wait_until


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def log_from_a_task(text: str) -> None:
    logging.getLogger("users.own").info("%s", text)
    logging.getLogger("users.own").debug("too detailed")


def test_every_process_of_every_service_logs_as_it_was_told(tmp_path: Path) -> None:
    scheduler, objects = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    path = tmp_path / "cluster.toml"
    common = 'logging_format = "json"\nlogging_level = "INFO"\n'
    path.write_text(f"""
[object_storage_server]
bind_address = "{objects}"
logging_paths = "{tmp_path}/objects.log"
{common}
[scheduler]
bind_address = "{scheduler}"
object_storage_address = "{objects}"
logging_paths = ["{tmp_path}/scheduler.log", "-"]
{common}
[[worker_manager]]
type = "baremetal_native"
scheduler_address = "{scheduler}"
worker_manager_id = "mine"
mode = "fixed"
max_task_concurrency = 2
logging_paths = ["{tmp_path}/workers.log"]
{common}
""")
    with Command(
        "scaler", str(path), "--logging-format", "json", "--logging-paths", f"{tmp_path}/scaler.log"
    ) as command:
        wait_until(lambda: (tmp_path / "scaler.log").exists(), "its log", timeout_s=20)
        wait_until(lambda: "all 3 services run" in (tmp_path / "scaler.log").read_text(), "the start", timeout_s=20)
        with Client(scheduler) as client:
            client.map(abs, range(100))
            client.submit(log_from_a_task, "from a task").result(20)
        time.sleep(0.1)
        assert command.stop() == 0, command.shown()
    found = {name: lines(tmp_path / f"{name}.log") for name in ("scaler", "objects", "scheduler", "workers")}
    for name, its in found.items():
        assert its, name
        assert [line for line in its if line["level"] not in ("INFO", "DEBUG")] == [], f"{name}: an end is no alarm"
    (own,) = [line for line in found["workers"] if line["logger"] == "users.own"]
    assert (own["message"], own["level"]) == ("from a task", "INFO")
    assert own["service"] in ("mine-0", "mine-1")
    assert {line["service"] for line in found["workers"]} >= {"mine", own["service"]}
    printed = [line for line in command.output if line.strip()]
    assert all(isinstance(json.loads(line), dict) for line in printed), "what is not logged to files is JSON as well"
    assert any(json.loads(line).get("logger") == "scaler_trio.scheduler" for line in printed)


def test_a_processor_that_is_a_fresh_interpreter_logs_like_one_that_was_forked(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Command("scaler_scheduler", "tcp://127.0.0.1:0") as scheduler:
        # A preload that leaves a thread behind: from then on nothing is forked.
        arguments = [scheduler.address, "--mode", "fixed", "--max-task-concurrency", "1"]
        arguments += ["--preload", "tests.kit.leaves_a_thread", "--logging-paths", str(path), "--logging-level", "INFO"]
        with Command("scaler_worker_manager", "baremetal_native", *arguments), Client(scheduler.address) as client:
            client.submit(log_from_a_task, "from a task").result(30)
            text = path.read_text()
    assert "processors start as fresh interpreters, which is slower" in text
    assert "native-0[" in text
    assert "INFO from a task" in text
    assert "too detailed" not in text


def test_a_cluster_from_python_logs_to_files_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with SchedulerClusterCombo(n_workers=1, logging_level="INFO", logging_paths=[str(path)]) as cluster:
        with Client(cluster.get_address()) as client:
            client.submit(log_from_a_task, "from a task").result(20)
    assert "combo-0[" in path.read_text()
    assert "from a task" in path.read_text()
