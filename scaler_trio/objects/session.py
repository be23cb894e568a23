"""A session: one peer's connection to the store, over the local socket or over TCP.

Over the local socket the peer gets files and reads and writes them itself; over TCP the bytes travel in chunks.
"""

import logging
from collections.abc import Callable
from typing import Final

import trio

from scaler_protocol import ErrorCode, Message, Role, Timing
from scaler_protocol import messages as m
from scaler_protocol.ids import ObjectId, object_session, short
from scaler_trio.actors import ActorRef, ActorStopped
from scaler_trio.net import ConnectionClosed, Link
from scaler_trio.objects.core import events as e
from scaler_trio.objects.pacing import PacedStream
from scaler_trio.objects.segments import Segment, open_for_reading, open_for_writing
from scaler_trio.objects.spill import SpillStore
from scaler_trio.objects.store import Joined, Peer, Told

log = logging.getLogger(__name__)

ARGUMENT_PATIENCE_S: Final = 2.0
"""A client's put waits this long for room: enough for deletions and leases that are about to end."""
RESULT_PATIENCE_S: Final = 60.0
"""A finished result waits longer: the work is done, and losing it costs more than the worker's waiting."""
WAITING_FILES: Final = 256
"""Files that one peer may leave unread: each is a file descriptor of ours."""
_WITHOUT_HEARTBEAT: Final = Timing(heartbeat_s=3600.0, deadline_s=36000.0)
"""For peers that only speak when they want something, and whose end the socket tells: nobody would read our pings."""


class Session(Peer):
    """What both kinds have in common. ``run`` returns when the connection has ended; it never raises for a peer."""

    def __init__(
        self,
        connection: e.Connection,
        link: Link,
        store: ActorRef[Told],
        spill: SpillStore | None,
        hello: m.ObjectServer,
        shut_down: Callable[[], None] = lambda: None,
    ) -> None:
        assert link.connection.peer_role is not None
        assert link.connection.peer is not None
        self.connection = connection
        self.link = link
        self.role = link.connection.peer_role
        self.stream = PacedStream.wrap(link)
        self._peer_session = link.connection.peer.session
        self._store = store
        self._spill = spill
        self._hello = hello
        self._shut_down = shut_down  # ends the server soon
        self._patience_s = ARGUMENT_PATIENCE_S if self.role is Role.CLIENT else RESULT_PATIENCE_S
        if self.role in (Role.CLIENT, Role.PROCESSOR):
            link.connection.timing = _WITHOUT_HEARTBEAT
            link.judges_silence = False

    async def run(self) -> None:
        """Serve the peer until its connection ends, then give back what it held."""
        try:
            self._tell(Joined(self.connection, self))
            self.link.send(self._hello)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.link.run)
                nursery.start_soon(self._work)
                await self._read()
                nursery.cancel_scope.cancel()
        except Exception:
            log.exception("the session of %s failed; only its connection closes", self.link.stream.peer)
            self.expel(ErrorCode.INTERNAL, "the object storage server had an internal error; see its log")
        finally:
            self.expel(ErrorCode.SHUTTING_DOWN, "the object storage server is stopping")
            self._tell(e.ConnectionLost(self.connection))

    def answer(self, message: Message) -> None:
        self.link.send(message)

    def expel(self, code: ErrorCode, text: str) -> None:
        self.link.close(text, code, by_us=True)

    async def _read(self) -> None:
        while True:
            try:
                messages = await self.link.receive()
            except ConnectionClosed as error:
                if error.code is not ErrorCode.UNSPECIFIED:
                    log.info("%s", error)
                return
            for message in messages:
                if self.link.closed is not None:
                    return
                self._take(message)
            await trio.lowlevel.checkpoint()  # a peer that sends without pause must not keep us from the others

    def _take(self, message: Message) -> None:
        tell = self._tell
        kind = type(message)
        if kind is m.ObjectChunk:
            self._take_chunk(message)
        elif kind is m.Fetch:
            tell(e.Fetch(self.connection, message.object))
        elif kind is m.EndLease:
            tell(e.EndLeases(self.connection, message.objects))
        elif kind is m.Reserve:
            self._reserve(message)
        elif kind is m.Seal:
            if self._is_complete(message.object):
                tell(e.Seal(self.connection, message.object))
        elif kind is m.AdoptObjects:
            tell(e.Adopt(message.objects))
        elif kind is m.DeleteObjects:
            tell(e.Delete(message.objects))
        elif kind is m.Goodbye:
            self.link.close("the peer said goodbye")
        elif kind is m.Shutdown:
            self._shut_down()

    def _reserve(self, message: m.Reserve) -> None:
        is_own = object_session(ObjectId(message.object)) == self._peer_session
        if not is_own and self.role is not Role.WORKER:  # an agent writes for its processors
            text = f"object {short(message.object)} belongs to another session than this one"
            self.expel(ErrorCode.NOT_YOURS, text)
            return
        object_id = ObjectId(message.object)
        self._tell(e.Reserve(self.connection, object_id, message.size, self._patience_s))

    def _tell(self, told: Told) -> None:
        try:
            self._store.tell_nowait(told)
        except ActorStopped:  # it has given back everything already
            self.expel(ErrorCode.SHUTTING_DOWN, "the object storage server is stopping")

    async def _work(self) -> None:
        """What goes on beside reading; nothing here."""

    def _take_chunk(self, message: m.ObjectChunk) -> None:
        self.expel(ErrorCode.OUT_OF_ORDER, "chunks on a local socket: write into the file that came with Granted")

    def _is_complete(self, object_id: bytes) -> bool:
        return True  # who writes into the file itself has to know


class LocalSession(Session):
    """The peer is on this host: it gets files."""

    def granted(self, object_id: ObjectId, size_bytes: int, segment: Segment) -> None:
        self._send_with_file(m.Granted(object_id), object_id, segment, is_writable=True)

    def found(self, object_id: ObjectId, size_bytes: int, segment: Segment | None) -> None:
        self._send_with_file(m.Found(object_id, size_bytes), object_id, segment, is_writable=False)

    def _send_with_file(
        self, message: Message, object_id: ObjectId, segment: Segment | None, *, is_writable: bool
    ) -> None:
        if self.stream.waiting_files >= WAITING_FILES:
            text = f"{WAITING_FILES} files wait to be read from this connection; read them first"
            self.expel(ErrorCode.SLOW_PEER, text)
            return
        try:
            if is_writable:
                assert segment is not None
                descriptor = open_for_writing(segment)
            elif segment is not None:
                descriptor = open_for_reading(segment)
            else:
                assert self._spill is not None
                descriptor = self._spill.open_for_reading(object_id)
        except OSError as error:
            # A lease or a reservation that the peer does not know of would stay for ever: let it begin anew.
            log.warning("object %s cannot be passed on: %s", short(object_id), error)
            self.expel(ErrorCode.INTERNAL, f"object {short(object_id)} cannot be passed on: {error.strerror}")
            return
        self.stream.pass_file(descriptor)
        self.link.send(message)
