"""The launcher of a combo, as a process: told what to run by its standard input, ending with its owner.

Started by ``launch.py``; not for people.
"""

import contextlib
import json
import logging
import os
import sys
from typing import Any

from attrs import evolve

from scaler_trio.cluster.launcher import Launcher
from scaler_trio.cluster.leftovers import sweep_leftovers
from scaler_trio.cluster.services import (
    Service,
    manager_service,
    object_service,
    scheduler_service,
    worker_services,
)
from scaler_trio.config.tokens import TokenError, leave_token
from scaler_trio.net import Address, Listener, NetError, listen
from scaler_trio.objects.server import ObjectServerSettings
from scaler_trio.process.lineage import set_title
from scaler_trio.process.logs import LogSettings, configure_logging
from scaler_trio.scheduler.core.tuning import Tuning
from scaler_trio.scheduler.policy.loading import load_policy
from scaler_trio.scheduler.settings import SchedulerSettings
from scaler_trio.worker.settings import WorkerSettings


def main(life_fd: int, report_fd: int, owner: int) -> int:
    """Run what standard input orders, one JSON object, until the owner ends; the exit code.

    Args:
        life_fd: a pipe whose end of file means stop.
        report_fd: a pipe for one line of JSON: the addresses, or an error.
        owner: process id of whoever started us. The pipe alone does not tell of its death: a child that it has forked
            holds the pipe too.
    """
    set_title("scaler_launcher")
    owner_fd = _watch(owner)
    order = sys.stdin.buffer.read()
    if not order:
        return 0  # the owner thought better of it
    told: dict[str, Any] = json.loads(order)
    try:
        configure_logging(LogSettings.from_json(told["log"]), "scaler_launcher")
    except OSError as error:
        _report(report_fd, {"error": f"the log cannot be written: {error}"})
        return 1
    sweep_leftovers()
    try:
        listener = listen(Address.parse(told["address"]))
        objects = listen(Address.parse(told["object_storage_address"]))
        left = leave_token(str(listener.address), told["token"].encode())
    except (NetError, TokenError, OSError) as error:
        _report(report_fd, {"error": str(error)})
        return 1
    try:
        launcher = Launcher(_services(told, listener, objects), close_in_child=[life_fd, *_present(owner_fd)])
        _report(report_fd, {"address": str(listener.address), "object_storage_address": str(objects.address)})
        return launcher.run(dict.fromkeys([life_fd, *_present(owner_fd)], lambda: True))
    finally:
        left.remove()


def _services(told: dict[str, Any], listener: Listener, objects: Listener) -> list[Service]:
    token = told["token"].encode()
    object_settings = ObjectServerSettings(
        address=objects.address, token=token, memory_bytes=told["object_memory_bytes"]
    )
    scheduler_settings = SchedulerSettings(
        listener.address,
        token,
        objects.address,
        worker_timeout_s=told["worker_timeout_s"],
        protected=told["protected"],
        policy=load_policy(*told["policy"]),
        policy_in_words=" ".join(" ".join(told["policy"]).split()),
        tuning=Tuning(client_grace_s=told["client_grace_s"]),
    )
    worker_settings = WorkerSettings(
        scheduler_address=str(listener.address),
        token=token,
        capabilities=tuple(told["capabilities"].items()),
        manager=told["manager"],
        preload=told["preload"],
        memory_bytes=told["memory_bytes"],
        task_timeout_s=told["task_timeout_s"],
        log=LogSettings.from_json(told["log"]),
    )
    services = [
        object_service(object_settings, objects),
        scheduler_service(scheduler_settings, listener),
        *worker_services(worker_settings, told["n_workers"]),
    ]
    if told["max_workers"]:
        # An id of its own: the fixed workers are nobody's to end.
        name = f"{told['manager']}-elastic" if told["n_workers"] else told["manager"]
        services.append(manager_service(evolve(worker_settings, manager=name), told["max_workers"]))
    return services


def _present(descriptor: int) -> list[int]:
    return [descriptor] if descriptor >= 0 else []


def _watch(owner: int) -> int:
    """A descriptor that becomes readable when the owner ends, or -1 where there is no such thing."""
    if os.getppid() != owner:
        os._exit(0)  # it has ended already, and its number may be somebody else's
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return -1
    try:
        return int(opener(owner))
    except ProcessLookupError:
        os._exit(0)
    except OSError:
        return -1


def _report(descriptor: int, report: dict[str, str]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the owner is gone, and we are next
        os.write(descriptor, json.dumps(report).encode() + b"\n")
    os.close(descriptor)


def run() -> None:
    """What the command line calls: ``life_fd report_fd owner``."""
    code = main(*map(int, sys.argv[1:4]))
    logging.shutdown()
    os._exit(code)  # taking a warm interpreter apart would only make the owner wait
