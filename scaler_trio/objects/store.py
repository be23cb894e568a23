"""The store: the actor that owns the object index, the segments and the files, and turns effects into deeds.

It is reactive: a session tells it an event and gets its answers within the same task step. What takes long (copying to
disk) is done by the spiller, which tells it when it has finished.
"""

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import trio
from attrs import frozen

from scaler_protocol import ErrorCode, Message, Role
from scaler_protocol import messages as m
from scaler_protocol.ids import ObjectId, short
from scaler_trio.actors import Actor, ActorRef, ActorStopped, ReactiveActor
from scaler_trio.objects.core import events as e
from scaler_trio.objects.core.index import ObjectIndex
from scaler_trio.objects.segments import Segment, SegmentStore
from scaler_trio.objects.spill import SpillStore

log = logging.getLogger(__name__)

USAGE_PERIOD_S: Final = 1.0
"""The scheduler is told how full we are at most this often: it scales by it, it does not steer by it."""


class Peer(ABC):
    """A session as the store sees it. Nothing here waits, and nothing raises for what the peer does."""

    role: Role

    @abstractmethod
    def granted(self, object_id: ObjectId, size_bytes: int, segment: Segment) -> None:
        """It may write its object into the segment."""

    @abstractmethod
    def found(self, object_id: ObjectId, size_bytes: int, segment: Segment | None) -> None:
        """It may read the object, from the segment or from its file, until it ends its lease."""

    @abstractmethod
    def answer(self, message: Message) -> None:
        """Send it this message."""

    @abstractmethod
    def expel(self, code: ErrorCode, text: str) -> None:
        """Close its connection, telling it why."""


@frozen
class Joined:
    """A peer has connected."""

    connection: e.Connection
    peer: Peer


@frozen
class SpillJob:
    """Copy this segment to disk and tell ``reply_to``."""

    object_id: ObjectId
    segment: Segment
    size_bytes: int
    reply_to: "ActorRef[Told]"


Told: TypeAlias = Joined | e.Event


class Spiller(Actor[SpillJob]):
    """Copies objects to disk, one after the other, in a thread."""

    def __init__(self, spill: SpillStore) -> None:
        self._spill = spill

    async def handle(self, batch: list[SpillJob]) -> None:
        for job in batch:
            event: e.Event = e.SpillDone(job.object_id)
            try:
                # Not abandoned when cancelled: the thread reads a segment that would be closed. stop_writing ends it.
                await trio.to_thread.run_sync(self._spill.write, job.object_id, job.segment.descriptor, job.size_bytes)
            except OSError as error:
                log.warning("object %s could not be spilled to disk: %s", short(job.object_id), error)
                event = e.SpillFailed(job.object_id, error.strerror or str(error))
            try:
                job.reply_to.tell_nowait(event)
            except ActorStopped:
                return


