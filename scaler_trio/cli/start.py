"""The entry points of all commands. Nothing is imported before a Ctrl-C ends the process without a word."""

import signal
import sys
from importlib import import_module
from typing import NoReturn


def _start(module: str) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # imports take half a second; `run` takes over from here
    import_module(f"scaler_trio.cli.{module}").main()
    sys.exit()


def scaler() -> NoReturn:
    """``scaler``."""
    _start("scaler")


def scheduler() -> NoReturn:
    """``scaler_scheduler``."""
    _start("scheduler")


def object_storage() -> NoReturn:
    """``scaler_object_storage_server``."""
    _start("object_storage")


def worker_manager() -> NoReturn:
    """``scaler_worker_manager``."""
    _start("worker_manager")


def not_yet() -> NoReturn:
    """``scaler_top`` and ``scaler_gui``."""
    _start("not_yet")
