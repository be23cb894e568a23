"""The process of a worker: template forked before Trio runs, signals, exit status."""

import signal
import sys

import trio

from scaler_trio.net import AddressError
from scaler_trio.worker import lineage
from scaler_trio.worker.agent.agent import Agent
from scaler_trio.worker.agent.template_handle import TemplateHandle
from scaler_trio.worker.errors import WorkerFailed
from scaler_trio.worker.settings import WorkerSettings

DRAIN_S = 10.0
"""What running items may take after the first SIGTERM or Ctrl-C; a second one ends them."""


def run_worker_process(settings: WorkerSettings, *, drain_s: float = DRAIN_S) -> int:
    """Be a worker until it ends; the exit status. Call it from a main thread without other threads and without Trio."""
    lineage.set_title("scaler_worker")
    template = TemplateHandle.fork(settings)
    status = 0
    try:
        trio.run(_run, settings, template, drain_s)
    except* (WorkerFailed, AddressError) as failures:
        for failure in failures.exceptions:
            sys.stderr.write(f"scaler_worker: {failure}\n")
        status = 1
    finally:
        template.kill()
    return status


async def _run(settings: WorkerSettings, template: TemplateHandle, drain_s: float) -> None:
    agent = Agent(settings, template)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def on_signal() -> None:
                grace_s = drain_s
                async for _ in signals:
                    agent.drain(grace_s)
                    grace_s = 0.0

            nursery.start_soon(on_signal)
            await agent.run()
            nursery.cancel_scope.cancel()
