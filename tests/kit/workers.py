"""A worker with settings of its own, in a thread of this process: combos and managers give each worker one slot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from scaler_trio import SchedulerClusterCombo
from scaler_trio.worker.agent.agent import run_worker
from scaler_trio.worker.settings import WorkerSettings


@contextmanager
def worker(cluster: SchedulerClusterCombo, *, slots: int, **capabilities: int) -> Iterator[None]:
    """Beside those of the cluster, for as long as the block lasts."""
    token = cluster.token.encode() if isinstance(cluster.token, str) else cluster.token
    settings = WorkerSettings(
        cluster.get_address(), token=token, slots=slots, capabilities=tuple(capabilities.items()), name="with a gpu"
    )
    stop: list[Callable[[], None]] = []
    started = threading.Event()

    async def main() -> None:
        with trio.CancelScope() as scope:
            run_soon = trio.lowlevel.current_trio_token().run_sync_soon
            stop.append(lambda: run_soon(scope.cancel))
            started.set()
            await run_worker(settings)

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    try:
        assert started.wait(10)
        yield
    finally:
        stop[0]()
        thread.join(20)
        assert not thread.is_alive()
