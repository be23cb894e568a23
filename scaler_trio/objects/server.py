"""The object storage server: its settings, its actor tree, and the one function that runs it.

    objects (rest for one, no restarts)
    ├── spiller     copies segments to disk, in a thread
    ├── store       owns the index, the segments and the files
    ├── remote      TCP listener, one session per peer
    └── local       Unix socket listener, one session per peer

A session that fails closes one connection. A store that fails has lost what it stored: the server ends, loudly, and
whoever started it starts it anew; clients then put again what they still hold.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from scaler_protocol import Role
from scaler_protocol import messages as m
from scaler_trio.actors import ChildSpec, EndByOrder, RestartPolicy, Strategy, Supervisor, open_actor_tree
from scaler_trio.net import Address, Listener, listen
from scaler_trio.objects.acceptor import Acceptor, Sessions
from scaler_trio.objects.core.index import ObjectIndex
from scaler_trio.objects.core.room import RoomLimits, megabytes
from scaler_trio.objects.local import LocalListener, listen_locally
from scaler_trio.objects.segments import MemoryFiles, memory_limit, raise_descriptor_limit
from scaler_trio.objects.session import LocalSession
from scaler_trio.objects.spill import SpillFiles
from scaler_trio.objects.store import Spiller, Store
from scaler_trio.objects.streaming import StreamSession

log = logging.getLogger(__name__)


@frozen
class ObjectServerSettings:
    """What an object storage server is told."""

    #: Where to listen; port 0: any free one.
    address: Address
    #: Memory for objects; None: 30 % of the machine's.
    memory_bytes: int | None = None
    #: Where objects go that do not fit into memory; None: below ``/var/tmp``.
    spill_directory: Path | None = None
    #: How much of the disk they may take; None: 80 % of what is free at the start, 0: nothing is spilled.
    spill_bytes: int | None = None
    #: The shared secret; None: whoever can connect is served.
    token: bytes | None = field(default=None, repr=False)


async def serve_objects(
    settings: ObjectServerSettings,
    *,
    listener: Listener | None = None,
    ready: Callable[[Address], None] | None = None,
) -> bool:
    """Serve until cancelled, or until the scheduler says that the cluster is shut down; True then.

    ``ready`` gets the real address once peers can connect, before any is answered.

    ``listener`` are sockets that are bound already, in place of ``settings.address``.

    Raises:
        ConnectFailed: the address cannot be listened at.
        OSError: the directory for spilled objects cannot be made.
        Exception: the failure of the store; everything stored is lost.

    Cancellation: peers are told, connections close, memory and files are given back.
    """
    with contextlib.ExitStack() as stack:
        listener = listener or listen(settings.address)
        stack.callback(listener.close)
        spill = SpillFiles(settings.spill_directory)
        stack.callback(spill.close)
        local = _try_listen_locally()
        if local is not None:
            stack.callback(local.close)
        room_limits = _room_limits(settings, spill)
        log.info(
            "objects at %s: memory up to %s, disk up to %s in %s",
            listener.address,
            megabytes(room_limits.memory_bytes),
            megabytes(room_limits.disk_bytes),
            spill.directory,
        )
        if ready is not None:
            ready(listener.address)  # before anybody is answered: a token that it leaves must be there by then
        end = EndByOrder()
        async with open_actor_tree(
            lambda: _Root(listener, local, spill, room_limits, settings.token, end.order), name="objects"
        ) as tree:
            try:
                end.of(tree)
                await tree.wait_stopped()
            finally:
                spill.stop_writing()
        return end.is_ordered


class _Root(Supervisor):
    def __init__(
        self,
        remote: Listener,
        local: LocalListener | None,
        spill: SpillFiles,
        room_limits: RoomLimits,
        token: bytes | None,
        shut_down: Callable[[], None],
    ) -> None:
        super().__init__(strategy=Strategy.REST_FOR_ONE, restarts=RestartPolicy(max_restarts=0))
        self._remote = remote
        self._local = local
        self._spill = spill
        self._room_limits = room_limits
        self._token = token
        self._shut_down = shut_down

    def children(self) -> Sequence[ChildSpec[Any]]:
        path = "" if self._local is None else self._local.path
        hello = m.ObjectServer(path, self._room_limits.memory_bytes)
        sessions = Sessions(
            Role.OBJECTS, lambda: self.ref_of("store"), self._spill, hello, self._token, self._shut_down
        )
        specs: list[ChildSpec[Any]] = [
            ChildSpec("spiller", lambda: Spiller(self._spill)),
            ChildSpec(
                "store",
                lambda: Store(ObjectIndex(self._room_limits), MemoryFiles(), self._spill, self.ref_of("spiller")),
            ),
            ChildSpec("remote", lambda: Acceptor(self._remote, sessions, StreamSession)),
        ]
        local = self._local
        if local is not None:
            specs.append(ChildSpec("local", lambda: Acceptor(local.listener, sessions, LocalSession)))
        return specs


def _try_listen_locally() -> LocalListener | None:
    try:
        return listen_locally("o-")
    except OSError as error:
        log.warning("no shared memory, everything goes over TCP: %s", error)
        return None


def _room_limits(settings: ObjectServerSettings, spill: SpillFiles) -> RoomLimits:
    disk_bytes = spill.free_bytes()
    if settings.spill_bytes is not None:
        disk_bytes = min(disk_bytes, settings.spill_bytes)
    return RoomLimits(
        memory_bytes=memory_limit(settings.memory_bytes),
        disk_bytes=disk_bytes,
        segments=raise_descriptor_limit(),
        disk_name=f"disk ({spill.directory.parent})",
    )
