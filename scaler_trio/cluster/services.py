"""The services that a launcher runs: what each is told, and how it is run in a process of its own."""

from collections.abc import Callable
from functools import partial

from attrs import evolve, field, frozen

from scaler_trio.managers.manager import WorkerManager
from scaler_trio.managers.native.provisioner import NativeProvisioner
from scaler_trio.managers.settings import ManagerSettings
from scaler_trio.net import Listener
from scaler_trio.objects.server import ObjectServerSettings, serve_objects
from scaler_trio.process.running import run_service
from scaler_trio.scheduler.server import serve_scheduler
from scaler_trio.scheduler.settings import SchedulerSettings
from scaler_trio.worker.entry import run_worker_process
from scaler_trio.worker.settings import WorkerSettings


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


def manager_service(settings: WorkerSettings, most: int) -> Service:
    """A manager of workers that come and go, at most so many; they end with it."""

    async def main() -> bool:
        manager = ManagerSettings(
            settings.scheduler_address, settings.token, settings.manager, most, capabilities=settings.capabilities
        )
        return await WorkerManager(manager, NativeProvisioner(settings, lease_s=0.0, cores=[])).run()

    return Service("the worker manager", "scaler_worker_manager", partial(run_service, main), restart=True)


def worker_service(settings: WorkerSettings) -> Service:
    """A worker, which is replaced when it dies."""

    return Service(settings.name, "scaler_worker", partial(run_worker_process, settings), restart=True)


def worker_services(settings: WorkerSettings, count: int) -> list[Service]:
    """So many workers, named after their manager and numbered."""
    return [worker_service(evolve(settings, name=f"{settings.manager}-{number}")) for number in range(count)]
