"""A real object storage server in a process of its own, and peers of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import trio
from attrs import define

from scaler_protocol import Identity, Message, Role, limits
from scaler_protocol import messages as m
from scaler_trio.net import Address
from scaler_trio.objects.access import ObjectAccess
from scaler_trio.objects.lane import Lane, open_lane

ROOT = Path(__file__).parents[2]
TOKEN = b"the token of the tests"
MIB = limits.MIB


@define
class Server:
    """A running server."""

    address: str
    process: subprocess.Popen[str]

    def access(self, role: Role = Role.CLIENT, *, shared_memory: bool = True) -> ObjectAccess:
        return ObjectAccess(self.address, TOKEN, os.urandom(16), role, shared_memory=shared_memory)

    def lane(self, role: Role, address: str = "") -> Lane:
        identity = Identity(role, os.urandom(16), "test", os.urandom(limits.NONCE_BYTES))
        return open_lane(address or self.address, identity, token=TOKEN, timeout_s=10)

    @property
    def resident_bytes(self) -> int:
        memory = psutil.Process(self.process.pid).memory_full_info()
        return int(memory.uss)

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)


@contextmanager
def running_server(**settings: object) -> Iterator[Server]:
    """Start a server with these settings, and kill it if the test did not end it."""
    command = [sys.executable, "-m", "tests.objects.serving", json.dumps(settings, default=str)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "the server did not start"
            yield Server(address, process)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=10)
                finally:
                    process.kill()


class Scheduler:
    """The scheduler's connection: adopts, deletes, and hears how full the server is."""

    def __init__(self, server: Server) -> None:
        self.lane = server.lane(Role.SCHEDULER)

    def adopt(self, *objects: bytes) -> None:
        self.lane.send(m.AdoptObjects(objects))

    def delete(self, *objects: bytes) -> None:
        self.lane.send(m.DeleteObjects(objects))

    def wait_usage(self, condition: Callable[[m.ObjectUsage], bool], timeout_s: float = 10.0) -> m.ObjectUsage:
        """The first report that fulfils the condition; reports come when something changed."""
        deadline = time.monotonic() + timeout_s
        last: Message = None
        while time.monotonic() < deadline:
            message = self.lane.receive()
            if isinstance(message, m.ObjectUsage):
                if condition(message):
                    return message
                last = message
        raise AssertionError(f"the usage did not become what was expected; last: {last}")

    def sync(self) -> None:
        """Return when the server has acted on what was sent."""
        self.lane.send(m.Ping(1))
        while not isinstance(self.lane.receive(), m.Pong):
            pass


def _main() -> None:
    import signal

    from scaler_trio.objects.server import ObjectServerSettings, serve_objects

    settings = json.loads(sys.argv[1])
    if "spill_directory" in settings:
        settings["spill_directory"] = Path(settings["spill_directory"])

    async def main() -> None:
        with trio.CancelScope() as scope, trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:

                async def stop() -> None:
                    async for _ in signals:
                        scope.cancel()

                nursery.start_soon(stop)
                await serve_objects(
                    ObjectServerSettings(Address("127.0.0.1", 0), token=TOKEN, **settings),
                    ready=lambda address: print(address, flush=True),
                )

    trio.run(main)


if __name__ == "__main__":
    _main()
