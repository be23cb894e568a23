from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
import trio.testing

from scaler_trio.actors import (
    ActorRef,
    ActorStopped,
    ChildSpec,
    MailboxFull,
    ReactiveActor,
    RestartIntensityExceeded,
    RestartPolicy,
    Supervisor,
    open_actor_tree,
)
from tests.actors.kit import Boom, answering


class Reactor(ReactiveActor[Any]):
    """Logs messages; calls those that can be called, with itself."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.deadline: float | None = None
        self.depth = 0
        self.served: list[float] = []

    def react(self, batch: Sequence[Any]) -> None:
        assert self.depth == 0
        self.depth += 1
        for message in batch:
            if callable(message):
                message(self)
            else:
                self.log.append(message)
        self.depth -= 1

    def next_deadline(self) -> float | None:
        return self.deadline

    def on_deadline(self, now: float) -> None:
        self.served.append(now)
        self.deadline = None


def supervisor(log: list[Any], made: list[Reactor], **policy: Any) -> Supervisor:
    def make() -> Reactor:
        made.append(Reactor(log))
        return made[-1]

    return Supervisor([ChildSpec("r", make, mailbox_capacity=4)], restarts=RestartPolicy(first_backoff_s=1, **policy))


def at(deadline: float) -> Callable[[Reactor], None]:
    return lambda reactor: setattr(reactor, "deadline", deadline)


def fail(_: Reactor) -> None:
    raise Boom


async def test_a_tell_to_an_idle_actor_has_been_handled_when_it_returns() -> None:
    log: list[Any] = []
    root = supervisor(log, [])
    async with open_actor_tree(lambda: root):
        ref = root.ref_of("r")
        ref.tell_nowait(1)
        assert log == [1]
        ref.tell_all_nowait([2, 3])
        await ref.tell(4)
        assert log == [1, 2, 3, 4]


async def test_messages_told_during_a_reaction_are_handled_after_it_and_before_the_tell_returns() -> None:
    log: list[Any] = []
    root = supervisor(log, [])

    def nested(reactor: Reactor) -> None:
        reactor.ref.tell_nowait("inner")
        reactor.ref.tell_nowait(lambda reactor: reactor.ref.tell_nowait("innermost"))
        log.append("outer")

    async with open_actor_tree(lambda: root):
        root.ref_of("r").tell_nowait(nested)
        assert log == ["outer", "inner", "innermost"]


async def test_what_is_told_during_a_reaction_is_bounded() -> None:
    log: list[Any] = []
    root = supervisor(log, [])

    def flood(reactor: Reactor) -> None:
        with pytest.raises(MailboxFull):
            for number in range(5):
                reactor.ref.tell_nowait(number)

    async with open_actor_tree(lambda: root):
        root.ref_of("r").tell_nowait(flood)
    assert log == [0, 1, 2, 3]


async def test_a_failing_reaction_fails_the_actor_and_not_its_teller(autojump_clock: trio.testing.MockClock) -> None:
    made: list[Reactor] = []
    root = supervisor([], made)
    async with open_actor_tree(lambda: root):
        ref = root.ref_of("r")
        ref.tell_nowait(fail)
        with pytest.raises(ActorStopped):
            ref.tell_nowait(1)
        await trio.sleep(0.5)
        with pytest.raises(ActorStopped):
            await ref.tell(1)
        await trio.sleep(1)
        ref.tell_nowait(2)
        assert len(made) == 2
        assert made[1].log == [2]


async def test_what_a_failed_reaction_left_queued_is_lost_and_counted(autojump_clock: trio.testing.MockClock) -> None:
    log: list[Any] = []
    root = supervisor(log, [])

    def queue_and_fail(reactor: Reactor) -> None:
        reactor.ref.tell_nowait("lost")
        raise Boom

    async with open_actor_tree(lambda: root):
        root.ref_of("r").tell_nowait(queue_and_fail)
        await trio.sleep(2)
        root.ref_of("r").tell_nowait("kept")
        assert root.ref_of("r").statistics().lost == 1
    assert log == ["kept"]


async def test_a_failure_reaches_the_root_when_no_restart_is_allowed(autojump_clock: trio.testing.MockClock) -> None:
    root = supervisor([], [], max_restarts=0)
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_actor_tree(lambda: root):
            root.ref_of("r").tell_nowait(fail)
            await trio.sleep_forever()
    assert caught.value.path == "root/r"
    assert isinstance(caught.value.__cause__, Boom)


async def test_a_deadline_is_served_on_time_by_the_actors_own_task(autojump_clock: trio.testing.MockClock) -> None:
    made: list[Reactor] = []
    root = supervisor([], made)
    async with open_actor_tree(lambda: root):
        start = trio.current_time()
        root.ref_of("r").tell_nowait(at(start + 7))
        await trio.sleep(10)
        assert made[0].served == [pytest.approx(start + 7)]


async def test_a_deadline_can_move_earlier_and_later(autojump_clock: trio.testing.MockClock) -> None:
    made: list[Reactor] = []
    root = supervisor([], made)
    async with open_actor_tree(lambda: root):
        ref = root.ref_of("r")
        start = trio.current_time()
        ref.tell_nowait(at(start + 50))
        await trio.sleep(1)
        ref.tell_nowait(at(start + 5))
        await trio.sleep(3)
        ref.tell_nowait(at(start + 20))
        await trio.sleep(10)
        assert made[0].served == []
        await trio.sleep(10)
        assert made[0].served == [pytest.approx(start + 20)]
        ref.tell_nowait(at(start))
        await trio.testing.wait_all_tasks_blocked()
        assert len(made[0].served) == 2


async def test_messages_told_during_on_deadline_are_handled_after_it(autojump_clock: trio.testing.MockClock) -> None:
    log: list[Any] = []

    class Teller(Reactor):
        def on_deadline(self, now: float) -> None:
            super().on_deadline(now)
            self.ref.tell_nowait("told")
            log.append("deadline")

    root = Supervisor([ChildSpec("r", lambda: Teller(log))])
    async with open_actor_tree(lambda: root):
        root.ref_of("r").tell_nowait(at(trio.current_time() + 1))
        await trio.sleep(2)
    assert log == ["deadline", "told"]


@pytest.mark.parametrize("method", ["on_deadline", "next_deadline"])
async def test_a_failing_deadline_fails_the_actor(method: str, autojump_clock: trio.testing.MockClock) -> None:
    def broken(*_: object) -> None:
        raise Boom

    made: list[Reactor] = []
    root = supervisor([], made)
    async with open_actor_tree(lambda: root):
        ref = root.ref_of("r")
        ref.tell_nowait(at(trio.current_time() + 1))
        setattr(made[0], method, broken)
        await trio.sleep(10)
        assert len(made) == 2
        ref.tell_nowait(1)


async def test_an_interrupt_during_a_reaction_reaches_whoever_runs_and_ends_the_actor() -> None:
    made: list[Reactor] = []
    root = supervisor([], made)

    def interrupt(_: Reactor) -> None:
        raise KeyboardInterrupt

    async with open_actor_tree(lambda: root):
        with pytest.raises(KeyboardInterrupt):
            root.ref_of("r").tell_nowait(interrupt)
        with pytest.raises(ActorStopped):
            root.ref_of("r").tell_nowait(1)


async def test_an_ask_is_answered_in_the_askers_step() -> None:
    root = supervisor([], [])
    async with open_actor_tree(lambda: root):
        ref: ActorRef[Any] = root.ref_of("r")
        assert await ref.ask(answering(5), timeout_s=1) == 5
        with pytest.raises(ActorStopped):
            await ref.ask(lambda reply: fail, timeout_s=1)


async def test_two_reactive_actors_that_tell_each_other_do_not_re_enter() -> None:
    log: list[Any] = []
    root = Supervisor([ChildSpec("a", lambda: Reactor(log)), ChildSpec("b", lambda: Reactor(log))])
    async with open_actor_tree(lambda: root):
        a, b = root.ref_of("a"), root.ref_of("b")

        def in_b(_: Reactor) -> None:
            a.tell_nowait("a last")
            log.append("b")

        def in_a(_: Reactor) -> None:
            b.tell_nowait(in_b)
            log.append("a")

        a.tell_nowait(in_a)
    assert log == ["b", "a", "a last"]


async def test_a_stopped_reactive_actor_refuses_and_ends(autojump_clock: trio.testing.MockClock) -> None:
    root = supervisor([], [])
    async with open_actor_tree(lambda: root):
        ref = root.ref_of("r")
        ref.stop()
        with pytest.raises(ActorStopped):
            ref.tell_nowait(1)
        await ref.wait_stopped()
