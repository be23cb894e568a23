"""Results on their way to clients, until they are acknowledged; only then may workers forget them."""

from attrs import define

from scaler_protocol import messages as m
from scaler_protocol.fields import Row
from scaler_protocol.limits import BATCH_ROWS, MIB
from scaler_trio.scheduler.core.errors import PeerFault
from scaler_trio.scheduler.core.records import Array, Attempt, Client, Graph, Task, Unacknowledged
from scaler_trio.scheduler.core.state import SchedulerState

RESULT_MESSAGE_BYTES = 1 * MIB
"""Single results are put together up to this."""

ROW_BYTES = 256
"""What a result row costs besides its payload, here and with its worker: bounds their number for a client."""


@define(eq=False, repr=False)
class Delivery:
    """The way back: from ended items to acknowledged results."""

    state: SchedulerState

    def add_row(self, task: Task, outcome: int, payload: bytes, objects: tuple[bytes, ...], seconds: float) -> None:
        """Queue a single task's result for its client; it leaves at the end of the step."""
        client = task.client
        client.rows.append((task.number, outcome, payload, objects, seconds))
        client.rows_bytes += len(payload)
        client.rows_tasks.append(task)
        self.state.touched[client] = None

    def flush_rows(self, client: Client) -> None:
        """Put the queued result rows into messages."""
        rows, client.rows = client.rows, []
        tasks, client.rows_tasks = client.rows_tasks, []
        size, client.rows_bytes = client.rows_bytes, 0
        if len(rows) <= BATCH_ROWS and size <= RESULT_MESSAGE_BYTES:
            self._send_rows(client, rows, tasks, size)
            return
        start = size = 0
        for end, row in enumerate(rows):
            if end > start and (end - start == BATCH_ROWS or size + len(row[2]) > RESULT_MESSAGE_BYTES):
                self._send_rows(client, rows[start:end], tasks[start:end], size)
                start, size = end, 0
            size += len(row[2])
        self._send_rows(client, rows[start:], tasks[start:], size)

    def _send_rows(self, client: Client, rows: list[Row], tasks: list[Task], size: int) -> None:
        message = m.TaskResults(client.sequence + 1, tuple(rows))
        if client.profiles:
            profiles = tuple([client.profiles[row[0]] for row in rows if row[0] in client.profiles])
            message = m.TaskResults(message.sequence, message.rows, profiles)
        self._send(client, Unacknowledged(client.sequence + 1, size + ROW_BYTES * len(rows), message, tasks))

    def send_rows_of(self, array: Array, message: m.ArrayResults, attempt: Attempt | None) -> None:
        """Send results of an array; ``message.sequence`` is the client's next."""
        array.unacknowledged += 1
        if attempt is not None:
            attempt.unacknowledged += 1
        size = len(message.data) + len(message.lengths) + ROW_BYTES
        self._send(array.client, Unacknowledged(message.sequence, size, message, [], attempt, array))

    def _send(self, client: Client, entry: Unacknowledged) -> None:
        client.sequence = entry.sequence
        client.unacknowledged.append(entry)
        client.unacknowledged_bytes += entry.size_bytes
        if client.unacknowledged_bytes > self.state.tuning.unacknowledged_bytes:
            client.blocked = True
        if client.ready:
            self.state.effects.send(client.session, entry.message)

    # -------------------------------------------------------------------------------------------------- acknowledge

    def acknowledge(self, client: Client, sequence: int) -> None:
        """The client has every result message up to ``sequence``.

        Raises:
            PeerFault: it was never sent that many.
        """
        if sequence > client.sequence:
            raise PeerFault(f"result message {sequence} is acknowledged, {client.sequence} were sent")
        state = self.state
        queue = client.unacknowledged
        while queue and queue[0].sequence <= sequence:
            entry = queue.popleft()
            client.unacknowledged_bytes -= entry.size_bytes
            state.acknowledged_bytes += entry.size_bytes
            self._settle_tasks(client, entry.tasks)
            if entry.attempt is not None:
                entry.attempt.unacknowledged -= 1
                state.settle(entry.attempt)
            if entry.array is not None:
                entry.array.unacknowledged -= 1
                self.forget_if_complete(entry.array)
        if client.blocked and client.unacknowledged_bytes <= state.tuning.unacknowledged_bytes:
            client.blocked = False
            state.ready.unblock(client)

    def _settle_tasks(self, client: Client, tasks: list[Task]) -> None:
        attempts, assigned, table = self.state.attempts, self.state.assigned, client.tasks
        for task in tasks:
            attempt = task.attempt
            if attempt is not None:
                attempt.unacknowledged = 0
                task.attempt = None  # they refer to each other
                del attempts[attempt.number]
                worker = attempt.worker
                worker.settled.append(attempt.number)
                assigned[worker] = None
            if task.node is None:
                del table[task.number]
            else:
                task.node.graph.unacknowledged -= 1
                self.forget_if_ended(client, task.node.graph)

    def forget_if_ended(self, client: Client, graph: Graph) -> None:
        """Forget a graph whose nodes are all done and whose results the client has."""
        if graph.complete and not graph.unfinished and not graph.unacknowledged:
            client.graphs.pop(graph.number, None)
            for task in graph.nodes.values():
                if client.tasks.get(task.number) is task:
                    del client.tasks[task.number]
            graph.nodes.clear()

    def forget_if_complete(self, array: Array) -> None:
        """Forget an array that is complete and whose results the client has."""
        if array.unacknowledged or array.count < 0 or not array.done.covers(0, array.count):
            return
        if array.client.arrays.get(array.number) is array:
            del array.client.arrays[array.number]
            array.next = array.received  # what is left there is done, and nothing to be queued for
            array.function.users -= 1
            self.state.forget_if_unused(array.function)
