"""Logs: formats, files that several processes share and turn over, and what may be set."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaler_trio.process import logs
from scaler_trio.process.logs import NEVER, LogSettings, close_logs, configure_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers = []
    yield
    close_logs()
    logging.root.handlers = handlers
    logging.root.setLevel(level)


def test_text_lines_have_time_process_level_and_text(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "log"
    configure_logging(LogSettings("INFO", (str(path),)), "native-3")
    logging.getLogger("any").info("hello %s", "there")
    logging.getLogger("any").debug("not this")
    (line,) = path.read_text().splitlines()
    assert line[2] == line[5] == ":"
    assert line[8:] == f" native-3[{os.getpid()}] INFO hello there"


def test_json_lines_hold_an_object_each_with_the_traceback(tmp_path: Path) -> None:
    path = tmp_path / "log"
    configure_logging(LogSettings("INFO", (str(path),), "json"), "native-3")
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        logging.getLogger("scaler_trio.some").exception("it failed\nbadly")
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert line.pop("exception").endswith("ValueError: bad\nnews")
    assert abs(time.time() - time.mktime(time.strptime(line.pop("time")[:19], "%Y-%m-%dT%H:%M:%S"))) < 86_400
    assert line == {
        "level": "ERROR",
        "service": "native-3",
        "pid": os.getpid(),
        "logger": "scaler_trio.some",
        "message": "it failed\nbadly",
    }


def test_a_file_that_reached_its_size_is_turned_over_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    configure_logging(LogSettings("INFO", (str(path),), turn_bytes=1_000, backups=2), "x")
    for number in range(100):
        logging.info("line %d %s", number, "." * 60)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    lines = [line for name in ("log.2", "log.1", "log") for line in (tmp_path / name).read_text().splitlines()]
    assert [line.split()[4] for line in lines] == [str(n) for n in range(100 - len(lines), 100)]
    assert all(p.stat().st_size < 1_200 for p in tmp_path.iterdir())


def test_a_file_of_yesterday_is_turned_over_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    os.utime(path, (time.time() - 86_400, time.time() - 86_400))
    configure_logging(LogSettings("INFO", (str(path),)), "x")
    logging.info("new")
    logging.info("newer")
    assert (tmp_path / "log.1").read_text() == "old\n"
    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["new", "newer"]


def test_a_file_that_somebody_else_has_moved_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    configure_logging(LogSettings("INFO", (str(path),), turn_bytes=NEVER), "x")
    logging.info("one")
    path.rename(tmp_path / "moved")
    logging.info("two")
    assert path.read_text().endswith("two\n")
    assert (tmp_path / "moved").read_text().endswith("one\n")


PROGRAM = """
import logging, os, sys
from scaler_trio.process.logs import LogSettings, configure_logging
configure_logging(LogSettings("INFO", (sys.argv[1],), turn_bytes=20_000, backups=1000), "x")
if sys.argv[2] == "fork":
    os.fork()
for number in range(2_000):
    logging.info("%d %d .", os.getpid(), number)
"""


@pytest.mark.slow
def test_processes_that_share_a_file_lose_no_line_while_it_is_turned_over(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writers = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(path), how]) for how in ("fork", "fork", "alone")]
    assert [writer.wait(50) for writer in writers] == [0, 0, 0]

    def complete() -> bool:
        return sum(len(p.read_text().splitlines()) for p in tmp_path.iterdir()) == 5 * 2_000

    deadline = time.monotonic() + 10  # forked children may be a little behind
    while not complete() and time.monotonic() < deadline:
        time.sleep(0.05)
    lines = [line for p in tmp_path.iterdir() for line in p.read_text().splitlines()]
    assert len(lines) == len(set(lines)) == 5 * 2_000
    assert all(line.endswith(" .") for line in lines)
    assert len(list(tmp_path.iterdir())) > 5


def test_a_configuration_file_takes_the_place_of_the_rest(tmp_path: Path) -> None:
    target = tmp_path / "log"
    config = tmp_path / "logging.ini"
    config.write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=file\n[formatters]\nkeys=f\n"
        "[logger_root]\nlevel=DEBUG\nhandlers=file\n"
        f"[handler_file]\nclass=FileHandler\nformatter=f\nargs=({str(target)!r},)\n"
        "[formatter_f]\nformat=mine: %(message)s\n"
    )
    configure_logging(LogSettings("ERROR", config_file=str(config)), "x")
    logging.debug("hello")
    assert target.read_text() == "mine: hello\n"
    with pytest.raises(ValueError, match="the logging configuration /missing cannot be used"):
        configure_logging(LogSettings(config_file="/missing"), "x")


def test_settings_survive_json_and_are_checked() -> None:
    settings = LogSettings("DEBUG", ("-", "/a/b"), "json", 1_000, 3, "/c")
    assert LogSettings.from_json(json.loads(json.dumps(settings.as_json()))) == settings
    with pytest.raises(ValueError, match="logging_level is 'LOUD'; it is one of DEBUG, INFO"):
        LogSettings("LOUD")
    with pytest.raises(ValueError, match="format"):
        LogSettings(format="xml")
    assert set(logs.STREAMS) == {"-", "/dev/stderr", "/dev/stdout"}
