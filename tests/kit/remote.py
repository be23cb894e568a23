"""Workers and clients as if they were on another host: large values reach them by TCP, never through shared memory.

``python -m tests.kit.remote ADDRESS NAME`` is such a worker; its token is in SCALER_TOKEN.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaler_trio.objects.access import ObjectAccess
from scaler_trio.process.running import run_service
from scaler_trio.worker.agent.agent import run_worker
from scaler_trio.worker.agent.template_handle import TemplateHandle
from scaler_trio.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from scaler_protocol import Role

ROOT = Path(__file__).parent.parent.parent


class RemoteAccess(ObjectAccess):
    """An access that never asks for shared memory."""

    def __init__(self, address: str, token: bytes | None, session: bytes, role: Role, **settings: Any) -> None:
        super().__init__(address, token, session, role, **{**settings, "shared_memory": False})


@contextmanager
def remote_workers(address: str, token: str, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many of them, until the block ends."""
    environment = dict(os.environ, SCALER_TOKEN=token)
    processes = [
        subprocess.Popen([sys.executable, "-m", "tests.kit.remote", address, f"remote-{n}"], cwd=ROOT, env=environment)
        for n in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)


def main(address: str, name: str) -> int:
    """Be a worker."""
    settings = WorkerSettings(
        scheduler_address=address,
        token=os.environ["SCALER_TOKEN"].encode(),
        name=name,
        object_access="tests.kit.remote:RemoteAccess",
    )
    return run_service(partial(run_worker, settings, TemplateHandle.begin(settings)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
