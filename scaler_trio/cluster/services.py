"""The services that a launcher runs: what each is told, and how it is run in a process of its own."""

import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import trio
from attrs import evolve, field, frozen

from scaler_trio.config.collector import collect_rarely
from scaler_trio.net import Listener, NetError
from scaler_trio.objects.server import ObjectServerSettings, serve_objects
from scaler_trio.scheduler.server import serve_scheduler
from scaler_trio.scheduler.settings import SchedulerSettings
from scaler_trio.worker.agent.agent import run_worker
from scaler_trio.worker.agent.template_handle import TemplateHandle
from scaler_trio.worker.errors import WorkerFailed
from scaler_trio.worker.settings import WorkerSettings

SHUT_DOWN: Final = 75
"""Exit code of a service whose cluster was shut down: what belongs to it ends too, and nothing is started again."""

log = logging.getLogger("scaler_trio.service")


@frozen
class Service:
    """One process to run."""

    name: str
    """For people, and unique within a launcher."""

    title: str
    """What ``ps`` shows."""

    run: Callable[[], int] = field(repr=False)
    """What the process does, before and while Trio runs in it; its exit code."""

    listener: Listener | None = field(default=None, repr=False)
    """Bound sockets, for a service that listens: peers may connect before it runs."""

    restart: bool = False
    """Whether another one takes its place when it dies; otherwise its end is the end of all."""


def scheduler_service(settings: SchedulerSettings, listener: Listener) -> Service:
    """A scheduler."""
    main = partial(serve_scheduler, settings, listener=listener)
    return Service("the scheduler", "scaler_scheduler", partial(run_service, main), listener)


def object_service(settings: ObjectServerSettings, listener: Listener) -> Service:
    """An object storage server."""
    main = partial(serve_objects, settings, listener=listener)
    name = "the object storage server"
    return Service(name, "scaler_object_storage_server", partial(run_service, main), listener)


def worker_service(settings: WorkerSettings) -> Service:
    """A worker, which is replaced when it dies."""

    def run() -> int:
        template = TemplateHandle.begin(settings)  # before Trio runs: only then may it be forked
        return run_service(partial(run_worker, settings, template))

    return Service(settings.name, "scaler_worker", run, restart=True)


def worker_services(settings: WorkerSettings, count: int) -> list[Service]:
    """So many workers, named after their manager and numbered."""
    return [worker_service(evolve(settings, name=f"{settings.manager}-{number}")) for number in range(count)]


def run_service(main: Callable[[], Awaitable[Any]]) -> int:
    """Run one service in this process until it ends or is told to by SIGTERM or SIGINT; its exit code.

    ``main`` returns True if its cluster was shut down, and the code is ``SHUT_DOWN`` then.
    Failures are logged with one sentence, and with a traceback where they are our own fault.
    """
    collect_rarely()
    try:
        was_shut_down: bool = trio.run(_until_signalled, main)
    except Exception as raised:
        error = _only_leaf(raised)
        if isinstance(error, (OSError, ValueError, NetError, WorkerFailed)):
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
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                task_status.started()
                async for _ in signals:
                    nursery.cancel_scope.cancel()

        await nursery.start(watch)
        was_shut_down = bool(await main())
        nursery.cancel_scope.cancel()
    return was_shut_down


def configure_logging(level: str) -> None:
    """Lines on standard error, for a process that is a service."""
    name = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] not in ("-c", "") else "scaler"
    logging.basicConfig(
        level=level.upper(),
        format=f"%(asctime)s {name}[%(process)d] %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