class Store(ReactiveActor[Told]):
    """Owns everything that is stored; the segments end with it."""

    def __init__(
        self, index: ObjectIndex, segments: SegmentStore, spill: SpillStore | None, spiller: ActorRef[SpillJob] | None
    ) -> None:
        self._index = index
        self._segment_store = segments
        self._spill = spill
        self._spiller = spiller
        self._segments: dict[e.SegmentNumber, Segment] = {}
        self._peers: dict[e.Connection, Peer] = {}
        self._queue: deque[e.Event] = deque()  # events that effects lead to, handled before `react` returns
        self._schedulers: dict[e.Connection, Peer] = {}
        self._usage: m.ObjectUsage | None = None  # as last told to the schedulers
        self._usage_due: float | None = None
        self._usage_told_at = 0.0

    def react(self, batch: Sequence[Told]) -> None:
        now = trio.current_time()
        for message in batch:
            if type(message) is Joined:
                self._peers[message.connection] = message.peer
                if message.peer.role is Role.SCHEDULER:
                    self._schedulers[message.connection] = message.peer
                    self._usage = None
                continue
            assert not isinstance(message, Joined)
            self._handle(message, now)
        if self._schedulers and self._usage_due is None:
            self._usage_due = max(now, self._usage_told_at + USAGE_PERIOD_S)

    def next_deadline(self) -> float | None:
        deadline = self._index.next_deadline()
        if self._usage_due is None:
            return deadline
        return self._usage_due if deadline is None else min(deadline, self._usage_due)

    def on_deadline(self, now: float) -> None:
        self._handle(e.TimePassed(), now)
        if self._usage_due is not None and self._usage_due <= now:
            self._usage_due, self._usage_told_at = None, now
            self._tell_usage()

    async def stopping(self) -> None:
        for segment in self._segments.values():
            self._segment_store.destroy(segment)
        self._segments.clear()

    def open_file(self, object_id: ObjectId) -> int:
        """A descriptor of a spilled object's file; the caller closes it. Raises ``OSError``."""
        assert self._spill is not None
        return self._spill.open_for_reading(object_id)

    def _handle(self, event: e.Event, now: float) -> None:
        self._queue.append(event)
        while self._queue:
            event = self._queue.popleft()
            for effect in self._index.handle(event, now):
                _PERFORM[type(effect)](self, effect)
            if type(event) is e.ConnectionLost:
                self._peers.pop(event.connection, None)
                self._schedulers.pop(event.connection, None)

    def _tell_usage(self) -> None:
        usage = self._index.usage()
        message = m.ObjectUsage(usage.objects, usage.memory_bytes, usage.disk_bytes)
        if message == self._usage:
            return
        self._usage = message
        for peer in self._schedulers.values():
            peer.answer(message)

    # ------------------------------------------------------------------------------------------------------ effects

    def _create(self, effect: e.CreateSegment) -> None:
        try:
            self._segments[effect.segment] = self._segment_store.create(effect.capacity_bytes)
        except OSError as error:
            log.warning("no segment of %d bytes: %s", effect.capacity_bytes, error)
            self._queue.append(e.SegmentFailed(effect.object_id, error.strerror or str(error)))
        else:
            self._queue.append(e.SegmentCreated(effect.object_id))

    def _destroy(self, effect: e.DestroySegment) -> None:
        segment = self._segments.pop(effect.segment, None)
        if segment is not None:  # else it could not be created
            self._segment_store.destroy(segment)

    def _grant(self, effect: e.Grant) -> None:
        peer = self._peers.get(effect.connection)
        if peer is not None:
            peer.granted(effect.object_id, effect.size_bytes, self._segments[effect.segment])

    def _serve(self, effect: e.Serve) -> None:
        peer = self._peers.get(effect.connection)
        if peer is not None:
            segment = None if effect.segment is None else self._segments[effect.segment]
            peer.found(effect.object_id, effect.size_bytes, segment)

    def _answer(self, effect: e.Refuse | e.Acknowledge | e.NotThere) -> None:
        peer = self._peers.get(effect.connection)
        if peer is None:
            return
        if type(effect) is e.Refuse:
            log.warning("refused: %s", effect.text)
            peer.answer(m.Refused(effect.object_id, effect.text))
        elif type(effect) is e.Acknowledge:
            peer.answer(m.Sealed(effect.object_id))
        else:
            peer.answer(m.Missing(effect.object_id))

    def _offend(self, effect: e.Offend) -> None:
        peer = self._peers.get(effect.connection)
        if peer is not None:
            peer.expel(effect.code, effect.text)

    def _start_spill(self, effect: e.Spill) -> None:
        assert self._spiller is not None
        job = SpillJob(effect.object_id, self._segments[effect.segment], effect.size_bytes, self.ref)
        self._spiller.tell_nowait(job)

    def _delete_file(self, effect: e.DeleteFile) -> None:
        assert self._spill is not None
        self._spill.delete(effect.object_id)


_PERFORM: Final[dict[type, Callable[[Store, Any], None]]] = {
    e.CreateSegment: Store._create,
    e.DestroySegment: Store._destroy,
    e.Grant: Store._grant,
    e.Serve: Store._serve,
    e.Refuse: Store._answer,
    e.Acknowledge: Store._answer,
    e.NotThere: Store._answer,
    e.Offend: Store._offend,
    e.Spill: Store._start_spill,
    e.DeleteFile: Store._delete_file,
}
