"""What makes a store a cache: missing objects are fetched from the server, written ones are sent to it."""

import logging
import os
from collections import deque
from typing import Any, Final

import trio
from attrs import frozen

from scaler_protocol import ErrorCode, Message, Role, limits
from scaler_protocol import messages as m
from scaler_protocol.ids import ObjectId, short
from scaler_trio.actors import Actor, ActorError, ActorRef, Mailbox
from scaler_trio.objects.core import events as e
from scaler_trio.objects.errors import ObjectMissing, ObjectStoreError, ObjectStoreFull
from scaler_trio.objects.segments import Segment, open_for_reading, write_at
from scaler_trio.objects.session import RESULT_PATIENCE_S, LocalSession
from scaler_trio.objects.store import Joined, Peer, Told
from scaler_trio.objects.upstream import Upstream

log = logging.getLogger(__name__)

FETCHER: Final[e.Connection] = 0
"""The fetcher's connection to the store; those of processors are numbered from 1."""


IDLE_S: Final = 10.0
"""After this long without uploads their connection is closed; the scheduler adopts an object much sooner."""


@frozen
class Wanted:
    """A processor wants an object that the cache does not have."""

    object_id: ObjectId
    session: "CachingSession"


@frozen
class Upload:
    """A processor has written an object; ``descriptor`` is the uploader's to close."""

    object_id: ObjectId
    size_bytes: int
    descriptor: int
    session: "CachingSession"


