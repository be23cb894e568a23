"""A connection from a cache to the object storage server: made when needed, made again when it broke."""

import os
from typing import Final

import trio

from scaler_protocol import Identity, Message, Role, limits
from scaler_protocol import messages as m
from scaler_trio.net import Address, Link, NetError, dial
from scaler_trio.objects.errors import ObjectMissing, ObjectStoreError, ObjectStoreFull
from scaler_trio.objects.pacing import PacedStream

CONNECT_S: Final = 5.0
ANSWER_S: Final = 90.0
"""Silence after which a request is given up; the server may let it wait 60 s for room."""


class Upstream:
    """One request at a time; ``run`` holds the connection's tasks."""

    def __init__(self, address: Address, token: bytes | None) -> None:
        self._address = address
        self._token = token
        self._session = os.urandom(16)
        self._nursery: trio.Nursery | None = None
        self._link: Link | None = None
        self._stream: PacedStream | None = None
        self._messages: list[Message] = []

    async def run(self) -> None:
        """Hold the connection until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await trio.sleep_forever()
        finally:
            self._nursery = None
            self.drop()

    def drop(self) -> None:
        """Close the connection: it is not in step any more. The next request makes a new one."""
        if self._link is not None:
            self._link.close("the cache gave a request up")
        self._link, self._stream, self._messages = None, None, []

    async def send(self, message: Message) -> None:
        """Send it when the server has taken most of what was sent before. Raises ``ObjectStoreError``."""
        link = await self._connected()
        assert self._stream is not None
        link.send(message)
        while link.outbox_bytes > 4 * limits.OBJECT_CHUNK_BYTES and link.closed is None:
            with trio.move_on_after(ANSWER_S) as scope:
                await self._stream.wait_progress()
            if scope.cancelled_caught:
                raise ObjectStoreError(f"the object storage at {self._address} took nothing for {ANSWER_S:.0f} s")
        if link.closed is not None:
            raise ObjectStoreError(str(link.closed))

    async def answer(self, wanted: bytes, kind: type[Message]) -> Message:
        """The server's answer about this object, of this kind.

        Raises:
            ObjectStoreFull, ObjectMissing: the answer is that.
            ObjectStoreError: the connection ended, or makes no sense any more.
        """
        link = self._link
        if link is None:
            raise ObjectStoreError(f"the connection to the object storage at {self._address} ended")
        while True:
            while not self._messages:
                with trio.move_on_after(ANSWER_S):
                    try:
                        self._messages = (await link.receive())[::-1]
                    except NetError as error:
                        raise ObjectStoreError(str(error)) from error
                    continue
                raise ObjectStoreError(f"the object storage at {self._address} has not answered for {ANSWER_S:.0f} s")
            message = self._messages.pop()
            if isinstance(message, m.ObjectServer | m.Pong):
                continue
            if getattr(message, "object", None) == wanted:
                if isinstance(message, kind):
                    return message
                if isinstance(message, m.Refused):
                    raise ObjectStoreFull(message.text)
                if isinstance(message, m.Missing):
                    raise ObjectMissing("the server does not have it")
            raise ObjectStoreError(f"the object storage at {self._address} answered {message!r}; not {kind.__name__}")

    async def _connected(self) -> Link:
        if self._link is not None and self._link.closed is None:
            return self._link
        self.drop()
        assert self._nursery is not None
        identity = Identity(Role.WORKER, self._session, "object cache", os.urandom(limits.NONCE_BYTES))
        try:
            link = await dial(self._address, identity, token=self._token, expect=Role.OBJECTS, timeout_s=CONNECT_S)
        except NetError as error:
            raise ObjectStoreError(str(error)) from error
        self._link, self._stream = link, PacedStream.wrap(link)
        self._nursery.start_soon(link.run)
        return link
