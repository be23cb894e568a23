"""An agent's cache of objects, for its processors, when the object storage server is on another host.

    object cache (rest for one, no restarts)
    ├── store       the same as the server's, but it drops its oldest objects instead of spilling them
    ├── fetcher     brings missing objects from the server, each once however many wait for it
    ├── uploader    sends what processors have written to the server
    └── local       Unix socket listener, one session per processor

A processor talks to it as it would to the server on its own host: it gets files. What it writes is with the server
before it is told that it is stored, so that losing the cache loses nothing.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from attrs import field, frozen

from scaler_protocol import Role
from scaler_protocol import messages as m
from scaler_trio.actors import ChildSpec, RestartPolicy, Strategy, Supervisor, open_actor_tree
from scaler_trio.net import Address
from scaler_trio.objects.acceptor import Acceptor, Sessions
from scaler_trio.objects.caching import CachingSession, Fetcher, Uploader
from scaler_trio.objects.core.index import ObjectIndex
from scaler_trio.objects.core.room import RoomLimits
from scaler_trio.objects.local import LocalListener, listen_locally
from scaler_trio.objects.segments import MemoryFiles, memory_limit, raise_descriptor_limit
from scaler_trio.objects.store import Store
from scaler_trio.objects.upstream import Upstream

log = logging.getLogger(__name__)

_ADVICE: Final = "let the worker run fewer tasks at a time, or raise memory_bytes of its object cache"


@frozen
class ObjectCacheSettings:
    """What an agent's cache is told."""

    #: The object storage server's.
    address: Address
    #: Memory for objects; None: 30 % of the machine's.
    memory_bytes: int | None = None
    token: bytes | None = field(default=None, repr=False)


@contextlib.asynccontextmanager
async def open_object_cache(settings: ObjectCacheSettings) -> AsyncIterator[str]:
    """Run a cache around a block; the value is the address that processors give to ``ObjectAccess``.

    The server is connected to when first needed, and again after its connection broke.

    Raises:
        OSError: the local socket cannot be made.
        Exception: the failure of the store.

    Cancellation: as leaving the block: processors are told, connections close, memory is given back.
    """
    local = listen_locally("c-")
    try:
        async with open_actor_tree(lambda: _Root(local, settings), name="object cache"):
            yield f"unix:{local.path}"
    finally:
        local.close()


class _Root(Supervisor):
    def __init__(self, local: LocalListener, settings: ObjectCacheSettings) -> None:
        super().__init__(strategy=Strategy.REST_FOR_ONE, restarts=RestartPolicy(max_restarts=0))
        self._local = local
        self._settings = settings

    def children(self) -> Sequence[ChildSpec[Any]]:
        settings = self._settings
        room_limits = RoomLimits(
            memory_bytes=memory_limit(settings.memory_bytes),
            disk_bytes=0,
            segments=raise_descriptor_limit(),
            drops=True,
            advice=_ADVICE,
        )
        hello = m.ObjectServer(self._local.path, room_limits.memory_bytes)
        sessions = Sessions(Role.WORKER, lambda: self.ref_of("store"), None, hello, settings.token)

        def upstream() -> Upstream:
            return Upstream(settings.address, settings.token)

        def make_session(*arguments: Any, **keywords: Any) -> CachingSession:
            return CachingSession(
                *arguments, **keywords, fetcher=self.ref_of("fetcher"), uploader=self.ref_of("uploader")
            )

        return [
            ChildSpec("store", lambda: Store(ObjectIndex(room_limits), MemoryFiles(), None, None)),
            ChildSpec("fetcher", lambda: Fetcher(upstream(), self.ref_of("store"))),
            ChildSpec("uploader", lambda: Uploader(upstream())),
            ChildSpec("local", lambda: Acceptor(self._local.listener, sessions, make_session)),
        ]
