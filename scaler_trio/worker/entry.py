"""The process of a worker: its template is forked before Trio runs; signals and exit codes are as of every service."""

from functools import partial

from scaler_trio.process.logs import name_process
from scaler_trio.process.running import run_service
from scaler_trio.worker.agent.agent import run_worker
from scaler_trio.worker.agent.template_handle import TemplateHandle
from scaler_trio.worker.settings import WorkerSettings


def run_worker_process(settings: WorkerSettings) -> int:
    """Be a worker until its scheduler or a signal ends it; the exit code, as of ``run_service``.

    Call it from a main thread without other threads and without Trio: only then may the template be forked.
    """
    name_process(settings.name)
    template = TemplateHandle.begin(settings)
    return run_service(partial(run_worker, settings, template))
