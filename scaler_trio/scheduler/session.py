"""One connected peer: reads its messages and brings them to the dispatcher, in the step that read them."""

import time
from collections.abc import Callable, Sequence
from typing import Never

import trio

from scaler_protocol import ErrorCode, Message, Role
from scaler_protocol import messages as m
from scaler_trio.actors import Actor, ActorStopped, Mailbox
from scaler_trio.net import ConnectionClosed, Link
from scaler_trio.scheduler.core.events import (
    ClientConnected,
    Event,
    ManagerConnected,
    MonitorConnected,
    Received,
    WorkerConnected,
)
from scaler_trio.scheduler.dispatcher import Dispatcher

CONNECTED: dict[Role | None, Callable[[bytes, str, str], Event]] = {
    Role.CLIENT: ClientConnected,
    Role.WORKER: WorkerConnected,
    Role.MANAGER: ManagerConnected,
    Role.MONITOR: MonitorConnected,
}

MONITOR_EVERY_S = 0.05
"""A monitor is not read again before this long after it was answered …"""

MONITOR_SHARE = 50
"""… nor before so many times the time that the answer took: ten of them leave the scheduler most of its time."""


class Session(Actor[Never]):
    """A temporary child of the listener: its end is the end of one connection and of nothing else."""

    def __init__(self, link: Link, dispatcher: Dispatcher) -> None:
        self._link = link
        self._dispatcher = dispatcher

    async def run(self, mailbox: Mailbox[Never]) -> None:
        link, dispatcher = self._link, self._dispatcher
        peer = link.connection.peer
        assert isinstance(peer, m.Hello)
        session = peer.session
        before = dispatcher.attach(session, link)
        if before is not None:
            before.close("a newer connection of the same process took over", ErrorCode.SUPERSEDED, by_us=True)
        role = link.connection.peer_role
        client = role is Role.CLIENT
        # A client may hold its interpreter for a minute; TCP says when it is gone.
        link.judges_silence = not client
        connected = CONNECTED[role]
        on_purpose = False
        try:
            dispatcher.ref.tell_nowait(connected(session, peer.name, peer.python))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                with mailbox.until_closed():
                    on_purpose = await self._read(session)
                nursery.cancel_scope.cancel()
        except ActorStopped:
            pass  # the dispatcher is gone; so are we
        finally:
            link.close("the session ended")
            try:
                dispatcher.detach(session, link, on_purpose=on_purpose)
            except ActorStopped:
                pass

    async def _read(self, session: bytes) -> bool:
        """Until the connection ends; whether the peer had said goodbye."""
        link, tell = self._link, self._dispatcher.ref.tell_nowait
        while True:
            try:
                messages = await link.receive()
            except ConnectionClosed:
                return False
            is_last = type(messages[-1]) is m.Goodbye
            if is_last:
                messages = messages[:-1]
            if link.connection.peer_role is Role.MONITOR:
                await self._answer(session, messages)
            elif messages:
                tell(Received(session, messages))
            if is_last:
                return True

    async def _answer(self, session: bytes, questions: Sequence[Message]) -> None:
        """One question of a monitor after the other, each with a pause behind it."""
        for question in questions:
            if self._link.closed is not None:
                return
            started = time.perf_counter()
            self._dispatcher.ref.tell_nowait(Received(session, (question,)))
            took_s = time.perf_counter() - started
            await trio.sleep(max(MONITOR_EVERY_S, MONITOR_SHARE * took_s))

    async def stopping(self) -> None:
        if self._link.closed is None:
            self._link.close("the scheduler is stopping", ErrorCode.SHUTTING_DOWN, by_us=True)
