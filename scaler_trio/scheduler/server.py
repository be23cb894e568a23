"""The scheduler's actor tree, and its entry point.

SchedulerRoot (rest_for_one, no restarts: a dispatcher that fails ends the process)
├── objects      ObjectKeeper: tells the object storage server what is referred to (if there is one)
├── dispatcher   owns SchedulerCore
├── policy       PolicyActor: decides how many units worker managers should run
└── listener     accepts; one Session child per peer, temporary
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Never

import trio

from scaler_protocol import Identity, Role, Timing, limits
from scaler_trio.actors import (
    Actor,
    ActorEvent,
    ActorRef,
    ActorStopped,
    ChildKind,
    ChildSpec,
    EndByOrder,
    Mailbox,
    RestartPolicy,
    Strategy,
    Supervisor,
    open_actor_tree,
)
from scaler_trio.net import Address, Link, Listener, listen
from scaler_trio.scheduler.core.core import SchedulerCore
from scaler_trio.scheduler.core.events import StorageSeen
from scaler_trio.scheduler.core.records import Storage
from scaler_trio.scheduler.dispatcher import Dispatcher
from scaler_trio.scheduler.object_keeper import ObjectKeeper
from scaler_trio.scheduler.policy.actor import PolicyActor
from scaler_trio.scheduler.session import Session
from scaler_trio.scheduler.settings import SchedulerSettings

KEEPER_MAILBOX = 65_536
"""Changes that may wait for the keeper's task: it drains them within one task step."""


class SessionListener(Supervisor):
    """Accepts peers and keeps a session for each."""

    def __init__(
        self,
        listener: Listener,
        dispatcher: Callable[[], Dispatcher],
        settings: SchedulerSettings,
        identity: Callable[[], Identity],
        for_monitors: Listener | None,
    ) -> None:
        super().__init__(max_children=limits.PEERS)
        self._listener = listener
        self._for_monitors = for_monitors
        self._dispatcher = dispatcher
        self._settings = settings
        self._identity = identity
        self._count = 0

    def children(self) -> Sequence[ChildSpec[Any]]:
        return [ChildSpec("door", lambda: _Door(self), stop_timeout_s=1.0)]

    async def admit(self, link: Link) -> None:
        """A peer whose handshake is done: a session of its own until it ends."""
        self._count += 1
        role = link.connection.peer_role
        assert role is not None
        session = Session(link, self._dispatcher())
        spec = ChildSpec(f"{role.name.lower()}-{self._count}", lambda: session, ChildKind.TEMPORARY, stop_timeout_s=1.0)
        reference: ActorRef[Never] = await self.start_child(spec)
        await reference.wait_stopped()

    async def serve(self) -> None:
        """Accept until cancelled."""
        settings = self._settings
        timing = Timing(settings.heartbeat_every_s, settings.worker_timeout_s)
        async with trio.open_nursery() as nursery:
            for listener, role in ((self._listener, None), (self._for_monitors, Role.MONITOR)):
                if listener is not None:
                    serve = partial(listener.serve, token=settings.token, timing=timing, expect=role, nursery=nursery)
                    nursery.start_soon(serve, self.admit, self._identity)


class _Door(Actor[Never]):
    """The accepting task, as an actor of its own."""

    def __init__(self, sessions: SessionListener) -> None:
        self._sessions = sessions

    async def run(self, mailbox: Mailbox[Never]) -> None:
        with mailbox.until_closed():
            await self._sessions.serve()


