"""The actor that asks the policy what managers should run, and has the dispatcher carry it out."""

import logging
import time
from collections.abc import Callable
from typing import Final, Never

import trio

from scaler_trio.actors import Actor, Mailbox
from scaler_trio.scheduler.core.events import Decided
from scaler_trio.scheduler.dispatcher import Dispatcher
from scaler_trio.scheduler.policy.core.view import Policy, View

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
            return
        view = core.view(trio.current_time())
        try:
            decided = self._policy.decide(view)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if text != self._error:
                log.error("the policy failed, so what was asked for last stays: %s", text, exc_info=error)
            self._error = text
        else:
            dispatcher.ref.tell_nowait(Decided(decided, in_words(view)))


def in_words(view: View) -> str:
    """What a policy has decided by."""
    queued, running = sum([work.queued for work in view.work]), sum([work.running for work in view.work])
    parts = [f"{queued} items queued and {running} running"]
    for manager in view.managers:
        if manager.name:
            serving = len(manager.serving)
            draining = len(manager.units) - serving
            leaving = f", {draining} leaving" if draining else ""
            parts.append(f"{manager.name}: {serving} connected, {manager.launching} starting{leaving}")
    return "; ".join(parts)
