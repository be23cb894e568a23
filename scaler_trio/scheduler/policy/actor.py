"""The actor that asks the policy what managers should run, and has the dispatcher carry it out."""

import logging
import time
from collections.abc import Callable
from typing import Final, Never

import trio

from scaler_trio.actors import Actor, Mailbox
from scaler_trio.scheduler.core.core import Decided
from scaler_trio.scheduler.dispatcher import Dispatcher
from scaler_trio.scheduler.policy.core.view import Desired, Policy, View

EVERY_S: Final = 0.1
"""How often it looks, where that is cheap: work that waits for a first worker waits this long as well …"""

SHARE: Final = 20
"""… and otherwise as seldom as makes it a twentieth of the time that it takes."""

log = logging.getLogger("scaler_trio.scheduler.policy")


class PolicyActor(Actor[Never]):
    """Looks at the cluster at intervals, as long as a worker manager is connected.

    A policy of the user's own that raises changes nothing; the error is logged once for each text.
    """

    def __init__(self, policy: Policy, dispatcher: Callable[[], Dispatcher]) -> None:
        self._policy = policy
        self._dispatcher = dispatcher
        self._asked: dict[str, int] = {}  # manager -> units, as last logged
        self._error = ""

    async def run(self, mailbox: Mailbox[Never]) -> None:
        with mailbox.until_closed():
            while True:
                started = time.perf_counter()
                self._look(self._dispatcher())
                await trio.sleep(max(EVERY_S, SHARE * (time.perf_counter() - started)))

    def _look(self, dispatcher: Dispatcher) -> None:
        core = dispatcher.core
        if not core.state.managers:
            self._asked.clear()
            return
        view = core.view(trio.current_time())
        try:
            decided = self._policy.decide(view)
        except Exception as error:
            self._failed(error)
            return
        dispatcher.ref.tell_nowait(Decided(decided))
        self._tell(view, decided)

    def _failed(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if text != self._error:
            log.error("the policy failed, so what was asked for last stays: %s", text, exc_info=error)
        self._error = text

    def _tell(self, view: View, decided: list[Desired]) -> None:
        """A line for each change."""
        there = {manager.name: manager for manager in view.managers}
        for desired in decided:
            manager = there.get(desired.manager)
            if manager is None or self._asked.get(desired.manager, 0) == desired.units:
                continue
            self._asked[desired.manager] = desired.units
            log.info(
                "worker manager %s: %d units wanted; %d are connected, %d starting: %s",
                desired.manager,
                desired.units,
                len(manager.serving),
                manager.launching,
                desired.reason or "as it is",
            )
