"""The background thread of a client: it runs Trio, connects, reads, keeps time, and connects again.

It owns the link; the state is the core's, which ``LinkOwner`` guards. Nothing of the user's runs here.
"""

import logging
import math
import os
import platform
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio
from attrs import frozen

from scaler_protocol import ErrorCode, Identity, Message, Role
from scaler_trio.errors import AuthenticationFailed, ConnectionFailed, ConnectionLost, ScalerError
from scaler_trio.net import Address, ConnectFailed, ConnectionClosed, Link, PeerRefused, dial
from scaler_trio.serialization.identity import python_identity

log = logging.getLogger("scaler_trio")

BACK_OFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between attempts to connect again; the last one repeats, so that all are back within seconds."""

TOLD: Final = 3
"""The attempt at which the user is told: a connection that is back at once is nothing to tell of, nor is the end."""

ATTEMPT_S: Final = 5.0
"""One attempt to connect again; a scheduler that takes longer for a handshake is as good as absent."""

READS: Final = 16
"""Reads after which other tasks of the loop get a turn, although more is there to read."""


@frozen
class Target:
    """Where a client connects to, and as whom."""

    address: Address
    find_token: Callable[[], bytes | None]  # asked at each attempt: a local service leaves it when it starts
    session: bytes
    name: str
    timeout_s: float  # for the first connection
    reconnect_timeout_s: float


class LinkOwner(Protocol):
    """What the thread serves; each is called in the thread, none waits for anything but a short lock."""

    def connected(self, link: Link, epoch: int) -> None: ...
    def received(self, messages: Sequence[Message]) -> None: ...
    def tick(self) -> None: ...
    def arm(self) -> None: ...
    def disconnected(self, reason: str) -> None: ...
    def stopping(self) -> None: ...
    def failed(self, error: ScalerError) -> None: ...


class LinkThread:
    """The loop of one client; ``run`` is the thread's target."""

    def __init__(self, owner: LinkOwner, target: Target) -> None:
        self._owner = owner
        self._target = target
        self._epoch = 0
        self._shown_token: bytes | None = None  # at the last attempt
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None
        self._stopping = False
        self.ticks_at = math.inf  # on the owner's clock
        self._timer = trio.CancelScope()  # ends at that time

    def run(self) -> None:
        """Connect and serve until ``stop``, or until the scheduler stays away too long."""
        trio.run(self._main)

    def stop(self) -> None:
        """End the loop soon; any thread, any number of times."""
        self._stopping = True
        self._soon(self._cancel)

    def forget(self) -> None:
        """In a forked child: the loop is the parent's."""
        self._token = None

    def wake(self) -> None:
        """Call ``tick`` soon, from any thread; several calls may become one."""
        self._soon(self._owner.tick)

    def rearm(self) -> None:
        """The deadline may be nearer than ``ticks_at`` now; any thread."""
        self._soon(self._owner.arm)

    def set_timer(self, deadline: float | None) -> None:
        """The deadline is this now; only within the loop."""
        self.ticks_at = math.inf if deadline is None else deadline
        self._timer.deadline = trio.current_time() + self.ticks_at - time.monotonic()

    def _cancel(self) -> None:
        self._owner.stopping()
        if self._scope is not None:
            self._scope.cancel()

    def _soon(self, action: object) -> None:
        token = self._token
        if token is not None:
            try:
                token.run_sync_soon(action, idempotent=True)  # type: ignore[arg-type]
            except trio.RunFinishedError:
                pass  # the loop has ended, and with it whatever this was for

    # ----------------------------------------------------------------------------------------------------- the loop

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._scope:
            if self._stopping:
                return
            try:
                link = await self._connect_first()
                while True:
                    reason = await self._serve(link)
                    link = await self._connect_again(reason)
            except ScalerError as error:
                self._owner.failed(error)

    async def _connect_first(self) -> Link:
        """Try until the time is over: a scheduler that is just being started is no error."""
        timeout_s = self._target.timeout_s
        deadline = trio.current_time() + timeout_s
        attempt = 0
        while True:
            try:
                return await self._dial(max(0.1, deadline - trio.current_time()))
            except (ConnectFailed, PeerRefused) as error:
                if isinstance(error, PeerRefused) and self._is_final(error):
                    raise _refusal(error) from None  # the text says it all
                pause_s = BACK_OFF_S[min(attempt, 2)]
                attempt += 1
                if trio.current_time() + pause_s >= deadline:
                    raise ConnectionFailed(f"{error} (tried for {timeout_s:g} s)") from None
                await trio.sleep(pause_s)

    async def _connect_again(self, reason: str) -> Link:
        lost_at = trio.current_time()
        last: Exception | None = None
        attempt = 0
        timeout_s = self._target.reconnect_timeout_s
        while (left_s := lost_at + timeout_s - trio.current_time()) > 0:
            await trio.sleep(min(left_s, BACK_OFF_S[min(attempt, len(BACK_OFF_S) - 1)]))
            attempt += 1
            if attempt == TOLD:
                log.warning(
                    "the connection to %s was lost (%s); trying for %g s", self._target.address, reason, timeout_s
                )
            left_s = lost_at + timeout_s - trio.current_time()
            try:
                return await self._dial(max(0.1, min(ATTEMPT_S, left_s)))
            except ConnectFailed as error:
                last = error
            except PeerRefused as error:
                if error.code is ErrorCode.AUTHENTICATION and not self._has_new_token(error):
                    raise _refusal(error) from None
                last = error
        raise ConnectionLost(
            f"the scheduler at {self._target.address} is gone and did not come back within {timeout_s:g} s: {reason}"
            + (f"; the last attempt to connect: {last}" if last else "")
        )

    async def _dial(self, timeout_s: float) -> Link:
        target = self._target
        identity = Identity(
            role=Role.CLIENT,
            session=target.session,
            name=target.name,
            nonce=secrets.token_bytes(32),
            epoch=self._epoch,
            python=python_identity(),
        )
        self._shown_token = token = target.find_token()
        link = await dial(target.address, identity, token=token, expect=Role.SCHEDULER, timeout_s=timeout_s)
        link.judges_silence = False  # user code may hold the GIL for minutes; the connection tells of a dead peer
        return link

    def _is_final(self, error: PeerRefused) -> bool:
        """Whether a first connection is of no use: somebody has answered, and means it."""
        return error.code is not ErrorCode.UNSPECIFIED and not self._has_new_token(error)

    def _has_new_token(self, error: PeerRefused) -> bool:
        """Whether it is worth trying again: a service that starts listens a moment before it leaves its token."""
        return error.code is ErrorCode.AUTHENTICATION and self._target.find_token() != self._shown_token

    async def _serve(self, link: Link) -> str:
        """Use a connection until it ends; why it did."""
        peer = link.connection.peer
        epoch = peer.epoch if peer is not None else 0
        self._epoch = max(self._epoch, epoch)
        self._owner.connected(link, epoch)
        reason = "closed by this side"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                nursery.start_soon(self._keep_time)
                reason = await self._read(link)
                nursery.cancel_scope.cancel()
        finally:
            link.close(reason)
            self._owner.disconnected(reason)
        return reason

    async def _read(self, link: Link) -> str:
        try:
            while True:
                for _ in range(READS):
                    self._owner.received(await link.receive())
                await trio.lowlevel.checkpoint()
        except ConnectionClosed as error:
            return str(error)

    async def _keep_time(self) -> None:
        """Call ``tick`` at the core's deadlines."""
        while True:
            with trio.CancelScope() as self._timer:
                self._owner.arm()
                await trio.sleep_forever()
            self._owner.tick()


def client_name() -> str:
    """What the scheduler shows of this client."""
    return f"client {os.getpid()} on {platform.node()}"[:200]


def _refusal(error: PeerRefused) -> ConnectionFailed:
    if error.code is ErrorCode.AUTHENTICATION:
        return AuthenticationFailed(str(error))
    return ConnectionFailed(str(error))
