"""Whatever is going on, cancellation at any schedule point leaves no task, and every child that began sees its stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from scaler_trio.actors import (
    ChildKind,
    ChildSpec,
    RestartIntensityExceeded,
    RestartPolicy,
    Strategy,
    Supervisor,
    WhenFull,
    open_actor_tree,
)
from tests.actors.kit import Boom, Recorder, Stubborn, answering, cancel_at_every_step

Log = list[tuple[str, str]]


def tree(log: Log, strategy: Strategy, policy: RestartPolicy | None = None) -> Supervisor:
    inner = Supervisor(
        [
            ChildSpec("b", lambda: Recorder("b", log)),
            ChildSpec("c", lambda: Stubborn("c", log), stop_timeout_s=1),
        ],
        restarts=policy,
    )
    return Supervisor(
        [
            ChildSpec("a", lambda: Recorder("a", log), mailbox_capacity=1, when_full=WhenFull.WAIT),
            ChildSpec("inner", lambda: inner, ChildKind.TEMPORARY),
            ChildSpec("d", lambda: Recorder("d", log)),
        ],
        strategy=strategy,
        restarts=policy,
    )


async def start_and_stop(log: Log) -> None:
    async with open_actor_tree(lambda: tree(log, Strategy.ONE_FOR_ONE)):
        pass


async def restart_all(log: Log) -> None:
    root = tree(log, Strategy.ONE_FOR_ALL)
    async with open_actor_tree(lambda: root):
        root.ref_of("a").tell_nowait(Boom())
        await trio.sleep(5)


async def restart_rest(log: Log) -> None:
    root = tree(log, Strategy.REST_FOR_ONE)
    async with open_actor_tree(lambda: root):
        root.ref_of("a").tell_nowait(Boom())
        await trio.sleep(5)


async def escalate(log: Log) -> None:
    root = tree(log, Strategy.ONE_FOR_ONE, RestartPolicy(max_restarts=0))
    async with open_actor_tree(lambda: root):
        root.ref_of("d").tell_nowait(Boom())
        await trio.sleep_forever()


async def sessions(log: Log) -> None:
    root = tree(log, Strategy.ONE_FOR_ONE)
    async with open_actor_tree(lambda: root):
        first = await root.start_child(ChildSpec("s1", lambda: Recorder("s1", log), ChildKind.TEMPORARY))
        await root.start_child(ChildSpec("s2", lambda: Recorder("s2", log), ChildKind.TEMPORARY))
        with pytest.raises(Boom):
            await root.start_child(ChildSpec("s3", lambda: Recorder("s3", log, fail_start=lambda: True)))
        first.tell_nowait(Boom())
        await root.stop_child("s2")


async def messages(log: Log) -> None:
    root = tree(log, Strategy.ONE_FOR_ONE)
    async with open_actor_tree(lambda: root):
        ref = root.ref_of("a")
        for number in range(4):
            await ref.tell(number)
        assert await ref.ask(answering("yes"), timeout_s=5) == "yes"
        assert not ref._asks


@pytest.mark.parametrize("scenario", [start_and_stop, restart_all, restart_rest, escalate, sessions, messages])
def test_cancellation_at_any_step_leaves_nothing_behind(scenario: Callable[[Log], Awaitable[None]]) -> None:
    log: Log = []

    async def run() -> None:
        log.clear()
        await scenario(log)

    def check() -> None:
        count: dict[str, Any] = {}
        for name, what in log:
            count.setdefault(name, {"starting": 0, "stopped": 0})
            if what in count[name]:
                count[name][what] += 1
        for name, seen in count.items():
            assert seen["starting"] == seen["stopped"], (name, log)

    fails_with = RestartIntensityExceeded if scenario is escalate else None
    assert cancel_at_every_step(run, check, fails_with=fails_with) > 10
