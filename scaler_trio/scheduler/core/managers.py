"""Worker managers that are connected: what they could provide, and what each was last asked to run.

Nothing of them outlives their connection: a manager that comes back says anew what it has.
"""

from collections.abc import Iterable, Sequence

from attrs import define

from scaler_protocol import Message, limits
from scaler_protocol import messages as m
from scaler_protocol.messages import EventKind
from scaler_trio.scheduler.core.errors import PeerFault
from scaler_trio.scheduler.core.records import Manager, Worker
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.policy.core.view import Desired, capabilities_in_words
from scaler_trio.words import counted

DRAIN_GRACE_S = 300.0
"""What runs on a unit that is to leave has this long; then it is given to others."""


@define(eq=False, repr=False)
class Managers:
    """The table of worker managers."""

    state: SchedulerState

    def connected(self, session: bytes, name: str, python: str) -> None:
        """A manager is there, for the first time or again; it says next what it could provide."""
        self.state.managers[session] = Manager(session, name, python)

    def lost(self, manager: Manager, *, on_purpose: bool) -> None:
        """It is gone; its units serve on."""
        del self.state.managers[manager.session]
        if manager.status is not None:
            how = "has left" if on_purpose else "is not connected any more; its units serve on"
            self._tell(EventKind.MANAGER, manager.status.manager, how)

    def handle(self, manager: Manager, message: Message) -> None:
        """Take in its status.

        Raises:
            PeerFault: it sends something else, or another manager has its id.
        """
        if type(message) is not m.ManagerStatus:
            raise PeerFault(f"a worker manager does not send {type(message).__name__}")
        for other in self.state.managers.values():
            if other is not manager and other.status is not None and other.status.manager == message.manager:
                raise PeerFault(
                    f"the worker manager {message.manager!r} is connected already, from {other.name}: "
                    f"give this one another id"
                )
        before, manager.status = manager.status, message
        if before is None:
            state = self.state
            its = [unit_name(w) for w in state.workers.values() if w.manager == message.manager and w.ready]
            self._send_units(manager, its, [])
            offered = capabilities_in_words(tuple([(row[0], row[1]) for row in message.capabilities]))
            limit = (
                "any number of" if message.limit < 0 else f"up to {message.limit}" if message.limit else "always its"
            )
            text = f"has connected from {manager.name}: {limit} units of {counted(message.slots, 'slot')}"
            self._tell(EventKind.MANAGER, message.manager, f"{text} with {offered}" if offered else text)
        if message.problem != (before.problem if before is not None else ""):
            problem = f"cannot start units: {message.problem}" if message.problem else "can start units again"
            self._tell(EventKind.MANAGER, message.manager, problem)

    def tell_units(self) -> None:
        """Tell managers which of their units came or went in this step."""
        units, self.state.units = self.state.units, {}
        for name, manager in statuses(self.state.managers.values()).items():
            its = [worker for worker in units if worker.manager == name]
            came = [unit_name(worker) for worker in its if worker.ready]
            self._send_units(manager, came, [unit_name(worker) for worker in its if not worker.ready])

    def _send_units(self, manager: Manager, came: list[str], gone: list[str]) -> None:
        for at in range(0, max(len(came), len(gone)), limits.BATCH_ROWS):
            upto = at + limits.BATCH_ROWS
            self.state.effects.send(manager.session, m.Units(tuple(came[at:upto]), tuple(gone[at:upto])))

    def _tell(self, kind: EventKind, manager: str, text: str) -> None:
        self.state.feed.tell(self.state.now, kind, manager, text)

    def decide(self, decided: Sequence[Desired], inputs: str) -> None:
        """Ask managers for what a policy wants, as far as that is new, and have units leave."""
        known = statuses(self.state.managers.values())
        for desired in decided:
            manager = known.get(desired.manager)
            if manager is None:
                continue
            leaving = self._drain(desired)
            if desired.units == manager.desired and not leaving:
                continue
            before = 0 if manager.desired is None else manager.desired
            if desired.units != before or leaving:
                leave = f", {counted(len(leaving), 'unit')} told to leave" if leaving else ""
                wanted = f"{counted(desired.units, 'unit')} wanted, {before} before{leave}"
                text = f"{wanted}: {desired.reason or 'no reason given'}"
                self._tell(EventKind.CAPACITY, desired.manager, f"{text} ({inputs})" if inputs else text)
            manager.desired, manager.reason = desired.units, desired.reason
            reason = limits.clip(desired.reason, limits.TEXT_BYTES)
            told = m.DesiredUnits(desired.units, tuple(leaving[: limits.BATCH_ROWS]), DRAIN_GRACE_S, reason)
            self.state.effects.send(manager.session, told)

    def _drain(self, desired: Desired) -> list[str]:
        """Names of the units that were told to leave just now."""
        going = set(desired.drain)
        if not going and desired.units >= len(self.state.workers):
            return []
        serving = [
            worker
            for worker in self.state.workers.values()
            if worker.manager == desired.manager and worker.ready and not worker.draining
        ]
        named = [worker for worker in serving if unit_name(worker) in going]
        rest = [worker for worker in serving if unit_name(worker) not in going]
        # A policy of the user's own may say how many, and leave the choice to us: who has least goes first.
        rest.sort(key=lambda worker: (worker.items + worker.waiting, worker.last_report_at))
        for worker in (told := [*named, *rest[: max(0, len(rest) - desired.units)]]):
            worker.draining = True
            self.state.effects.send(worker.session, m.Drain(DRAIN_GRACE_S))
            self.state.fleet.update(worker)
        return [unit_name(worker) for worker in told]


def unit_name(worker: Worker) -> str:
    """What its manager calls it."""
    return worker.unit or worker.name


def statuses(managers: Iterable[Manager]) -> dict[str, Manager]:
    """Those that have said what they are, by id."""
    return {one.status.manager: one for one in managers if one.status is not None}
