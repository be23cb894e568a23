"""A worker manager: a Trio shell around the reconciler, with a connection to the scheduler and a provisioner."""

import logging
import math
import os
from functools import partial
from typing import Final

import trio

from scaler_protocol import ErrorCode, Identity, Message, Role, limits
from scaler_protocol import messages as m
from scaler_trio.managers.core import events as e
from scaler_trio.managers.core.reconciler import Reconciler
from scaler_trio.managers.errors import ManagerFailed
from scaler_trio.managers.provisioner import Provisioner
from scaler_trio.managers.settings import ManagerSettings
from scaler_trio.net import Address, ConnectFailed, ConnectionClosed, Link, PeerRefused, dial
from scaler_trio.serialization.identity import python_identity
from scaler_trio.words import counted

DIAL_S: Final = 5.0
FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 2.0
"""Between attempts to find the scheduler, doubling; without end, as it may be started later."""

SAME: Final = 0.1
"""A start-up time that changes by less than this part is no news."""

FINAL: Final = frozenset({ErrorCode.AUTHENTICATION, ErrorCode.VERSION, ErrorCode.BAD_MAGIC})
"""Refusals that trying again does not change: wrong token or version, or no scheduler at all. (An id that is taken may
be that of a predecessor whose end the scheduler has not noticed yet.)"""

log = logging.getLogger("scaler_trio.manager")


class WorkerManager:
    """One manager. ``run`` it once."""

    def __init__(self, settings: ManagerSettings, provisioner: Provisioner) -> None:
        self._settings = settings
        self._provisioner = provisioner
        self._session = os.urandom(16)
        self._core = Reconciler(
            settings.manager,
            settings.limit,
            settings.limit if settings.is_fixed else None,
            settings.pace,
            trio.current_time(),
        )
        self._link: Link | None = None
        self._status: m.ManagerStatus | None = None  # as last sent
        self._reason = ""
        self._is_shut_down = False
        self._alarm = trio.CancelScope()

    async def run(self) -> bool:
        """Provide units until the cluster is shut down, which it answers with True, or a cancellation.

        Raises:
            ManagerFailed: the scheduler refuses it for good; the text says why.

        Cancellation: ends all units and waits until they are gone, as long as the provisioner allows itself.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(self._provisioner.run, self._apply))
                nursery.start_soon(self._keep_time)
                await self._keep_connected()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):  # bounded by the provisioner
                await self._provisioner.close()
        return self._is_shut_down

    # ------------------------------------------------------------------------------------------------- event, effect

    def _apply(self, event: e.Event) -> None:
        for effect in self._core.handle(event, trio.current_time()):
            match effect:
                case e.Start():
                    self._provisioner.start(effect.unit)
                case e.End():
                    self._provisioner.end(effect.unit)
                case e.Say():
                    log.log(logging.WARNING if effect.is_warning else logging.INFO, "%s", effect.text)
        self._report()
        due = self._core.next_deadline()
        self._alarm.deadline = math.inf if due is None else due

    async def _keep_time(self) -> None:
        while True:
            with trio.CancelScope() as self._alarm:
                due = self._core.next_deadline()
                self._alarm.deadline = math.inf if due is None else due
                await trio.sleep_forever()
            self._apply(e.Tick())

    def _report(self) -> None:
        """Tell the scheduler what changed."""
        if self._link is None or self._link.closed is not None:
            return
        settings, counts = self._settings, self._core.counts
        start_s = self._core.start_s
        if self._status is not None and abs(start_s - self._status.start_s) < SAME * self._status.start_s:
            start_s = self._status.start_s
        status = m.ManagerStatus(
            settings.manager,
            self._provisioner.kind,
            0 if settings.is_fixed else settings.limit,
            settings.slots,
            start_s,
            settings.capabilities,
            counts.launching,
            limits.clip(self._core.problem, limits.TEXT_BYTES),
            counts.wanted,
        )
        if status != self._status:
            self._status = status
            self._link.send(status)

    # ------------------------------------------------------------------------------------------------- the scheduler

    async def _keep_connected(self) -> None:
        settings = self._settings
        address = Address.parse(settings.scheduler_address)
        wait_s, said = FIRST_WAIT_S, ""
        while not self._is_shut_down:
            name = f"{settings.manager} at {os.uname().nodename}"
            identity = Identity(
                Role.MANAGER, self._session, limits.clip(name, limits.NAME_BYTES), os.urandom(32), 0, python_identity()
            )
            try:
                link = await dial(address, identity, token=settings.token, expect=Role.SCHEDULER, timeout_s=DIAL_S)
            except (ConnectFailed, PeerRefused) as error:
                if isinstance(error, PeerRefused) and error.code in FINAL:
                    raise ManagerFailed(f"worker manager {settings.manager!r}: {error}") from error
                if str(error) != said:
                    log.info("waiting for the scheduler: %s", error)
                    said = str(error)
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            log.info("connected to the scheduler at %s", address)
            said, began = "", trio.current_time()
            await self._serve(link)
            if trio.current_time() - began > LONGEST_WAIT_S:
                wait_s = FIRST_WAIT_S
            await trio.sleep(wait_s)  # a scheduler that accepts and closes at once is not hammered either
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _serve(self, link: Link) -> None:
        """One connection, until it ends."""
        self._link, self._status = link, None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                self._apply(e.Linked())
                try:
                    while not self._is_shut_down:
                        for message in await link.receive():
                            self._hear(message)
                except ConnectionClosed as closed:
                    log.log(
                        logging.WARNING if closed.code is ErrorCode.NOT_YOURS else logging.INFO,
                        "the scheduler is away: %s",
                        closed,
                    )
                nursery.cancel_scope.cancel()
        finally:
            if link.closed is None:
                link.send(m.Goodbye("the worker manager ends"))
            link.close("the worker manager is done with it")
            self._link = None
            self._apply(e.Unlinked())

    def _hear(self, message: Message) -> None:
        match message:
            case m.DesiredUnits():
                if message.reason and message.reason != self._reason:
                    log.info("%s wanted: %s", counted(message.units, "unit"), message.reason)
                self._reason = message.reason
                self._apply(e.Wanted(message.units, message.drained, message.grace_s))
            case m.Units():
                self._apply(e.Seen(message.connected, message.gone))
            case m.Shutdown():
                log.info("the cluster is shut down: %s", message.reason)
                self._is_shut_down = True
