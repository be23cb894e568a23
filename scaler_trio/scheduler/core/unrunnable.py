"""Work that no connected worker fits: after a while it ends with a sentence that says why.

Where no worker is connected at all, work waits for one to come, and its clients are warned.
"""

from attrs import define, field

from scaler_protocol.limits import TEXT_BYTES, clip
from scaler_protocol.messages import NoticeKind, Outcome
from scaler_trio.ranges import RangeSet
from scaler_trio.scheduler.core.completion import Completion
from scaler_trio.scheduler.core.records import Array, ClassKey, Task
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskEvent, TaskState

GROUPS_NAMED = 5
"""Kinds of worker that the sentence lists."""


@define(eq=False, repr=False)
class Unrunnable:
    """Watches the ready classes; looks at them only when classes or the fleet have changed."""

    state: SchedulerState
    completion: Completion
    since: dict[ClassKey, float] = field(factory=dict)  # classes with ready work that nobody fits
    deserted_since: float | None = None  # no worker is connected, and work waits; None also once its clients know
    seen: tuple[int, int] = (-1, -1)  # versions of classes and fleet that `since` is about

    def check(self) -> None:
        """Note what fits nobody, and end what has waited too long while workers were there."""
        state = self.state
        now = (state.ready.version, state.fleet.version)
        if now != self.seen:
            self.seen = now
            self._look()
        due_at = self.due_at()
        if due_at is not None and due_at <= state.now:
            for key in [key for key, since in self.since.items() if self._ends_at(since) <= state.now]:
                del self.since[key]
                left = self._fail_class(key)
                if left is not None:
                    self.since[key] = left
            if self.deserted_since is not None and self._ends_at(self.deserted_since) <= state.now:
                self.deserted_since = None
                self._warn()

    def _look(self) -> None:
        state = self.state
        if not state.fleet.groups:
            self.since.clear()
            if self.deserted_since is None and (state.ready.classes or state.ready.suspects):
                self.deserted_since = state.now
            return
        self.deserted_since = None
        keys = {*state.ready.classes, *state.ready.suspects}
        unfit = {key for key in keys if not state.fleet.someone_fits(key)}
        self.since = {key: self.since.get(key, state.now) for key in unfit}

    def _ends_at(self, since: float) -> float:
        return since + self.state.tuning.unrunnable_after_s

    def due_at(self) -> float | None:
        """When ``check`` has something to end, at the earliest."""
        times = [*self.since.values(), *([] if self.deserted_since is None else [self.deserted_since])]
        return self._ends_at(min(times)) if times else None

    def _warn(self) -> None:
        state = self.state
        for client in state.clients.values():
            waiting = [task for task in client.tasks.values() if task.state is TaskState.READY]
            arrays = [array for array in client.arrays.values() if array.queued]
            if waiting or arrays:
                text = (
                    f"no worker is connected to the scheduler: {len(waiting)} tasks and {len(arrays)} maps wait for one"
                )
                first = waiting[0].number if waiting else arrays[0].number
                state.notice(client, first, 0, NoticeKind.WARNING, text)

    def _fail_class(self, key: ClassKey) -> float | None:
        """End what has waited long enough; since when the oldest waits of the rest, which has come later."""
        ready = self.state.ready
        text = clip(self._why(key), TEXT_BYTES).encode()
        left: list[float] = []
        for line in {line for _, _, line in ready.classes.get(key, ()) if line.listed}:
            while (queue := line.head()) is not None:
                came_at = _came_at(queue[0])
                if self._ends_at(came_at) > self.state.now:
                    left.append(came_at)
                    break
                self._fail(queue[0], text)
        while (suspect := ready.next_suspect(key)) is not None:
            self._fail(suspect.source, text)
        ready.first(key)  # forgets the class if nothing is left
        return min(left, default=None)

    def _fail(self, source: Task | Array, text: bytes) -> None:
        if type(source) is Task:
            self.completion.finish(source, TaskEvent.UNRUNNABLE, Outcome.UNRUNNABLE, text)
        elif type(source) is Array:
            rows = RangeSet([*source.redo, *source.suspects, (source.next, source.received)])
            source.redo.clear()
            source.suspects.clear()
            source.next = source.received
            for lo, hi in rows:
                self.completion.report_rows(source, lo, hi, Outcome.UNRUNNABLE, text)

    def _why(self, key: ClassKey) -> str:
        python, capabilities = key
        groups = list(self.state.fleet.groups.values())
        fitting = [group for group in groups if not python or not group.python or group.python == python]
        if not fitting:
            return _mismatch(python, {group.python for group in groups})
        wanted = ", ".join(name if amount < 0 else f"{name}={amount}" for name, amount in capabilities)
        offered = sorted({", ".join(_offer(n, a) for n, a in g.capabilities.items()) or "nothing" for g in fitting})
        more = f" and {len(offered) - GROUPS_NAMED} other kinds" if len(offered) > GROUPS_NAMED else ""
        members = sum(group.members for group in fitting)
        return (
            f"no worker offers {wanted}; {members} connected worker{'s' * (members != 1)} of Python "
            f"{python or 'any'} offer: {'; '.join(offered[:GROUPS_NAMED])}{more}"
        )


def _came_at(source: Task | Array) -> float:
    """Since when it is ready: an array, since it was opened."""
    return float(source.story[-1 if type(source) is Task else 0][0])


def _offer(name: str, amount: int) -> str:
    return name if amount < 0 else f"{name}={amount}"


def _mismatch(client: str, workers: set[str]) -> str:
    """Which of the two versions differs, Python's or cloudpickle's: who reads it changes that one."""
    python, _, pickler = client.partition("/")
    offered = sorted(worker.partition("/")[0] for worker in workers)
    what, wanted = "Python ", python
    if python in offered:
        what, wanted = f"Python {python} with ", pickler
        offered = sorted(worker.partition("/")[2] for worker in workers if worker.startswith(python + "/"))
    shown = ", ".join(dict.fromkeys(offered[:GROUPS_NAMED]))
    return f"client runs {what}{wanted}, every worker {shown}: use the same version on both sides"
