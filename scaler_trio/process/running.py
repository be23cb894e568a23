"""How a service runs in its process: Trio, signals, and an exit code with one sentence about it."""

import faulthandler
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from scaler_trio.config.collector import collect_rarely
from scaler_trio.net import NetError
from scaler_trio.process.errors import ServiceError

SHUT_DOWN: Final = 75
"""Exit code of a service whose cluster was shut down: what belongs to it ends too, and nothing is started again."""

log = logging.getLogger("scaler_trio.service")


def run_service(main: Callable[[], Awaitable[Any]]) -> int:
    """Run one service in this process until it ends or is told to by SIGTERM, SIGINT or SIGHUP; its exit code.

    ``main`` returns True if its cluster was shut down, and the code is ``SHUT_DOWN`` then.
    Failures are logged with one sentence, and with a traceback where they are our own fault.
    """
    collect_rarely()
    faulthandler.enable()
    try:
        was_shut_down: bool = trio.run(_until_signalled, main)
    except Exception as raised:
        error = _only_leaf(raised)
        if isinstance(error, (OSError, ValueError, NetError, ServiceError)):
            log.error("%s", error)
        else:
            log.error("the service failed", exc_info=error)
        return 1
    return SHUT_DOWN if was_shut_down else 0


def run_command(main: Callable[[], Awaitable[Any]]) -> int:
    """``run_service`` for a command of its own, for which an end by shutdown is a good end."""
    code = run_service(main)
    return 0 if code == SHUT_DOWN else code


def _only_leaf(error: Exception) -> Exception:
    """What really happened, where nurseries have wrapped one exception in groups."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _until_signalled(main: Callable[[], Awaitable[Any]]) -> bool:
    was_shut_down = False
    async with trio.open_nursery() as nursery:

        async def watch(task_status: trio.TaskStatus[None]) -> None:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
                task_status.started()
                async for _ in signals:
                    nursery.cancel_scope.cancel()

        await nursery.start(watch)
        was_shut_down = bool(await main())
        nursery.cancel_scope.cancel()
    return was_shut_down
