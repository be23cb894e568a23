"""Which functions the scheduler knows on this connection: numbers, a bound, and what may be dropped.

A function keeps its number while a task that was sent names it; beyond the bound the longest unused ones are dropped,
and a function that is needed again gets a new number. Numbers are never used twice.
"""

from collections.abc import Collection
from typing import Final

from attrs import define

from scaler_protocol import Message
from scaler_protocol.messages import DefineFunction, DropFunctions
from scaler_trio.client.core.events import Function

FUNCTIONS: Final = 4_096
"""Defined at one time; less than half of what the scheduler allows, so that a drop on its way never matters."""

IDLE_BYTES: Final = 64 * 1024 * 1024
"""Payloads of unused functions that the scheduler is asked to remember."""


@define
class _Known:
    number: int  # -1 = not defined on this connection
    users: int  # tasks, arrays and graphs that were sent, are unfinished, and name it


class FunctionTable:
    """The functions of one client."""

    def __init__(self, limit: int = FUNCTIONS) -> None:
        self._limit = limit
        self._known: dict[Function, _Known] = {}
        self._idle: dict[Function, None] = {}  # defined and without users, the longest unused first
        self._idle_bytes = 0
        self._defined = 0
        self._next = 0

    def reset(self) -> None:
        """A new connection: nothing is defined, nothing is used."""
        self._known.clear()
        self._idle.clear()
        self._idle_bytes = 0
        self._defined = 0

    def has_room(self, functions: Collection[Function]) -> bool:
        """Whether all of these could be used at once now."""
        missing = [f for f in functions if f not in self._known or self._known[f].number < 0]
        needed_idle = sum([f in self._idle for f in functions])
        return self._defined + len(missing) <= self._limit + len(self._idle) - needed_idle

    def use(self, function: Function, messages: list[Message]) -> int | None:
        """Count one more user; its number, or None if the table is full of used ones.

        What must be sent before goes to ``messages``.
        """
        known = self._known.get(function)
        if known is not None and known.number >= 0:
            if known.users == 0:
                del self._idle[function]
                self._idle_bytes -= len(function.payload)
            known.users += 1
            return known.number
        if self._defined >= self._limit and not self._drop(messages):
            return None
        if known is None:
            known = self._known[function] = _Known(-1, 0)
        known.number = self._next
        known.users += 1
        self._next += 1
        self._defined += 1
        messages.append(DefineFunction(known.number, function.name, function.payload))
        return known.number

    def used(self, function: Function) -> None:
        """One more user that was sent on an earlier connection: the function is not defined on this one for it."""
        known = self._known.get(function)
        if known is None:
            known = self._known[function] = _Known(-1, 0)
        known.users += 1

    def done(self, function: Function) -> None:
        """One user less."""
        known = self._known[function]
        known.users -= 1
        if known.users == 0:
            if known.number < 0:
                del self._known[function]
            else:
                self._idle[function] = None
                self._idle_bytes += len(function.payload)

    def trim(self, messages: list[Message]) -> None:
        """Drop unused functions whose payloads together are too much to remember."""
        while self._idle_bytes > IDLE_BYTES:
            self._drop(messages)

    def _drop(self, messages: list[Message]) -> bool:
        """Drop an eighth of what is unused, so that a drop is rare; False if nothing is."""
        oldest = list(self._idle)[: max(1, len(self._idle) // 8)]
        if not oldest:
            return False
        numbers = []
        for function in oldest:
            del self._idle[function]
            self._idle_bytes -= len(function.payload)
            numbers.append(self._known.pop(function).number)
        self._defined -= len(numbers)
        messages.append(DropFunctions(tuple(numbers)))
        return True

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        defined = [known.number for known in self._known.values() if known.number >= 0]
        assert len(set(defined)) == len(defined) == self._defined <= self._limit
        assert set(self._idle) == {f for f, k in self._known.items() if k.users == 0}
        assert all(known.users > 0 or known.number >= 0 for known in self._known.values())
        assert self._idle_bytes == sum(len(f.payload) for f in self._idle)
