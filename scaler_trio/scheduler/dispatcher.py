"""The actor that owns the core: events in, effects out, in the task step of whoever brings the event."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import trio

from scaler_protocol import ErrorCode, LocalProtocolError, Message
from scaler_protocol import messages as m
from scaler_protocol.limits import MIB
from scaler_protocol.messages import EventKind
from scaler_trio.actors import ActorRef, ActorStopped, MailboxFull, ReactiveActor
from scaler_trio.scheduler.core.core import SchedulerCore
from scaler_trio.scheduler.core.effects import Effects
from scaler_trio.scheduler.core.events import Event, PeerLost
from scaler_trio.scheduler.object_keeper import EndStorage, KeeperMessage, KeepObjects

OUTPUT_BYTES: Final = 1 * MIB
"""What may wait for a client until what its tasks print is left out: an eighth of what closes its connection."""


LOUDNESS: Final = {
    EventKind.CAPACITY: logging.INFO,
    EventKind.MANAGER: logging.INFO,
    EventKind.WORKER: logging.DEBUG,
    EventKind.CLIENT: logging.DEBUG,
}
"""How events are logged. There may be ten thousand workers, and a client with each run of a script."""

log = logging.getLogger("scaler_trio.scheduler")


class Peer(Protocol):
    """A connected session, as the dispatcher sees it; it never makes the dispatcher wait."""

    @property
    def outbox_bytes(self) -> int:
        """What was sent and not yet written."""
        ...

    def send(self, *messages: Message) -> None:
        """Write or queue."""
        ...

    def close(self, reason: str, code: ErrorCode, *, by_us: bool) -> object:
        """End the connection at once."""
        ...


class Dispatcher(ReactiveActor[Event]):
    """The only writer of task state. It never waits for a peer."""

    def __init__(
        self,
        core: SchedulerCore,
        keeper: ActorRef[KeeperMessage] | None,
        shut_down: Callable[[], None] = lambda: None,
    ) -> None:
        self.core = core
        self._keeper = keeper
        self._shut_down = shut_down  # ends the scheduler soon
        self._peers: dict[bytes, Peer] = {}
        self._left_out: dict[bytes, int] = {}  # bytes of output that clients did not get as they do not read

    def attach(self, session: bytes, peer: Peer) -> Peer | None:
        """Take up the connection of a session; the one that it supersedes, if there is one."""
        before = self._peers.get(session)
        self._peers[session] = peer
        return before

    def detach(self, session: bytes, peer: Peer, *, on_purpose: bool) -> None:
        """The connection ended. One that was superseded is nobody's loss."""
        if self._peers.get(session) is peer:
            del self._peers[session]
            self._left_out.pop(session, None)
            self.ref.tell_nowait(PeerLost(session, on_purpose))

    def react(self, batch: Sequence[Event]) -> None:
        now = trio.current_time()
        for event in batch:
            self._carry_out(self.core.handle(event, now))

    def next_deadline(self) -> float | None:
        return self.core.next_deadline()

    def on_deadline(self, now: float) -> None:
        self._carry_out(self.core.on_deadline(now))

    def _pass_output(self, session: bytes, messages: Sequence[Any]) -> None:
        """To a client that reads; to another one it is left out, and that it was."""
        peer = self._peers.get(session)
        if peer is None:
            self._left_out.pop(session, None)
            return
        for message in messages:
            if peer.outbox_bytes > OUTPUT_BYTES:
                size = sum([len(row[4]) for row in message.rows])
                self._left_out[session] = self._left_out.get(session, 0) + size
            elif left_out := self._left_out.pop(session, 0):
                peer.send(m.TaskOutput(message.rows, left_out))
            else:
                peer.send(message)

    def _carry_out(self, effects: Effects) -> None:
        for event in effects.events:
            log.log(LOUDNESS[event.kind], "%s %s: %s", event.kind.name.lower(), event.subject, event.text)
        if effects.output:
            for session, output in effects.output.items():
                self._pass_output(session, output)
        for session, messages in effects.sends.items():
            peer = self._peers.get(session)
            if peer is None:
                continue
            try:
                peer.send(*messages)
            except LocalProtocolError as error:
                peer.close(f"a message for it is over the limits: {error}", ErrorCode.INTERNAL, by_us=True)
        for close in effects.closes:
            peer = self._peers.get(close.session)
            if peer is not None:
                peer.close(close.text, close.code, by_us=True)
        if self._keeper is not None and (effects.adopt or effects.delete):
            try:
                self._keeper.tell_nowait(KeepObjects(tuple(effects.adopt), tuple(effects.delete)))
            except (ActorStopped, MailboxFull):
                pass  # the tree is stopping: the server sees our connection end and waits for the next scheduler
        if effects.shutdown:
            if self._keeper is not None:
                try:
                    self._keeper.tell_nowait(EndStorage())
                except (ActorStopped, MailboxFull):
                    pass
            self._shut_down()
