from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from scaler_trio.actors import (
    ActorRef,
    ActorStopped,
    AskTimeout,
    ChildSpec,
    MailboxFull,
    Reply,
    RestartPolicy,
    Supervisor,
    WhenFull,
    open_actor_tree,
)
from tests.actors.kit import Boom, Recorder, answering


def supervisor(**options: Any) -> Supervisor:
    spec = ChildSpec("a", lambda: Recorder("a", []), **options)
    return Supervisor([spec], restarts=RestartPolicy(first_backoff_s=5))


async def test_an_ask_returns_what_the_actor_replies(autojump_clock: trio.testing.MockClock) -> None:
    root = supervisor()
    async with open_actor_tree(lambda: root):
        ref: ActorRef[Any] = root.ref_of("a")
        answer = await ref.ask(answering(42), timeout_s=1)
        assert answer == 42


async def test_a_question_that_fails_raises_at_the_asker_and_leaves_the_actor_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    root = supervisor()
    async with open_actor_tree(lambda: root):
        with pytest.raises(Boom):
            await root.ref_of("a").ask(lambda reply: lambda: reply.fail(Boom()), timeout_s=1)
        assert root.statistics()[0].restarts == 0


async def test_an_ask_without_reply_times_out_and_the_late_reply_is_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    root = supervisor()
    kept: list[Reply[int]] = []
    async with open_actor_tree(lambda: root):
        with pytest.raises(AskTimeout):
            await root.ref_of("a").ask(lambda reply: lambda: kept.append(reply), timeout_s=3)
        kept[0].send(1)
        kept[0].fail(Boom())
        assert not root.ref_of("a")._asks


async def test_a_reply_at_the_very_moment_of_the_deadline_wins(mock_clock: trio.testing.MockClock) -> None:
    root = supervisor()
    kept: list[Reply[int]] = []
    answers: list[int] = []
    async with open_actor_tree(lambda: root):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def asker() -> None:
                answers.append(await root.ref_of("a").ask(lambda reply: lambda: kept.append(reply), timeout_s=5))

            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(5)
            kept[0].send(7)
    assert answers == [7]


async def test_an_ask_ends_when_the_actor_fails_before_it_replies(autojump_clock: trio.testing.MockClock) -> None:
    root = supervisor()

    def fail() -> None:
        raise Boom

    async with open_actor_tree(lambda: root):
        with pytest.raises(ActorStopped):
            await root.ref_of("a").ask(lambda reply: fail, timeout_s=60)
        assert trio.current_time() < 5


async def test_an_ask_ends_when_the_actor_is_stopped_before_it_replies(autojump_clock: trio.testing.MockClock) -> None:
    root = supervisor()
    async with open_actor_tree(lambda: root):
        ref = root.ref_of("a")
        with pytest.raises(ActorStopped):
            await ref.ask(lambda reply: ref.stop, timeout_s=60)


async def test_what_is_told_during_the_back_off_reaches_the_next_incarnation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    root = supervisor()
    seen: list[int] = []
    async with open_actor_tree(lambda: root):
        ref = root.ref_of("a")
        ref.tell_all_nowait([Boom(), lambda: seen.append(1)])
        await trio.sleep(1)
        ref.tell_nowait(lambda: seen.append(2))
        assert seen == []
        assert await ref.ask(answering(3), timeout_s=10) == 3
    assert seen == [2]


async def test_telling_a_stopped_actor_raises(autojump_clock: trio.testing.MockClock) -> None:
    root = supervisor()
    async with open_actor_tree(lambda: root):
        ref = root.ref_of("a")
        ref.stop()
        with pytest.raises(ActorStopped):
            ref.tell_nowait(1)
        with trio.fail_after(1):
            await ref.wait_stopped()
        with pytest.raises(ActorStopped):
            await ref.tell(1)
        with pytest.raises(ActorStopped):
            await ref.ask(lambda reply: reply, timeout_s=1)


async def test_an_ask_gives_up_while_it_waits_for_room(autojump_clock: trio.testing.MockClock) -> None:
    gate = trio.Event()

    class Slow(Recorder):
        async def handle(self, batch: list[Any]) -> None:
            await gate.wait()

    root = Supervisor([ChildSpec("a", lambda: Slow("a", []), mailbox_capacity=1)])
    async with open_actor_tree(lambda: root):
        ref = root.ref_of("a")
        ref.tell_nowait(0)
        await trio.testing.wait_all_tasks_blocked()
        ref.tell_nowait(1)
        with pytest.raises(AskTimeout):
            await ref.ask(lambda reply: reply, timeout_s=2)
        assert ref.statistics().used == 1
        assert ref.statistics().tellers_waiting == 0
        gate.set()


async def test_the_policy_of_the_specification_is_the_mailboxs(autojump_clock: trio.testing.MockClock) -> None:
    root = supervisor(mailbox_capacity=1, when_full=WhenFull.REJECT)
    async with open_actor_tree(lambda: root):
        ref = root.ref_of("a")
        ref.tell_nowait(1)
        with pytest.raises(MailboxFull):
            ref.tell_nowait(2)
