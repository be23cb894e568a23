"""One connected peer: reads its messages and brings them to the dispatcher, in the step that read them."""

from collections.abc import Callable
from typing import Never

import trio

from scaler_protocol import ErrorCode, Role
from scaler_protocol import messages as m
from scaler_trio.actors import Actor, ActorStopped, Mailbox
from scaler_trio.net import ConnectionClosed, Link
from scaler_trio.scheduler.core.core import ClientConnected, Event, ManagerConnected, Received, WorkerConnected
from scaler_trio.scheduler.dispatcher import Dispatcher

CONNECTED: dict[Role | None, Callable[[bytes, str, str], Event]] = {
    Role.CLIENT: ClientConnected,
    Role.WORKER: WorkerConnected,
    Role.MANAGER: ManagerConnected,
}


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
            if type(messages[-1]) is m.Goodbye:
                if len(messages) > 1:
                    tell(Received(session, messages[:-1]))
                return True
            tell(Received(session, messages))

    async def stopping(self) -> None:
        if self._link.closed is None:
            self._link.close("the scheduler is stopping", ErrorCode.SHUTTING_DOWN, by_us=True)
