"""Every name of the reference's table of errors: what it is below, and something real that raises it."""

from __future__ import annotations

import concurrent.futures
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import scaler_trio
from scaler_trio import Client, SchedulerClusterCombo, errors
from tests.kit.services import free_ports
from tests.kit.waiting import wait_until

REFERENCE = (Path(__file__).parent.parent.parent / "docs" / "reference" / "api.md").read_text()

PARENTS: dict[str, tuple[type[BaseException], ...]] = {
    "ScalerError": (Exception,),
    "ConnectionFailed": (errors.ScalerError,),
    "AuthenticationFailed": (errors.ConnectionFailed,),
    "ConnectionLost": (errors.ScalerError,),
    "ClientClosed": (errors.ScalerError,),
    "ProtectedError": (errors.ScalerError, ValueError),
    "TaskError": (errors.ScalerError,),
    "ProcessorDiedError": (errors.TaskError,),
    "NoWorkerError": (errors.TaskError,),
    "DependencyFailed": (errors.TaskError,),
    "NestingLimitError": (errors.TaskError,),
    "TaskTimeout": (errors.TaskError,),
    "ObjectLost": (errors.TaskError,),
    "ObjectStorageFailed": (errors.ScalerError,),
    "TaskCancelled": (errors.ScalerError, concurrent.futures.CancelledError),
    "GraphError": (errors.ScalerError, ValueError),
    "SerializationError": (errors.ScalerError,),
    "CannotPickle": (errors.SerializationError,),
    "CannotUnpickle": (errors.SerializationError,),
    "RemoteError": (Exception,),
}


class Lonely(Exception):
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("on purpose")


class LoadsNowhere:
    def __reduce__(self) -> Any:
        return _raise, ("on purpose",)


def _raise(text: str) -> None:
    raise LookupError(text)


def raise_lonely() -> None:
    raise Lonely("alone")


def nothing() -> None:
    return None


def cancel(client: Client) -> None:
    future = client.submit(time.sleep, 20)
    future.cancel()
    future.result()


def use_what_was_cleared(client: Client) -> None:
    reference = client.send_object(bytes(100_000))
    client.clear()
    raise wait_until(lambda: client.submit(len, reference).exception(20), "it to be gone")


def fail_upstream(client: Client) -> None:
    client.get({"text": "x", "a": (_raise, "text"), "b": (str, "a")}, ["b"], block=False)["b"].result(20)


def use_after_close(client: Client) -> None:
    client.close()
    client.submit(nothing)


def with_a_wrong_token(client: Client) -> None:
    Client(client.address, token="a wrong token of some length")


RAISES: dict[str, Callable[[Client], object]] = {
    "ConnectionFailed": lambda _: Client(f"tcp://127.0.0.1:{free_ports(1)[0]}", timeout=0.3),
    "AuthenticationFailed": with_a_wrong_token,
    "ClientClosed": use_after_close,
    "ProtectedError": Client.shutdown,
    "ProcessorDiedError": lambda client: client.options(crash_limit=1).submit(os._exit, 3).result(20),
    "NoWorkerError": lambda client: client.options(capabilities={"moon": 1}).submit(nothing).result(20),
    "DependencyFailed": fail_upstream,
    "TaskTimeout": lambda client: client.options(timeout=0.1).submit(time.sleep, 20).result(20),
    "ObjectLost": use_what_was_cleared,
    "TaskCancelled": cancel,
    "GraphError": lambda client: client.get({"a": (abs, "b"), "b": (abs, "a")}, ["a"]),
    "CannotPickle": lambda client: client.submit(id, threading.Lock()),
    "CannotUnpickle": lambda client: client.submit(id, LoadsNowhere()).result(20),
    "RemoteError": lambda client: client.submit(raise_lonely).result(20),
}
"""ConnectionLost needs a scheduler that dies (test_wrong_addresses), NestingLimitError 200 levels (test_nested_work),
ObjectStorageFailed a storage without room (tests/cluster/test_combo)."""


def test_the_table_is_the_reference() -> None:
    table = REFERENCE.partition("## Errors")[2].partition("`scaler_trio.errors` also")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(PARENTS)


@pytest.mark.parametrize("name", PARENTS)
def test_an_error_is_what_the_reference_says(name: str) -> None:
    error = getattr(scaler_trio, name)
    assert error is getattr(errors, name)
    assert error.__bases__ == PARENTS[name]


def test_the_names_that_users_of_opengris_scaler_know_are_ours() -> None:
    line = next(line for line in REFERENCE.splitlines() if line.startswith("`scaler_trio.errors` also"))
    named = line.partition("know: ")[2]
    pairs = [
        (name, ours)
        for names, ours in re.findall(r"([^()]+) \(`(\w+)`\)", named)
        for name in re.findall(r"`(\w+)`", names)
    ]
    assert len(pairs) == 9
    for name, ours in pairs:
        assert getattr(errors, name) is getattr(errors, ours), name


@pytest.mark.parametrize("name", RAISES)
def test_something_real_raises_it(name: str, cluster: SchedulerClusterCombo) -> None:
    with Client(cluster.get_address()) as client, pytest.raises(getattr(errors, name)) as caught:
        RAISES[name](client)
    assert type(caught.value) is getattr(errors, name)
    assert str(caught.value)