class SchedulerRoot(Supervisor):
    """The whole scheduler."""

    def __init__(
        self,
        settings: SchedulerSettings,
        listener: Listener,
        session: bytes,
        epoch: int,
        on_event: Any,
        shut_down: Callable[[], None],
        for_monitors: Listener | None = None,
    ) -> None:
        super().__init__(strategy=Strategy.REST_FOR_ONE, restarts=RestartPolicy(max_restarts=0), on_event=on_event)
        self._settings = settings
        self._listener = listener
        self._session = session
        self._epoch = epoch
        self._shut_down = shut_down
        self._for_monitors = for_monitors
        self.dispatcher: Dispatcher | None = None

    def identity(self) -> Identity:
        """Who we are, with a fresh nonce."""
        nonce = os.urandom(limits.NONCE_BYTES)
        return Identity(Role.SCHEDULER, self._session, self._settings.name, nonce, epoch=self._epoch)

    def children(self) -> Sequence[ChildSpec[Any]]:
        settings = self._settings
        specs: list[ChildSpec[Any]] = []
        if settings.object_storage_address is not None:
            specs.append(ChildSpec("objects", self._make_keeper, mailbox_capacity=KEEPER_MAILBOX))
        specs.append(ChildSpec("dispatcher", self._make_dispatcher))
        specs.append(ChildSpec("policy", lambda: PolicyActor(settings.policy, self._current)))
        specs.append(
            ChildSpec(
                "listener",
                lambda: SessionListener(self._listener, self._current, settings, self.identity, self._for_monitors),
                stop_timeout_s=10.0,
            )
        )
        return specs

    def _make_keeper(self) -> ObjectKeeper:
        settings = self._settings
        assert settings.object_storage_address is not None
        return ObjectKeeper(
            settings.object_storage_address, self.identity, settings.token, self._referred, self._saw_storage
        )

    def _saw_storage(self, storage: Storage) -> None:
        if self.dispatcher is not None:
            try:
                self.dispatcher.ref.tell_nowait(StorageSeen(storage))
            except ActorStopped:
                pass  # nobody will ask any more

    def _make_dispatcher(self) -> Dispatcher:
        settings = self._settings
        advertised = settings.advertised_object_storage_address or settings.object_storage_address
        core = SchedulerCore(
            epoch=self._epoch,
            now=trio.current_time(),
            object_address=str(advertised or ""),
            tuning=settings.tuning,
            protected=settings.protected,
            address=str(self._address()),
            policy=settings.policy_in_words,
        )
        keeper = self.ref_of("objects") if settings.object_storage_address is not None else None
        self.dispatcher = Dispatcher(core, keeper, self._shut_down)
        return self.dispatcher

    def _address(self) -> Address:
        """Where peers find it."""
        bound, advertised = self._listener.address, self._settings.advertised_address
        return bound if advertised is None else advertised.with_port_of(bound)

    def _current(self) -> Dispatcher:
        assert self.dispatcher is not None
        return self.dispatcher

    def _referred(self) -> list[bytes]:
        return list(self.dispatcher.core.state.references.counts) if self.dispatcher is not None else []


async def serve_scheduler(
    settings: SchedulerSettings,
    *,
    listener: Listener | None = None,
    ready: Callable[[Address], None] | None = None,
    on_event: Callable[[ActorEvent], None] | None = None,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> bool:
    """Run a scheduler until cancelled, or shut down by a client; True then, and its peers have been told to end too.

    Args:
        settings: what it is told.
        listener: sockets that are bound already, in place of ``settings.address``.
        ready: called with the real address once peers can connect, and before the first of them is answered.
        on_event: called with every start, end and failure within the tree, for logging.
        task_status: given the real address, as ``ready`` is.

    Raises:
        ConnectFailed: it cannot listen at the address.

    Cancellation: sessions are closed, each peer is told; bounded by the tree's stop ladder.
    """
    listener = listener or listen(settings.address)
    for_monitors = None
    end = EndByOrder()
    try:
        if settings.monitor_address is not None:
            for_monitors = listen(settings.monitor_address)
        session = os.urandom(16)
        epoch = int(time.time())  # later schedulers have greater epochs; wall time serves for nothing else
        if ready is not None:
            ready(listener.address)  # before anybody is answered: a token that it leaves must be there by then
        async with open_actor_tree(
            lambda: SchedulerRoot(settings, listener, session, epoch, on_event, end.order, for_monitors),
            name="scheduler",
            stop_timeout_s=15.0,
        ) as tree:
            task_status.started(listener.address)
            try:
                end.of(tree)
                await tree.wait_stopped()
            except trio.Cancelled:
                tree.stop()
                raise
    finally:
        listener.close()
        if for_monitors is not None:
            for_monitors.close()
    return end.is_ordered
