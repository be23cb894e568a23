"""The launcher of a combo, as a process: told what to run by a pipe, ending with its owner.

Started as ``python -c "…; main(…)"`` by ``SchedulerClusterCombo``; not for people.
"""

import json
import os
import sys
from typing import Any

from scaler_trio.cluster.launcher import Launcher
from scaler_trio.cluster.services import Service, configure_logging
from scaler_trio.config.tokens import remove_token, write_token
from scaler_trio.net import Address, NetError, listen
from scaler_trio.objects.server import ObjectServerSettings
from scaler_trio.scheduler.settings import SchedulerSettings
from scaler_trio.worker.lineage import set_title
from scaler_trio.worker.settings import WorkerSettings


def main(order_fd: int, report_fd: int, owner: int) -> int:
    """Run what the order says until its pipe or its owner ends; the exit code.

    Args:
        order_fd: a pipe with one line of JSON; its end of file means stop.
        report_fd: a pipe for one line of JSON: the addresses, or an error.
        owner: process id of whoever started us. The pipe alone does not tell of its death: a child that it has forked
            holds the pipe too.
    """
    set_title("scaler_launcher")
    owner_fd = _watch(owner)
    order = _read_line(order_fd)
    if not order:
        return 0
    told: dict[str, Any] = json.loads(order)
    configure_logging(told["log_level"])
    token = told["token"].encode() if told["token"] else None
    try:
        listener = listen(Address.parse(told["address"]))
        objects = listen(Address.parse(told["object_storage_address"]))
    except NetError as error:
        _report(report_fd, {"error": str(error)})
        return 1
    services = [
        Service(
            "the object storage server",
            "scaler_object_storage_server",
            ObjectServerSettings(address=objects.address, token=token, memory_bytes=told["object_memory_bytes"]),
            objects,
        ),
        Service(
            "the scheduler",
            "scaler_scheduler",
            SchedulerSettings(listener.address, token, objects.address),
            listener,
        ),
    ]
    for number in range(told["n_workers"]):
        settings = WorkerSettings(
            scheduler_address=str(listener.address),
            token=token,
            name=f"{told['manager']}-{number}",
            slots=1,
            capabilities=tuple(told["capabilities"].items()),
            manager=told["manager"],
            preload=told["preload"],
        )
        services.append(Service(settings.name, "scaler_worker", settings, restart=True))
    address = str(listener.address)
    if token is not None:
        write_token(address, token)
    try:
        _report(report_fd, {"address": address, "object_storage_address": str(objects.address)})
        watch = {order_fd: lambda: not os.read(order_fd, 4096)}
        own = [order_fd]
        if owner_fd >= 0:
            watch[owner_fd] = lambda: True
            own.append(owner_fd)
        return Launcher(services, close_in_child=own).run(watch)
    finally:
        if token is not None:
            remove_token(address)


def _watch(owner: int) -> int:
    """A descriptor that becomes readable when the owner ends, or -1 where there is no such thing."""
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return -1
    try:
        return int(opener(owner))
    except ProcessLookupError:
        os._exit(0)
    except OSError:
        return -1


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(descriptor, 65536)
        if not part:
            return b""
        line += part
    return line


def _report(descriptor: int, report: dict[str, str]) -> None:
    os.write(descriptor, json.dumps(report).encode() + b"\n")
    os.close(descriptor)


def run() -> None:
    """What the command line calls: ``order_fd report_fd owner``."""
    sys.exit(main(*map(int, sys.argv[1:4])))
