"""What the agent says arrives as it was said, however the stream is cut."""

from __future__ import annotations

import pytest

from scaler_trio.worker import channel

PART = channel.Pages(7, 1500, 5, 2, 4, b"\x00\x00\x00\x00\x03\x00\x00\x00", b"abc")
ALL = [
    *channel.configure({"address": "tcp://h:1", "token": b"x" * 16}),
    *channel.function(3, b"payload"),
    *channel.forget([1, 2**63]),
    *channel.pages(PART),
    *channel.tasks([(3, b"row", ()), (4, b"row 2", (b"input", b""))]),
    *channel.truncate(10, 2),
    *channel.wake(),
]


@pytest.mark.parametrize("step", [1, 2, 3, 5, 8, 13, 1000])
def test_messages_survive_being_cut_anywhere(step: int) -> None:
    stream = b"".join(map(bytes, ALL))
    inbox = channel.Inbox()
    frames = []
    for at in range(0, len(stream), step):
        chunk = stream[at : at + step]
        while chunk:
            buffer = inbox.get_buffer()
            size = min(len(buffer), len(chunk))
            buffer[:size] = chunk[:size]
            chunk = chunk[size:]
            frames += inbox.received(size)
    kinds, bodies = zip(*frames, strict=True)
    assert kinds == (
        channel.CONFIGURE, channel.FUNCTION, channel.FORGET, channel.PAGES, channel.TASKS, channel.TRUNCATE,
        channel.WAKE,
    )  # fmt: skip
    assert channel.read_configure(bodies[0]) == {"address": "tcp://h:1", "token": b"x" * 16}
    key, payload = channel.read_function(bodies[1])
    assert (key, bytes(payload)) == (3, b"payload")
    assert channel.read_forget(bodies[2]) == (1, 2**63)
    assert channel.read_pages(bodies[3]) == PART
    assert channel.read_tasks(bodies[4]) == ((3, b"row", ()), (4, b"row 2", (b"input", b"")))
    assert channel.read_truncate(bodies[5]) == (10, 2)


def test_a_message_larger_than_the_buffer_arrives_and_the_buffer_shrinks_again() -> None:
    large = bytes(range(256)) * 8192
    stream = b"".join(map(bytes, [*channel.wake(), *channel.function(1, large), *channel.wake()]))
    inbox = channel.Inbox()
    frames = []
    view = memoryview(stream)
    while view:
        buffer = inbox.get_buffer()
        size = min(len(buffer), len(view))
        buffer[:size] = view[:size]
        view = view[size:]
        frames += inbox.received(size)
    assert [kind for kind, _ in frames] == [channel.WAKE, channel.FUNCTION, channel.WAKE]
    assert bytes(channel.read_function(frames[1][1])[1]) == large
    assert len(inbox.get_buffer()) == channel.READ_BYTES
