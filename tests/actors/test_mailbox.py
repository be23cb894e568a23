from __future__ import annotations

import pytest
import trio
import trio.testing

from scaler_trio.actors import ActorStopped, Mailbox, MailboxFull, WhenFull


def mailbox(capacity: int = 2, when_full: WhenFull = WhenFull.WAIT) -> Mailbox[int]:
    return Mailbox("box", capacity=capacity, when_full=when_full)


async def test_receive_takes_everything_queued_in_the_order_told() -> None:
    box = mailbox(3)
    for number in (1, 2, 3):
        box.put_nowait(number)
    assert await box.receive() == [1, 2, 3]
    assert box.statistics().used == 0


async def test_a_parked_reader_is_woken_by_the_first_message_and_gets_the_whole_burst() -> None:
    box = mailbox(3)
    batches: list[list[int]] = []

    async def read() -> None:
        batches.append(await box.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        box.put_all_nowait([1, 2, 3])
    assert batches == [[1, 2, 3]]


async def test_a_full_mailbox_that_waits_makes_tellers_wait_in_order() -> None:
    box = mailbox(1)
    box.put_nowait(0)
    async with trio.open_nursery() as nursery:
        for number in (1, 2, 3):
            nursery.start_soon(box.put, number)
            await trio.testing.wait_all_tasks_blocked()
        assert box.statistics().tellers_waiting == 3
        with pytest.raises(MailboxFull):
            box.put_nowait(9)
        assert [await box.receive() for _ in range(4)] == [[0], [1], [2], [3]]


async def test_a_cancelled_teller_leaves_no_message_behind() -> None:
    box = mailbox(1)
    box.put_nowait(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(box.put, 1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await box.receive() == [0]
    assert box.statistics().used == box.statistics().tellers_waiting == 0


async def test_drop_oldest_keeps_the_newest_and_counts_the_rest() -> None:
    box = mailbox(2, WhenFull.DROP_OLDEST)
    box.put_all_nowait([1, 2, 3])
    await box.put(4)
    assert box.statistics().dropped == 2
    assert await box.receive() == [3, 4]


async def test_reject_raises_at_the_teller_and_keeps_what_is_queued() -> None:
    box = mailbox(2, WhenFull.REJECT)
    box.put_all_nowait([1, 2])
    with pytest.raises(MailboxFull):
        await box.put(3)
    with pytest.raises(MailboxFull):
        box.put_nowait(3)
    assert await box.receive() == [1, 2]


async def test_several_messages_are_accepted_all_or_none() -> None:
    box = mailbox(2)
    with pytest.raises(MailboxFull):
        box.put_all_nowait([1, 2, 3])
    assert box.statistics().used == 0


async def test_a_closed_mailbox_delivers_what_it_has_and_refuses_the_rest() -> None:
    box = mailbox(1)
    box.put_nowait(1)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait_for_room() -> None:
            with pytest.raises(ActorStopped):
                await box.put(2)

        await trio.testing.wait_all_tasks_blocked()
        box.close()
    with pytest.raises(ActorStopped):
        box.put_nowait(3)
    with pytest.raises(ActorStopped):
        box.put_all_nowait([3])
    assert [batch async for batch in box] == [[1]]
    with pytest.raises(ActorStopped):
        await box.receive()


async def test_closing_wakes_the_reader_and_cancels_bodies_of_until_closed() -> None:
    box = mailbox()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def read() -> None:
            assert [batch async for batch in box] == []

        @nursery.start_soon
        async def listen() -> None:
            with box.until_closed():
                await trio.sleep_forever()

        await trio.testing.wait_all_tasks_blocked()
        box.close()
    with box.until_closed():
        await trio.sleep_forever()


async def test_a_second_reader_is_refused() -> None:
    box = mailbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(box.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await box.receive()
        nursery.cancel_scope.cancel()


def test_a_mailbox_without_room_for_one_message_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        mailbox(0)
