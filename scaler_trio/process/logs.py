"""Where what is logged goes: streams and files, as text or JSON lines, the same for every process of a service.

All processes of a service append to the same files, and any of them may turn one over: under a lock, and only if
nobody else has done it. Each looks before it writes whether the file is still the one that it has open.
"""

import fcntl
import json
import logging
import logging.config
import os
import sys
import time
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, Final

from attrs import asdict, field, frozen, validators

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FORMATS: Final = ("text", "json")
STREAMS: Final = {"-": 2, "/dev/stderr": 2, "/dev/stdout": 1}
"""What is no file, and its descriptor."""

DAILY: Final = -1
NEVER: Final = 0

MOST_BACKUPS: Final = 1_000
"""Files of one log: turning it over renames each of them."""


def _is_level(_: object, __: object, value: str) -> None:
    if value not in LEVELS:
        raise ValueError(f"logging_level is {value!r}; it is one of {', '.join(LEVELS)}")


@frozen
class LogSettings:
    """What one service is told about its logs; it passes it on to every process that it starts.

    Attributes:
        level: the least that is logged.
        paths: files, or ``-`` and ``/dev/stderr`` for standard error, ``/dev/stdout`` for standard output.
        format: ``text`` or ``json``, one object a line.
        turn_bytes: a file of this size is turned over; ``DAILY`` = after midnight, ``NEVER`` = somebody else does it.
        backups: files that are kept besides the present one, ``.1`` the newest.
        config_file: of ``logging.config.fileConfig``; takes the place of all that stands before.
    """

    level: str = field(default="WARNING", validator=_is_level)
    paths: tuple[str, ...] = ("-",)
    format: str = field(default="text", validator=validators.in_(FORMATS))
    turn_bytes: int = field(default=DAILY, validator=validators.ge(DAILY))
    backups: int = field(default=7, validator=[validators.ge(0), validators.le(MOST_BACKUPS)])
    config_file: str = ""

    def as_json(self) -> dict[str, Any]:
        """For a process that starts as a fresh interpreter."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "LogSettings":
        """The opposite."""
        return cls(**{**told, "paths": tuple(told["paths"])})


class _Service:
    """Of this process; a forked child takes another name."""

    name = "scaler"


def name_process(name: str) -> None:
    """What stands before the process id in each line from now on."""
    _Service.name = name


def configure_logging(settings: LogSettings, name: str) -> None:
    """Have this process log as it is told, under a name; what was set before ends.

    Raises:
        OSError: a file cannot be written to.
        ValueError: the configuration file is none.
    """
    name_process(name)
    if settings.config_file:
        _configure_from(settings.config_file)
        return
    formatter = JsonFormatter() if settings.format == "json" else TextFormatter()
    handlers = [_handler(path, settings) for path in settings.paths]
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=settings.level, handlers=handlers, force=True)


def close_logs() -> None:
    """Log nothing any more, and close the files: for a process that closes descriptors and then configures anew."""
    for handler in logging.root.handlers[:]:
        logging.root.removeHandler(handler)
        handler.close()


def _configure_from(path: str) -> None:
    try:
        logging.config.fileConfig(path, disable_existing_loggers=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"the logging configuration {path} cannot be used: {error}") from error


def _handler(path: str, settings: LogSettings) -> logging.Handler:
    if (descriptor := STREAMS.get(path)) is not None:
        return logging.StreamHandler(sys.stderr if descriptor == 2 else sys.stdout)
    Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
    return SharedFileHandler(path, settings.turn_bytes, settings.backups)


class TextFormatter(logging.Formatter):
    """A line for people: time, process, level, text."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(service)s[%(process)d] %(levelname)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        record.service = _Service.name
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """An object a line, for machines; times in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": _Service.name,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class SharedFileHandler(WatchedFileHandler):
    """A file that several processes append to, and that any of them turns over when its time has come."""

    def __init__(self, path: str, turn_bytes: int, backups: int) -> None:
        self._turn_bytes = turn_bytes
        self._backups = backups
        super().__init__(path, encoding="utf-8", errors="backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.reopenIfNeeded()
            if self.stream is not None and self._is_due(os.fstat(self.stream.fileno())):
                self._turn_over()
        except OSError:
            self.handleError(record)
        logging.FileHandler.emit(self, record)

    def _is_due(self, found: os.stat_result) -> bool:
        if self._turn_bytes > 0:
            return found.st_size >= self._turn_bytes
        return self._turn_bytes == DAILY and found.st_size > 0 and _day(found.st_mtime) != _day(time.time())

    def _turn_over(self) -> None:
        path = self.baseFilename
        # A descriptor of our own: forked processes share those of the stream, and with them its locks.
        lock = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = os.fstat(lock)
            if os.path.samestat(found, os.stat(path)) and self._is_due(found):
                for number in range(self._backups, 0, -1):
                    older = path if number == 1 else f"{path}.{number - 1}"
                    if os.path.exists(older):
                        os.replace(older, f"{path}.{number}")
                if not self._backups:
                    os.unlink(path)
        finally:
            os.close(lock)
        self.reopenIfNeeded()


def _day(seconds: float) -> tuple[int, ...]:
    return time.localtime(seconds)[:3]
