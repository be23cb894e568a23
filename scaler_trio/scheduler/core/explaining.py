"""Why a task is not done yet, in sentences for people, and what has happened to it so far."""

from attrs import define

from scaler_protocol import messages as m
from scaler_protocol.limits import TEXT_BYTES, clip
from scaler_trio.scheduler.core.queues import has_unassigned
from scaler_trio.scheduler.core.records import Array, Client, Demand, Task
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskState

INPUTS_NAMED = 5
"""Inputs of a node that its sentence names."""


@define(eq=False, repr=False)
class Explaining:
    """Answers ``Explain``; changes nothing."""

    state: SchedulerState

    def answer(self, client: Client, message: m.Explain) -> None:
        """Send the explanation."""
        text = clip(self.explain(client, message.task), TEXT_BYTES)
        self.state.effects.send(client.session, m.Explanation(message.request, text))

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
            return f"it is ready, and waits for a worker: {self._why_no_worker(task.demand)}"
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
        before = sum([len(queue) for line in client.lines.values() for queue in line.queues.values()])
        fit = f"{members} fits and is" if members == 1 else f"{members} fit and are"
        return f"{fit} busy with other work; {before} tasks and maps of this client are ready with it"
