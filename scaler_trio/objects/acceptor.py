"""Accepting peers: an actor per listener, and what their sessions have in common."""

import itertools
import os
from collections.abc import Callable
from typing import Final, Never, Protocol

import trio

from scaler_protocol import ErrorCode, Identity, Role, limits
from scaler_protocol import messages as m
from scaler_trio.actors import Actor, ActorRef, Mailbox
from scaler_trio.net import Link, Listener
from scaler_trio.objects.core.events import Connection
from scaler_trio.objects.session import Session
from scaler_trio.objects.spill import SpillStore
from scaler_trio.objects.store import Told

_NAME: Final = "object storage"


class SessionFactory(Protocol):
    """How a listener makes the session of a peer; the session classes themselves will do."""

    def __call__(
        self,
        connection: Connection,
        link: Link,
        store: ActorRef[Told],
        spill: SpillStore | None,
        hello: m.ObjectServer,
        shut_down: Callable[[], None],
    ) -> Session: ...


class Sessions:
    """What the sessions of all listeners share: their numbers, their limit, and what they say first."""

    def __init__(
        self,
        role: Role,
        store: Callable[[], ActorRef[Told]],
        spill: SpillStore | None,
        hello: m.ObjectServer,
        token: bytes | None,
        shut_down: Callable[[], None] = lambda: None,
    ) -> None:
        self.token = token
        self._role = role
        self._store = store
        self._spill = spill
        self._hello = hello
        self._shut_down = shut_down
        self._session = os.urandom(16)
        self._numbers = itertools.count(1)
        self._open = 0

    def identity(self) -> Identity:
        """What we say of ourselves, with a fresh nonce; the same session on all our sockets."""
        return Identity(self._role, self._session, _NAME, os.urandom(limits.NONCE_BYTES))

    async def serve(self, link: Link, make_session: SessionFactory) -> None:
        """Run the session of one peer until its connection ends."""
        if self._open >= limits.PEERS:
            link.close(f"{self._open} peers are connected, the limit", ErrorCode.LIMIT, by_us=True)
            return
        self._open += 1
        try:
            await make_session(
                next(self._numbers), link, self._store(), self._spill, self._hello, self._shut_down
            ).run()
        finally:
            self._open -= 1


class Acceptor(Actor[Never]):
    """Accepts peers on one listener; its nursery holds their sessions. The listener's sockets are not its own."""

    def __init__(self, listener: Listener, sessions: Sessions, make_session: SessionFactory) -> None:
        self._listener = listener
        self._sessions = sessions
        self._make_session = make_session

    async def run(self, mailbox: Mailbox[Never]) -> None:
        async def serve(link: Link) -> None:
            await self._sessions.serve(link, self._make_session)

        with mailbox.until_closed():
            async with trio.open_nursery() as nursery:
                await self._listener.serve(serve, self._sessions.identity, token=self._sessions.token, nursery=nursery)