class CachingSession(LocalSession):
    """A processor's session: like the server's on its own host, but for what is missing and what is new."""

    def __init__(self, *arguments: Any, fetcher: ActorRef[Wanted], uploader: ActorRef[Upload], **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._fetcher = fetcher
        self._uploader = uploader
        self._written: dict[ObjectId, tuple[Segment, int]] = {}  # granted, not sealed; bounded by the store's room

    def granted(self, object_id: ObjectId, size_bytes: int, segment: Segment) -> None:
        self._written[object_id] = (segment, size_bytes)
        super().granted(object_id, size_bytes, segment)

    def answer(self, message: Message) -> None:
        if isinstance(message, m.Missing):
            self._hand_over(self._fetcher, Wanted(ObjectId(message.object), self))
        else:
            super().answer(message)

    def _is_complete(self, object_id: bytes) -> bool:
        """Sealing waits for the server to have the object; ``uploaded`` does it."""
        granted = self._written.pop(ObjectId(object_id), None)
        if granted is None:
            return True  # the index objects to it
        segment, size_bytes = granted
        try:
            # Of its own: when this connection ends, the segment is destroyed while it may be being sent.
            descriptor = open_for_reading(segment)
        except OSError as error:
            self.expel(ErrorCode.INTERNAL, f"object {short(object_id)} cannot be read: {error.strerror}")
            return False
        upload = Upload(ObjectId(object_id), size_bytes, descriptor, self)
        if not self._hand_over(self._uploader, upload):
            os.close(descriptor)
        return False

    def uploaded(self, object_id: ObjectId) -> None:
        """The server has it: now it is sealed here too, and may be dropped at any time."""
        if self.link.closed is None:
            self._tell(e.Seal(self.connection, object_id))
            self._tell(e.Adopt((object_id,)))

    def not_uploaded(self, object_id: ObjectId, error: ObjectStoreError) -> None:
        """The server does not take it."""
        if self.link.closed is None:
            self._tell(e.Abandon(self.connection, object_id))
            self._fail(object_id, error)

    def fetched(self, object_id: ObjectId, error: ObjectStoreError | None) -> None:
        """It is in the cache now, or cannot be had."""
        if self.link.closed is not None:
            return
        if error is None:
            self._tell(e.Fetch(self.connection, object_id))
        else:
            self._fail(object_id, error)

    def _fail(self, object_id: ObjectId, error: ObjectStoreError) -> None:
        if isinstance(error, ObjectMissing):
            self.link.send(m.Missing(object_id))
        elif isinstance(error, ObjectStoreFull):
            self.link.send(m.Refused(object_id, str(error)))
        else:
            self.expel(ErrorCode.INTERNAL, str(error))

    def _hand_over(self, to: ActorRef[Any], message: object) -> bool:
        try:
            to.tell_nowait(message)
        except ActorError as error:  # it has stopped, or more wait than its mailbox holds
            self.expel(ErrorCode.LIMIT, f"the object cache cannot take it: {error}")
            return False
        return True


class Uploader(Actor[Upload]):
    """Sends objects to the server, one after the other."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def run(self, mailbox: Mailbox[Upload]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._upstream.run)
                with mailbox.until_closed():
                    while not mailbox.closed:
                        await self._upload_all(deque(await self._next(mailbox)))
                nursery.cancel_scope.cancel()
        finally:
            for upload in mailbox.take_nowait():
                os.close(upload.descriptor)

    async def _next(self, mailbox: Mailbox[Upload]) -> list[Upload]:
        """The next objects. Idle, it closes the connection, so that the server deletes what nobody adopted."""
        while True:
            with trio.move_on_after(IDLE_S):
                return await mailbox.receive()
            self._upstream.drop()

    async def _upload_all(self, uploads: deque[Upload]) -> None:
        try:
            while uploads:
                await self._upload(uploads[0])
                os.close(uploads.popleft().descriptor)
        finally:
            for upload in uploads:
                os.close(upload.descriptor)

    async def _upload(self, upload: Upload) -> None:
        try:
            await self._send(upload)
        except ObjectStoreError as error:
            if not isinstance(error, ObjectStoreFull):
                self._upstream.drop()
            upload.session.not_uploaded(upload.object_id, error)
        else:
            upload.session.uploaded(upload.object_id)

    async def _send(self, upload: Upload) -> None:
        upstream, object_id = self._upstream, upload.object_id
        if upload.session.link.closed is not None:
            raise ObjectStoreError("the processor that wrote it is gone")
        await upstream.send(m.Reserve(object_id, upload.size_bytes))
        await upstream.answer(object_id, m.Granted)
        for offset in range(0, upload.size_bytes, limits.OBJECT_CHUNK_BYTES):
            size = min(limits.OBJECT_CHUNK_BYTES, upload.size_bytes - offset)
            await upstream.send(m.ObjectChunk(object_id, offset, os.pread(upload.descriptor, size, offset)))
            await trio.lowlevel.checkpoint()
        await upstream.send(m.Seal(object_id))
        await upstream.answer(object_id, m.Sealed)


class Fetcher(Actor[Wanted], Peer):
    """Brings objects from the server into the store, one after the other, and serves all who wait for each."""

    role = Role.WORKER

    def __init__(self, upstream: Upstream, store: ActorRef[Told]) -> None:
        self._upstream = upstream
        self._store = store
        self._waiting: dict[ObjectId, list[CachingSession]] = {}  # bounded by the sessions' mailbox
        self._more = trio.Event()
        self._room = trio.Event()  # of the object being fetched
        self._segment: Segment | None = None
        self._refusal = ""

    async def started(self) -> None:
        self._store.tell_nowait(Joined(FETCHER, self))

    async def run(self, mailbox: Mailbox[Wanted]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upstream.run)
            nursery.start_soon(self._fetch_all)
            with mailbox.until_closed():
                async for batch in mailbox:
                    for wanted in batch:
                        self._waiting.setdefault(wanted.object_id, []).append(wanted.session)
                    self._more.set()
            nursery.cancel_scope.cancel()

    def granted(self, object_id: ObjectId, size_bytes: int, segment: Segment) -> None:
        self._segment = segment
        self._room.set()

    def answer(self, message: Message) -> None:
        if isinstance(message, m.Refused):
            self._refusal = message.text
            self._room.set()

    def found(self, object_id: ObjectId, size_bytes: int, segment: Segment | None) -> None:
        raise AssertionError("the fetcher reads nothing")

    def expel(self, code: ErrorCode, text: str) -> None:
        self._refusal = text  # a processor writes an object of this name, or the like: only this fetch fails
        self._room.set()

    async def _fetch_all(self) -> None:
        while True:
            if not self._waiting:
                self._more = trio.Event()
                await self._more.wait()
            object_id = next(iter(self._waiting))
            failure: ObjectStoreError | None = None
            try:
                await self._fetch(object_id)
            except ObjectStoreError as error:
                failure = error
                if not isinstance(error, ObjectMissing):
                    self._upstream.drop()  # its chunks may be on their way
            for session in self._waiting.pop(object_id):
                session.fetched(object_id, failure)

    async def _fetch(self, object_id: ObjectId) -> None:
        upstream = self._upstream
        await upstream.send(m.Fetch(object_id))
        size_bytes = (await upstream.answer(object_id, m.Found)).size
        segment = await self._reserve(object_id, size_bytes)
        is_stored = False
        try:
            offset = 0
            while offset < size_bytes:
                chunk = await upstream.answer(object_id, m.ObjectChunk)
                if chunk.offset != offset or offset + len(chunk.data) > size_bytes or not len(chunk.data):
                    raise ObjectStoreError(
                        f"the server sent {len(chunk.data)} bytes at {chunk.offset}; expected {offset} of {size_bytes}"
                    )
                write_at(segment.descriptor, chunk.data, offset)
                offset += len(chunk.data)
                await trio.lowlevel.checkpoint()
            is_stored = True
        finally:
            if not is_stored:
                self._store.tell_nowait(e.Abandon(FETCHER, object_id))
        self._store.tell_nowait(e.Seal(FETCHER, object_id))
        self._store.tell_nowait(e.Adopt((object_id,)))

    async def _reserve(self, object_id: ObjectId, size_bytes: int) -> Segment:
        self._segment, self._refusal, self._room = None, "", trio.Event()
        self._store.tell_nowait(e.Reserve(FETCHER, object_id, size_bytes, RESULT_PATIENCE_S))
        await self._room.wait()
        return self._take_room()

    def _take_room(self) -> Segment:
        segment, self._segment = self._segment, None
        if segment is None:
            raise ObjectStoreFull(f"the worker's object cache: {self._refusal}")
        return segment
