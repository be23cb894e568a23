"""What the core wants done: messages to peers, connections to close, objects to keep or delete."""

from attrs import define, field, frozen

from scaler_protocol import ErrorCode, Message
from scaler_trio.scheduler.core.feed import FeedEvent


@frozen
class Close:
    """Close this session; the peer is told why."""

    session: bytes
    code: ErrorCode
    text: str


@define
class Effects:
    """Filled by the core during one ``handle``, taken and carried out by the shell after it."""

    sends: dict[bytes, list[Message]] = field(factory=dict)
    output: dict[bytes, list[Message]] = field(factory=dict)  # what tasks printed: before the rest, or left out
    closes: list[Close] = field(factory=list)
    adopt: list[bytes] = field(factory=list)  # no object is in both, unless it came and went: adopt before delete
    delete: list[bytes] = field(factory=list)

    events: list[FeedEvent] = field(factory=list)  # to be logged

    shutdown: str = ""  # who wants it: everybody is told, then the scheduler ends

    def send(self, session: bytes, message: Message) -> None:
        """Queue a message to one peer; messages to one peer keep their order."""
        queue = self.sends.get(session)
        if queue is None:
            self.sends[session] = [message]
        else:
            queue.append(message)

    def __bool__(self) -> bool:
        return bool(
            self.sends or self.output or self.closes or self.adopt or self.delete or self.events or self.shutdown
        )
