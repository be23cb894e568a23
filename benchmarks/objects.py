"""Object storage: writing, reading and reusing 80 MB arrays, beside a plain copy in the same process.

Each ``measure_*`` returns seconds. Those that take an access share a server process, which ``serving`` starts:

    with serving() as access:
        ratio = measure_copy() / measure_write_recycled(access)
"""

import json
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import numpy
import trio

from scaler_protocol import Identity, Role, limits
from scaler_protocol import messages as m
from scaler_trio.net import Address
from scaler_trio.objects.access import ObjectAccess
from scaler_trio.objects.lane import open_lane
from scaler_trio.objects.server import ObjectServerSettings, serve_objects

ARRAY_BYTES = 80_000_000
_TOKEN = os.urandom(16)
_array = numpy.arange(ARRAY_BYTES // 8, dtype="f8")


class Access:
    """An access to a server, and the means to free what it wrote."""

    def __init__(self, address: str, *, shared_memory: bool = True) -> None:
        self.objects = ObjectAccess(address, _TOKEN, os.urandom(16), Role.CLIENT, shared_memory=shared_memory)
        identity = Identity(Role.SCHEDULER, os.urandom(16), "benchmark", os.urandom(limits.NONCE_BYTES))
        self._scheduler = open_lane(address, identity, token=_TOKEN, timeout_s=5)

    def free(self, *objects: bytes) -> None:
        """Delete objects, and return when the server has done it."""
        self._scheduler.send(m.DeleteObjects(objects))
        self._scheduler.send(m.Ping(1))
        while not isinstance(self._scheduler.receive(), m.Pong):
            pass

    def close(self) -> None:
        self.objects.close()
        self._scheduler.close()


@contextmanager
def serving(*, shared_memory: bool = True) -> Iterator[Access]:
    """A server process and an access to it."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    access = Access(here.recv(), shared_memory=shared_memory)
    try:
        yield access
    finally:
        access.close()
        process.terminate()
        process.join()


def _serve(ready: Connection) -> None:
    settings = ObjectServerSettings(Address("127.0.0.1", 0), token=_TOKEN)

    async def main() -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:

                async def serve() -> None:
                    await serve_objects(settings, ready=lambda address: ready.send(str(address)))

                nursery.start_soon(serve)
                async for _ in signals:
                    nursery.cancel_scope.cancel()

    trio.run(main)


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure_copy() -> float:
    """The reference: ``numpy.copy`` of the array."""
    return _seconds(lambda: numpy.copy(_array))


def _write(access: Access) -> bytes:
    return access.objects.write([_array.data], ARRAY_BYTES)


def measure_write_first() -> float:
    """Write the array to a server of its own, which has no free segment yet; connecting is not counted."""
    with serving() as access:
        access.objects.write([b"connect"], 7)
        return _seconds(lambda: _write(access))


def measure_write_recycled(access: Access) -> float:
    """Write the array while the server has a free segment of its size."""
    access.free(_write(access))
    written: list[bytes] = []
    seconds = _seconds(lambda: written.append(_write(access)))
    access.free(*written)
    return seconds


def measure_read(access: Access) -> float:
    """Map the array: the time until a view is there."""
    written = _write(access)
    seconds = _seconds(lambda: access.objects.read(written))
    access.free(written)
    return seconds


def measure_read_200(access: Access) -> float:
    """Map the same array for 200 readers, one after the other, and look at a value of each."""
    written = _write(access)

    def read_all() -> None:
        for _ in range(200):
            assert numpy.frombuffer(access.objects.read(written))[-1] == _array[-1]

    seconds = _seconds(read_all)
    access.free(written)
    return seconds


def _table(rounds: int = 9) -> dict[str, float]:
    results: dict[str, list[float]] = {}
    for shared_memory in (True, False):
        suffix = "" if shared_memory else " over TCP"
        with serving(shared_memory=shared_memory) as access:
            measures = [measure_write_recycled, measure_read, *([measure_read_200] if shared_memory else [])]
            for _ in range(rounds):
                if shared_memory:
                    results.setdefault("measure_write_first", []).append(measure_write_first())
                for measure in measures:
                    results.setdefault(measure.__name__ + suffix, []).append(measure(access))
                    results.setdefault("measure_copy", []).append(measure_copy())
    return {name: statistics.median(values) for name, values in results.items()}


if __name__ == "__main__":
    table = _table()
    copy_s = table["measure_copy"]
    for name, seconds in table.items():
        print(f"{name:40} {seconds * 1e3:9.2f} ms  {copy_s / seconds:7.1%} of the rate of numpy.copy")
    print(json.dumps(table))
