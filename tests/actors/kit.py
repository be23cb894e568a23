"""Actors that record what happens to them, and cancellation at every schedule point of a scenario."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

from scaler_trio.actors import Actor, ActorEvent, Mailbox, Reply
from scaler_trio.actors.errors import single_failure


class Boom(Exception):
    """The failure that tests provoke."""


class Recorder(Actor[Any]):
    """Logs its lifecycle as (name, what). Told an exception, it raises it; told a callable, it calls it."""

    def __init__(
        self, name: str, log: list[tuple[str, str]], *, fail_start: Callable[[], bool] = lambda: False
    ) -> None:
        self.name = name
        self.log = log
        self.fail_start = fail_start

    async def started(self) -> None:
        self.log.append((self.name, "starting"))
        await trio.lowlevel.checkpoint()
        if self.fail_start():
            raise Boom(f"{self.name} cannot start")
        self.log.append((self.name, "started"))

    async def handle(self, batch: list[Any]) -> None:
        for message in batch:
            if isinstance(message, Exception):
                raise message
            if callable(message):
                message()
            else:
                self.log.append((self.name, str(message)))
        await trio.lowlevel.checkpoint()

    async def stopping(self) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append((self.name, "stopped"))


class Stubborn(Recorder):
    """Does not hear that it shall stop."""

    async def run(self, mailbox: Mailbox[Any]) -> None:
        await trio.sleep_forever()


class Leaver(Recorder):
    """Ends at once, by itself."""

    async def run(self, mailbox: Mailbox[Any]) -> None:
        await trio.lowlevel.checkpoint()


def answering(value: object) -> Callable[[Reply[Any]], Any]:
    """Makes a message which answers with the value, for an ask of an actor that calls its messages."""
    return lambda reply: lambda *_: reply.send(value)


def lifecycle(log: list[tuple[str, str]]) -> list[str]:
    return [f"{name} {what}" for name, what in log if what in ("started", "stopped")]


def brief(events: list[ActorEvent]) -> list[str]:
    return [f"{event.path.partition('/')[2]} {event.kind.value}" for event in events]


class _CancelAtStep(trio.abc.Instrument):
    """Cancels a scope after the n-th task step, and counts tasks."""

    def __init__(self, step: int) -> None:
        self.steps_left = step
        self.scope = trio.CancelScope()
        self.tasks = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks += 1

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.tasks -= 1

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps_left -= 1
        if self.steps_left == 0:
            self.scope.cancel()


def cancel_at_every_step(
    scenario: Callable[[], Awaitable[None]], check: Callable[[], None], *, fails_with: type[Exception] | None = None
) -> int:
    """Run the scenario again and again, cancelled after its 1st, 2nd, ... task step, until it runs through.

    After each run, asserts that no task is left, and calls `check`. A scenario that `fails_with` something may do so in
    every run. Returns the number of runs.
    """
    for step in range(1, 10_000):
        instrument = _CancelAtStep(step)

        async def main(instrument: _CancelAtStep = instrument) -> None:
            try:
                with instrument.scope:
                    await scenario()
            except Exception as error:
                if fails_with is None or not isinstance(single_failure(error), fails_with):
                    raise

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[instrument])
        assert instrument.tasks == 0
        check()
        if not instrument.scope.cancel_called:
            return step
    raise AssertionError("the scenario does not end")
