"""Clients that come, go and come back: what they hold, their grace, and the end of their work if they stay away."""

from attrs import define

from scaler_protocol import messages as m
from scaler_protocol.limits import HELD_ROWS
from scaler_protocol.messages import EventKind
from scaler_trio.ranges import RangeSet
from scaler_trio.scheduler.core.delivery import Delivery
from scaler_trio.scheduler.core.errors import PeerFault
from scaler_trio.scheduler.core.graphs import Graphs
from scaler_trio.scheduler.core.nesting import Nesting
from scaler_trio.scheduler.core.records import Array, Attempt, Client, Task
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskEvent, TaskState
from scaler_trio.words import counted


@define(eq=False, repr=False)
class Clients:
    """The table of clients."""

    state: SchedulerState
    delivery: Delivery
    graphs: Graphs
    recovery: Recovery
    nesting: Nesting

    def connected(self, session: bytes, name: str, python: str) -> None:
        """A client is there, for the first time or again; it says next what it holds."""
        client = self.state.clients.get(session)
        if client is None:
            client = self.state.clients[session] = Client(session, name, python)
        elif client.connected:  # a second connection supersedes the first
            self._disconnected(client)
        client.connected = True
        client.departure = 0
        self.nesting.connected(client)

    def held(self, client: Client, message: m.ClientHeld) -> None:
        """What a client waits for: tell it what of that is here, and send again what it has not acknowledged."""
        if client.ready:
            raise PeerFault("a client says what it holds once per connection")
        if message.sequence > client.sequence and not client.unacknowledged and not client.tasks:
            # It outlived its record here: go on counting where it stopped, for it drops what it thinks it has.
            client.sequence = message.sequence
        self.delivery.acknowledge(client, message.sequence)
        state = self.state
        tasks = RangeSet([(number, number + 1) for number in sorted(client.tasks)])
        arrays = [(array.number, array.received) for array in client.arrays.values()]
        client.received_bytes = 0
        client.credit_bytes = max(0, state.tuning.credit_bytes - client.unassigned_bytes)
        client.ready = True
        known = m.ClientKnown(
            epoch=state.epoch,
            object_address=state.object_address,
            credit_bytes=client.credit_bytes,
            tasks=tuple(list(tasks)[:HELD_ROWS]),  # what is left out is sent again, and dropped as known
            arrays=tuple(arrays),
        )
        state.effects.send(client.session, known)
        for entry in client.unacknowledged:
            state.effects.send(client.session, entry.message)
        self._tell(client, "has connected")
        if not client.greeted:  # else what is not here was lost on its way to this very scheduler
            client.greeted = True
            self.recovery.redeclare(
                client,
                RangeSet([gap for lo, hi in message.tasks for gap in tasks.missing(lo, hi)]),
                {number: rows for number, rows in message.arrays if number not in client.arrays},
            )

    def lost(self, client: Client, *, on_purpose: bool) -> None:
        """A client's connection ended; one that went on purpose gets no grace."""
        if not client.connected:
            return
        unfinished = sum([task.state is not TaskState.DONE for task in client.tasks.values()]) + len(client.arrays)
        how = "has left" if on_purpose else "lost its connection"
        self._disconnected(client)
        self._tell(client, f"{how}, with {counted(unfinished, 'unfinished task')}")
        if on_purpose:
            self.forget(client)
        else:
            tuning = self.state.tuning
            # One in a processor seldom loses its connection alone.
            is_hosted = client.host is not None and not client.host.connected
            self.state.depart(client, tuning.reconnect_grace_s if is_hosted else tuning.client_grace_s)

    def _tell(self, client: Client, text: str) -> None:
        if client.root is client:  # sessions of processors come and go with them
            self.state.feed.tell(self.state.now, EventKind.CLIENT, client.name, text)

    def _disconnected(self, client: Client) -> None:
        client.connected = client.ready = False
        self.graphs.drop_incomplete(client)
        # The client numbers its functions anew on every connection.
        functions, client.functions = client.functions, {}
        for function in functions.values():
            self.state.retire(function)

    def forget(self, client: Client) -> None:
        """Cancel everything of a client and free what it kept."""
        state = self.state
        if client.rows:  # of this very step, as when its processor has died: their attempts are settled below
            self.delivery.flush_rows(client)
            client.profiles.clear()
        del state.clients[client.session]
        client.departure = 0  # its grace, if it has one, is over
        state.touched.pop(client, None)
        self.recovery.clients.pop(client, None)
        for task in client.tasks.values():
            self._abandon_task(task)
        state.ready.drop_client(client)
        self.nesting.forget(client)
        for array in client.arrays.values():
            self._abandon_array(array)
        for entry in client.unacknowledged:
            for attempt in [*[task.attempt for task in entry.tasks], entry.attempt]:
                if attempt is not None:
                    attempt.unacknowledged -= 1
                    state.settle(attempt)
        for object_, count in client.result_objects.items():
            state.references.remove([object_] * count)
        state.references.remove(client.held)

    def _abandon_task(self, task: Task) -> None:
        state = self.state
        if task.node is not None:
            state.references.remove(task.node.result_objects)
            task.node.inputs, task.node.dependents, task.node.result_objects = [], [], ()
        if task.state is TaskState.DONE:
            return
        attempts = [task.attempt, *(task.rivals or ())]
        state.move(task, TaskEvent.ABANDON)
        task.attempt = task.rivals = None
        task.payload = b""
        state.references.remove(task.objects)
        self._release(task)
        for attempt in attempts:
            if attempt is not None and attempt.open:
                self._stop(attempt)

    def _abandon_array(self, array: Array) -> None:
        for attempt in array.outstanding.values():
            self._stop(attempt)
        for block in array.blocks:
            for ids in block.objects.values():
                self.state.references.remove(ids)
        array.blocks = type(array.blocks)()
        array.held.clear()
        array.next = array.received
        array.done.add(0, array.received)  # whatever comes is too late
        self._release(array)

    def _release(self, source: Task | Array) -> None:
        source.function.users -= 1
        self.state.forget_if_unused(source.function)

    def _stop(self, attempt: Attempt) -> None:
        """Nobody wants it; its record stays until its worker has answered, for its slot is taken until then."""
        for lo, hi in attempt.open:
            self.state.cancel_rows(attempt.worker, attempt.number, lo, hi)
