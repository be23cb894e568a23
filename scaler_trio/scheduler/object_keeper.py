"""The scheduler's line to the object storage server: which objects are referred to, and which no longer."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeAlias

import trio
from attrs import frozen

from scaler_protocol import Identity, Role
from scaler_protocol import messages as m
from scaler_protocol.limits import BATCH_ROWS
from scaler_trio.actors import Actor, Mailbox
from scaler_trio.net import Address, Link, NetError, dial
from scaler_trio.scheduler.core.records import Storage

RETRY_S = 0.2
"""Between two attempts to reach the server; it may start after us, and be restarted."""

LAST_S = 3.0
"""How long the scheduler's end waits for a server that cannot be reached, to have it end as well."""


@frozen
class KeepObjects:
    """Objects with a first reference, and objects that lost their last one."""

    adopt: tuple[bytes, ...]
    delete: tuple[bytes, ...]


@frozen
class EndStorage:
    """The cluster is shut down, and the server with it."""


KeeperMessage: TypeAlias = KeepObjects | EndStorage


class ObjectKeeper(Actor[KeeperMessage]):
    """Tells the server, now or as soon as it can be reached; on a new connection, everything that is referred to."""

    def __init__(
        self,
        address: Address,
        identity: Callable[[], Identity],
        token: bytes | None,
        referred: Callable[[], Iterable[bytes]],
        saw: Callable[[Storage], None] = lambda storage: None,
    ) -> None:
        self._address = address
        self._identity = identity
        self._token = token
        self._referred = referred
        self._saw = saw
        self._link: Link | None = None
        self._is_over = False  # the cluster is shut down …
        self._told = trio.Event()  # … of which the server has heard on a later connection
        self._undeleted: set[bytes] = set()  # while nobody listens; at most the objects that there are

    async def run(self, mailbox: Mailbox[KeeperMessage]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_connected)
            async for batch in mailbox:
                for change in batch:
                    self._apply(change)
            if self._is_over and self._link is None:
                with trio.move_on_after(LAST_S):
                    await self._told.wait()
            nursery.cancel_scope.cancel()

    def _apply(self, change: KeeperMessage) -> None:
        if isinstance(change, EndStorage):
            self._is_over = True  # for a server that cannot be reached just now as well
            if self._link is not None:
                self._link.send(m.Shutdown())
            return
        if self._link is None:
            self._undeleted.update(change.delete)
            self._undeleted.difference_update(change.adopt)
            return
        for part in _batches(change.adopt):
            self._link.send(m.AdoptObjects(part))
        for part in _batches(change.delete):
            self._link.send(m.DeleteObjects(part))

    async def _keep_connected(self) -> None:
        while True:
            try:
                link = await dial(
                    self._address, self._identity(), token=self._token, expect=Role.OBJECTS, timeout_s=5.0
                )
            except NetError:
                await trio.sleep(RETRY_S)
                continue
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(link.run)
                    for part in _batches(tuple(self._referred())):
                        link.send(m.AdoptObjects(part))
                    for part in _batches(tuple(self._undeleted)):
                        link.send(m.DeleteObjects(part))
                    self._undeleted.clear()
                    if self._is_over:
                        link.send(m.Shutdown())
                        self._told.set()
                    self._link = link
                    self._saw(Storage(is_connected=True))
                    try:
                        while True:
                            for message in await link.receive():
                                if type(message) is m.ObjectUsage:
                                    usage = (message.objects, message.memory_bytes, message.disk_bytes)
                                    self._saw(Storage(True, *usage))
                    except NetError:
                        nursery.cancel_scope.cancel()
            finally:
                self._link = None
                self._saw(Storage())
                link.close("the scheduler lets go of it")


def _batches(objects: tuple[bytes, ...]) -> Iterator[tuple[bytes, ...]]:
    iterator = iter(objects)
    while part := tuple(islice(iterator, BATCH_ROWS)):
        yield part
