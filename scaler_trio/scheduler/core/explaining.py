"""Why a task is not done yet, in sentences for people, and what has happened to it so far."""

from attrs import define, field

from scaler_protocol import messages as m
from scaler_protocol.limits import TEXT_BYTES, clip
from scaler_trio.scheduler.core.fleet import EMPTY
from scaler_trio.scheduler.core.queues import has_unassigned
from scaler_trio.scheduler.core.records import Array, Client, Demand, Task
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.retries import Pause
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskState

EXPLAINED = 10
"""Tasks of the same number, of different clients, that a monitor is told of."""

INPUTS_NAMED = 5
"""Inputs of a node that its sentence names."""


@define(eq=False, repr=False)
class Explaining:
    """Answers ``Explain``; changes nothing."""

    state: SchedulerState
    recovery: Recovery
    pauses: list[Pause] = field(factory=list)  # of those that raised and are tried again

    def answer(self, client: Client, message: m.Explain) -> None:
        """Send the explanation."""
        text = clip(self.explain(client, message.task), TEXT_BYTES)
        self.state.effects.send(client.session, m.Explanation(message.request, text))

    def answer_monitor(self, monitor: bytes, message: m.ExplainTask) -> None:
        """Send the explanations of all tasks that a monitor may mean."""
        who, state = message.client, self.state
        meant = [
            client
            for client in state.clients.values()
            if not who or client.name == who or client.session.hex().startswith(who.lower())
        ]
        found = [one for one in meant if message.task in one.tasks or message.task in one.arrays]
        texts = [
            f"task {message.task} of {one.name} ({one.session[:4].hex()}), {self.explain(one, message.task)}"
            for one in found[:EXPLAINED]
        ]
        if len(found) > EXPLAINED:
            texts.append(f"{len(found) - EXPLAINED} other clients have a task of that number too; say which client")
        if not meant:
            texts = [
                f"no client {who!r} is known here: it has gone, or never came" if who else "no client is connected"
            ]
        elif not found:
            of = f"client {who!r}" if who else f"the {len(meant)} clients"
            texts = [f"the scheduler has no task {message.task} of {of}: it ended, or has not arrived"]
        self.state.effects.send(monitor, m.Explanation(message.request, clip("\n".join(texts), TEXT_BYTES)))

    def explain(self, client: Client, number: int) -> str:
        """One sentence about now, then a line for each event, oldest first."""
        record: Task | Array | None = client.tasks.get(number) or client.arrays.get(number)
        if record is None:
            return f"the scheduler has no task {number} of this client: it ended, or has not arrived"
        now = self._task(record) if isinstance(record, Task) else self._array(record)
        lines = [
            f"{max(0.0, self.state.now - at):9.3f} s ago: {' '.join(map(str, what))}" for at, *what in record.story
        ]
        return "\n".join([f"{record.function.name}: {now}", *lines])

    def _task(self, task: Task) -> str:
        if task.state is TaskState.WAITING:
            return self._node(task)
        if task.state is TaskState.READY:
            return self._ready(task)
        if task.state is TaskState.DONE:
            return "it has ended; its result is on its way to the client, or that of its graph"
        attempt = task.attempt
        where = f"worker {attempt.worker.name}" if attempt is not None else "a worker"
        if attempt is not None and not attempt.worker.connected:
            where += ", which is not connected at the moment"
        if task.state is TaskState.CANCELLING:
            return f"it was cancelled, and {where} was told to stop it"
        ahead = attempt.worker.items - attempt.worker.slots if attempt is not None else 0
        queued = f" or waits there: {ahead} more are there than it runs at a time" if ahead > 0 else ""
        return f"it runs at {where}{queued}"

    def _ready(self, task: Task) -> str:
        resting = [end for end, _, source, _, _ in self.pauses if source is task]
        if resting:
            tries = task.demand.options.max_retries + 1
            left_s = max(0.0, max(resting) - self.state.now)
            return f"it raised, and rests for another {left_s:.1f} s before try {task.retries + 1} of {tries}"
        if task.alone:
            return (
                "it was with a worker that died, with others, so it is run alone to see whether it was the cause: it "
                f"waits for an empty worker; {self._why_no_worker(task.demand)}"
            )
        if self.recovery.holds(task):
            return "the scheduler has restarted, and some worker may be running it: that is waited for"
        return f"it is ready, and waits for a worker: {self._why_no_worker(task.demand)}"

    def _node(self, task: Task) -> str:
        node = task.node
        assert node is not None
        if not node.graph.complete:
            return "the rest of its graph has not arrived"
        open_inputs = [source for source in node.inputs if source.state is not TaskState.DONE]
        named = ", ".join(
            [
                f"{source.function.name} ({source.state.value}, task {source.number})"
                for source in open_inputs[:INPUTS_NAMED]
            ]
        )
        more = f" and {len(open_inputs) - INPUTS_NAMED} more" if len(open_inputs) > INPUTS_NAMED else ""
        return f"it waits for {len(open_inputs)} of {len(node.inputs)} nodes that it needs: {named}{more}"

    def _array(self, array: Array) -> str:
        done, given = len(array.done), sum([len(attempt.open) for attempt in array.outstanding.values()])
        count = array.count if array.count >= 0 else f"{array.received} or more"
        text = f"{done} of {count} items are done, {given} are with {len(array.outstanding)} slices at workers"
        if has_unassigned(array):
            text += f", the rest waits for a worker: {self._why_no_worker(array.demand)}"
        if array.suspects:
            text += (
                f"; {len(array.suspects)} were with a worker that died, and wait for an empty worker to be run alone"
            )
        if array.resting:
            text += f"; {len(array.resting)} raised, and rest before they are tried again"
        if array.held:
            text += f"; {len(array.held)} may be running at a worker that has not come back to this new scheduler"
        return text

    def _why_no_worker(self, demand: Demand) -> str:
        state, client = self.state, demand.client
        if client.blocked:
            return "the client does not take its results: nothing more of it is started until it does"
        groups = [group for group in state.fleet.groups.values() if group.fits(demand.class_key)]
        members = sum([group.members for group in groups])
        if not state.fleet.groups:
            return "none is connected"
        if not members:
            return "none of those connected fits what it asks for"
        if demand.amounts and (short := self._short_of(demand)):
            return short
        if any(group.fits(demand.class_key) and group.places[EMPTY] for group in groups):
            return "one that fits is empty, so that this is about to change"
        before = sum([len(queue) for line in client.lines.values() for queue in line.queues.values()])
        fit = f"{members} fits and is" if members == 1 else f"{members} fit and are"
        return f"{fit} busy with other work; {before} tasks and maps of this client are ready with it"

    def _short_of(self, demand: Demand) -> str:
        """Which amounts are taken at every worker that fits, and by what that waits for others."""
        state = self.state
        fitting = [w for w in state.workers.values() if w.group is not None and w.group.fits(demand.class_key)]
        if any(all(w.free.get(name, amount) >= amount for name, amount in demand.amounts) for w in fitting):
            return ""
        wanted = ", ".join([f"{name}={amount}" for name, amount in demand.amounts])
        holders = [
            f"{source.function.name} (task {source.number}, at worker {worker.name})"
            for worker in fitting
            for number in worker.waits
            if (source := state.attempts[number].source).demand.amounts
        ]
        text = f"{wanted} is not free at any of the {len(fitting)} that offer it"
        if holders:
            more = f" and {len(holders) - INPUTS_NAMED} more" if len(holders) > INPUTS_NAMED else ""
            text += (
                f"; some is kept by tasks that wait for tasks of their own: {', '.join(holders[:INPUTS_NAMED])}{more}"
            )
        return text
