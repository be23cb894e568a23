"""Each command's help teaches, and each mistake on its line is answered by one sentence and exit code 2."""

from __future__ import annotations

import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.kit.services import BIN

COMMANDS = ["scaler_scheduler", "scaler_object_storage_server", "scaler_worker_manager"]


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / name), *arguments], capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
    )


HELPFUL = [*[[name] for name in COMMANDS], ["scaler_worker_manager", "baremetal_native"], ["scaler"]]


@pytest.mark.parametrize("command", HELPFUL)
def test_help_explains_every_flag_and_ends_well(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: {' '.join(command)}")
    if command not in (["scaler_worker_manager"], ["scaler"]):
        assert "tcp://host:port" in done.stdout
        assert "SCALER_TOKEN" in done.stdout
    if len(command) == 1:
        assert f"Example: {command[0]} " in done.stdout


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("scaler_scheduler", "--bind-address requires an argument"),
        ("scaler_scheduler nonsense", "'nonsense' is not an address; write tcp://host:port"),
        ("scaler_scheduler tcp://127.0.0.1:0 --tokn x", "Unknown option: --tokn. Did you mean --token-file?"),
        ("scaler_scheduler tcp://127.0.0.1:0 --worker-timeout-seconds x", 'unable to convert "x" into float'),
        ("scaler_scheduler tcp://127.0.0.1:0 --logging-level LOUD", '"DEBUG", "INFO", "WARNING", "ERROR"'),
        ("scaler_scheduler tcp://0.0.0.0:0", "can be reached from other machines"),
        ("scaler_scheduler tcp://127.0.0.1:0 --token-file /missing", "the token file /missing cannot be read: No such"),
        ("scaler_scheduler tcp://127.0.0.1:0 --object-storage-address tcp://127.0.0.1:0", "write the port"),
        ("scaler_object_storage_server tcp://0.0.0.0:0", "a token is needed"),
        ("scaler_object_storage_server tcp://127.0.0.1:0 --memory-bytes much", 'unable to convert "much" into int'),
        ("scaler_worker_manager slurm tcp://127.0.0.1:1", 'Unknown command "slurm". Available commands'),
        ("scaler_worker_manager baremetal_native tcp://127.0.0.1:1 --max-task-concurrency 0", "at least 1 worker"),
        ("scaler_worker_manager baremetal_native tcp://10.0.0.1:1", "no token for tcp://10.0.0.1:1: pass"),
        ("scaler_worker_manager baremetal_native tcp://127.0.0.1:1 --mode elastic", "fixed"),
        (
            "scaler_worker_manager baremetal_native tcp://127.0.0.1:1 --per-worker-capabilities gpu=many",
            "'gpu=many' is not a capability; write name or name=amount",
        ),
    ],
)
def test_a_mistake_is_answered_by_one_sentence_and_exit_code_2(command: str, sentence: str) -> None:
    done = run(*command.split())
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.startswith(f"{command.split()[0]}: ")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr


def test_a_short_token_is_refused_with_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("short")
    done = run("scaler_scheduler", "tcp://127.0.0.1:0", "--token-file", str(path))
    assert done.returncode == 2
    assert done.stderr == f"scaler_scheduler: the token in {path} has 5 bytes; at least 16 are needed\n"


def test_an_address_that_cannot_be_listened_at_is_one_line_and_exit_code_1() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        for name in COMMANDS[:2]:
            done = run(name, address)
            assert done.returncode == 1
            assert f"cannot listen at {address}: Address already in use" in done.stderr
            assert done.stderr.count("\n") == 1
