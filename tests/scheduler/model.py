"""A world around the core whose connections lose messages: model clients and workers that keep the protocol's promises.

Every action is a method of ``World`` that takes two small numbers to choose by, so that Hypothesis and a plain random
generator can drive it. ``settle`` lets everything reconnect and finish, and checks that every item of every client has
exactly one result, the right one, and that the core remembers nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any

from attrs import define, field

from scaler_protocol import Message
from scaler_protocol import messages as m
from scaler_protocol.ids import SessionId, object_id
from scaler_protocol.messages import Outcome, ReturnReason, TaskOptions
from scaler_trio.scheduler.core.core import SchedulerCore
from scaler_trio.scheduler.core.effects import Effects
from scaler_trio.scheduler.core.events import ClientConnected, Event, PeerLost, Received, WorkerConnected
from tests.kit.scheduler import check_no_work, over_the_wire, u32

RETRIES = 2
PATIENT = TaskOptions(crash_limit=1000, max_retries=RETRIES)
DEADLY = TaskOptions(crash_limit=2)
WITH_GPU = TaskOptions(crash_limit=1000, capabilities=(("gpu", 1),), priority=1)


class Peer:
    """One process, and the messages that are on their way to and from it."""

    def __init__(self, world: World, session: bytes) -> None:
        self.world = world
        self.session = session
        self.is_connected = False
        self.outbox: deque[Message] = deque()
        self.inbox: deque[Message] = deque()

    def send(self, message: Message) -> None:
        if self.is_connected:
            self.outbox.append(message)

    def close(self) -> None:
        """The connection breaks: what is on its way is lost, on either side."""
        self.is_connected = False
        self.outbox.clear()
        self.inbox.clear()

    def receive(self, message: Any) -> None:
        raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------- clients


@define
class Item:
    """A single task or a node."""

    payload: bytes
    options: TaskOptions
    inputs: tuple[int, ...] = ()
    graph: int = -1
    is_sent: bool = False
    is_cancelled: bool = False
    result: tuple[int, bytes] | None = None


@define
class ModelArray:
    """An array whose rows come in blocks of seven."""

    total: int
    sent: int = 0
    is_open: bool = False
    count_told: bool = False
    knows_count: bool = False
    cancelled: set[int] = field(factory=set)
    results: dict[int, tuple[int, bytes]] = field(factory=dict)

    @property
    def void(self) -> set[int]:
        return {row for row in range(self.total) if row % 11 == 5}

    @property
    def done(self) -> set[int]:
        return set(self.results) | {row for row in self.void if row < self.sent}

    @property
    def is_done(self) -> bool:
        return len(self.done) == self.total


class ModelClient(Peer):
    """Keeps what is unfinished, and sends it again when the scheduler does not know it."""

    def __init__(self, world: World, session: bytes) -> None:
        super().__init__(world, session)
        self.numbers = count()
        self.epoch = -1
        self.sequence = 0
        self.acknowledged = 0
        self.knows = False
        self.function: int | None = None
        self.functions = count()
        self.items: dict[int, Item] = {}
        self.graphs: dict[int, list[int]] = {}  # nodes, the last of which is the target
        self.arrays: dict[int, ModelArray] = {}
        self.held: dict[bytes, None] = {}

    def connect(self) -> None:
        if self.epoch != self.world.epoch:
            self.epoch, self.sequence = self.world.epoch, 0
        self.is_connected, self.knows, self.function, self.acknowledged = True, False, None, 0
        tasks = tuple([(n, n + 1) for n, item in self.items.items() if item.is_sent and self.is_open(n)])
        arrays = tuple([(n, a.sent) for n, a in self.arrays.items() if a.is_open and not a.is_done])
        self.send(m.ClientHeld(self.sequence, tasks, arrays))

    def is_open(self, number: int) -> bool:
        item = self.items[number]
        if item.graph < 0:
            return item.result is None
        return self.items[self.graphs[item.graph][-1]].result is None

    def unfinished(self) -> bool:
        return any(self.is_open(n) for n in self.items) or any(not a.is_done for a in self.arrays.values())

    def define(self) -> int:
        if self.function is None:
            self.function = next(self.functions)
            self.send(m.DefineFunction(self.function, "f", self.session))
        return self.function

    # -------------------------------------------------------------------------------------------------- submitting

    def submit(self, kind: int, amount: int) -> None:
        options = {0: DEADLY, 1: WITH_GPU}.get(kind, PATIENT)
        numbers = [next(self.numbers) for _ in range(amount)]
        for number in numbers:
            prefix = {0: b"kill", 2: b"object", 3: b"raise", 4: b"flaky"}.get(kind, b"plain")
            self.items[number] = Item(prefix + b"%d" % number, options)
        self.send_tasks(numbers)

    def send_tasks(self, numbers: list[int]) -> None:
        if not self.knows or not numbers:
            return
        options: dict[TaskOptions, int] = {}
        rows = []
        for number in numbers:
            item = self.items[number]
            item.is_sent = True
            objects = tuple(self.held) if number % 5 == 0 else ()
            option = options.setdefault(item.options, len(options))
            rows.append((number, self.define(), item.payload, objects, option))
        self.send(m.SubmitTasks(tuple(options), tuple(rows)))

    def submit_graph(self, shape: int) -> None:
        graph = next(self.numbers)
        nodes: list[int] = []
        for at in range(2 + shape):
            number = next(self.numbers)
            inputs = tuple([node for i, node in enumerate(nodes) if (i + at) % 2 or at == 1 + shape])
            payload = (b"raise" if shape == 5 and at == 2 else b"node") + b"%d" % number
            self.items[number] = Item(payload, PATIENT, (*inputs, *inputs[:1]), graph)
            nodes.append(number)
        self.graphs[graph] = nodes
        self.send_graph(graph)

    def send_graph(self, graph: int) -> None:
        if not self.knows:
            return
        nodes = self.graphs[graph]
        half = len(nodes) // 2
        for part in (nodes[:half], nodes[half:]):
            rows = tuple([(n, self.define(), self.items[n].payload, (), 0, self.items[n].inputs) for n in part])
            self.send(m.GraphNodes(graph, (PATIENT,), rows))
        for number in nodes:
            self.items[number].is_sent = True
        self.send(m.GraphEnd(graph, (nodes[-1],)))

    def open_array(self, size: int) -> None:
        number = next(self.numbers)
        self.arrays[number] = ModelArray(3 + 9 * size, knows_count=bool(size % 2))
        self.send_array(number)

    def send_array(self, number: int) -> None:
        """The next block, and before the first the opening, and after the last the count."""
        array = self.arrays[number]
        if not self.knows or array.count_told:
            return
        if not array.is_open:
            array.is_open = True
            done = [(row, row + 1) for row in sorted(array.done)]
            known = array.total if array.knows_count else -1
            self.send(m.OpenArray(number, self.define(), PATIENT, known, tuple(done)))
        for start in range(array.sent, min(array.total, array.sent + 14), 7):
            end = min(start + 7, array.total)
            array.sent = end
            if not set(range(start, end)) - array.done - array.void:
                continue  # its block was freed
            pages = [b",".join(b"%d" % row for row in range(page, min(page + 3, end))) for page in range(start, end, 3)]
            offsets = [sum(map(len, pages[:at])) for at in range(len(pages) + 1)]
            void = tuple([row for row in range(start, end) if row in array.void])
            block = m.ArrayBlock(number, start, end - start, 3, void, (), u32(offsets), b"".join(pages))
            self.send(block)
        if array.sent == array.total:
            array.count_told = True
            self.send(m.EndArray(number, array.total))

    def cancel(self, which: int) -> None:
        open_items = [n for n in self.items if self.is_open(n) and self.items[n].graph < 0]
        if open_items and which % 2:
            number = open_items[which % len(open_items)]
            self.items[number].is_cancelled = True
            self.send(m.CancelTasks(((number, 0, 1),)))
        elif self.arrays:
            number = list(self.arrays)[which % len(self.arrays)]
            array = self.arrays[number]
            array.cancelled |= set(range(which, which + 9))
            self.send(m.CancelTasks(((number, which, which + 9),)))

    # ----------------------------------------------------------------------------------------------------- results

    def receive(self, message: Any) -> None:
        if type(message) is m.ClientKnown:
            self.on_known(message)
        elif type(message) in (m.TaskResults, m.ArrayResults):
            if message.sequence <= self.sequence:
                return
            assert message.sequence == self.sequence + 1, "a result message is missing"
            self.sequence = message.sequence
            if type(message) is m.TaskResults:
                for number, outcome, payload, objects, _ in message.rows:
                    self.on_result(number, outcome, payload)
                    if objects:
                        self.send(m.ReleaseObjects(objects))
            else:
                self.on_rows(message)

    def on_known(self, known: m.ClientKnown) -> None:
        assert known.epoch == self.world.epoch
        self.knows = True
        self.send(m.HoldObjects(tuple([(object_, 1) for object_ in self.held])))
        here = {number for lo, hi in known.tasks for number in range(lo, hi)}
        rows = dict(known.arrays)
        self.send_tasks([n for n, i in self.items.items() if i.graph < 0 and i.result is None and n not in here])
        for graph, nodes in self.graphs.items():
            if self.is_open(nodes[-1]) and nodes[-1] not in here:
                self.send_graph(graph)
        for number, array in self.arrays.items():
            if not array.is_done:
                array.is_open, array.sent, array.count_told = number in rows, rows.get(number, 0), False
                self.send_array(number)

    def on_result(self, number: int, outcome: int, payload: bytes) -> None:
        item = self.items[number]
        if item.result is None:
            item.result = (outcome, payload)

    def on_rows(self, message: m.ArrayResults) -> None:
        array = self.arrays[message.task]
        failed, at = dict(message.failed), 0
        lengths = memoryview(message.lengths).cast("B").cast("I").tolist()
        assert sum(lengths) == len(message.data)
        for row, length in zip(range(message.lo, message.hi), lengths, strict=True):
            payload = bytes(message.data[at : at + length])
            at += length
            array.results.setdefault(row, (failed.get(row, 0), payload))

    def acknowledge(self) -> None:
        if self.knows and self.acknowledged < self.sequence:
            self.acknowledged = self.sequence
            self.send(m.AckResults(self.sequence))

    # ------------------------------------------------------------------------------------------------------ checks

    def check(self) -> None:
        """Everything has the result that it should have."""
        for number, item in self.items.items():
            if item.graph >= 0 and number != self.graphs[item.graph][-1]:
                continue
            assert item.result is not None, (number, item)
            outcome, payload = item.result
            if item.is_cancelled and outcome == Outcome.CANCELLED:
                continue
            if item.options is WITH_GPU and outcome == Outcome.UNRUNNABLE:
                continue  # its only worker was away for more than five seconds
            if item.payload.startswith(b"kill"):
                assert outcome == Outcome.CRASHED, (number, item)
            elif item.payload.startswith(b"raise"):
                assert (outcome, payload) == (Outcome.ERROR, b"raised " + item.payload), (number, item)
                assert self.world.failures[self.session, number, 0] > RETRIES
            elif item.payload.startswith(b"flaky") and outcome == Outcome.ERROR:
                assert self.world.failures[self.session, number, 0] > RETRIES
            elif item.graph >= 0 and any(self.items[n].payload.startswith(b"raise") for n in self.graphs[item.graph]):
                assert outcome == Outcome.UPSTREAM, (number, item)
                assert self.items[int(payload)].payload.startswith(b"raise")
            else:
                assert (outcome, payload) == (Outcome.VALUE, self.value(number)), (number, item)
        for number, array in self.arrays.items():
            assert array.done == set(range(array.total)), (number, array)
            for row, (outcome, payload) in array.results.items():
                if outcome == Outcome.CANCELLED:
                    assert row in array.cancelled
                elif outcome == Outcome.ERROR:
                    assert payload == b"raised row %d" % row
                    assert self.world.failures[self.session, number, row] > RETRIES
                else:
                    assert (outcome, payload) == (Outcome.VALUE, b"row %d" % row), (number, row)

    def value(self, number: int) -> bytes:
        item = self.items[number]
        return result_of(item.payload, [self.value(n) for n in item.inputs])


def result_of(payload: bytes, inputs: list[bytes]) -> bytes:
    """What a task returns: short, and different for every task and input."""
    return payload if not inputs else payload + b"(%d)" % (sum(map(hash_of, inputs)) % 1000)


def hash_of(value: bytes) -> int:
    return sum(i * byte for i, byte in enumerate(value, 1))


# ------------------------------------------------------------------------------------------------------------- workers


@define
class Held:
    """An attempt at a worker."""

    epoch: int
    number: int
    client: bytes
    task: int
    open: list[int]  # rows not finished, not returned
    payload: bytes | None = None  # of a single task
    inputs: list[bytes] = field(factory=list)
    is_slice: bool = False
    finished: dict[int, tuple[int, bytes, tuple[bytes, ...]]] = field(factory=dict)


class ModelWorker(Peer):
    """Runs items one by one, in any order that the world chooses; keeps results until they are settled."""

    def __init__(self, world: World, session: bytes, slots: int, gpu: bool) -> None:
        super().__init__(world, session)
        self.slots = slots
        self.capabilities = (("gpu", 2),) if gpu else ()
        self.held: dict[tuple[int, int], Held] = {}
        self.functions: set[int] = set()
        self.early_inputs: dict[int, list[bytes]] = {}
        self.objects = count()
        self.is_known = False
        self.waits: dict[int, int] = {}  # rows that wait for tasks of their own, by attempt

    def connect(self) -> None:
        self.is_connected, self.is_known = True, False
        self.functions.clear()
        self.early_inputs.clear()
        unfinished = [
            (h.epoch, h.number, h.client, h.task, row, row + 1, 0) for h in self.held.values() for row in h.open
        ]
        finished = [
            (h.epoch, h.number, h.client, h.task, row, row + 1, 0) for h in self.held.values() for row in h.finished
        ]
        self.send(m.WorkerHeld(self.slots, self.capabilities, "", 0.0, tuple(unfinished), tuple(finished)))

    def close(self) -> None:
        super().close()
        self.is_known = False

    def receive(self, message: Any) -> None:
        kind = type(message)
        if kind is m.WorkerKnown:
            self.is_known = True
            for epoch, number in message.drop:
                self.held.pop((epoch, number), None)
            for held in list(self.held.values()):
                for row in held.finished:
                    self.report(held, row)
            for number in list(self.waits):
                self.tell_waiting(number)
        elif kind is m.PutFunction:
            assert message.function not in self.functions, "a function is sent once per connection"
            self.functions.add(message.function)
        elif kind is m.ForgetFunctions:
            self.functions.difference_update(message.functions)
        elif kind is m.AssignInputs:
            self.early_inputs.setdefault(message.attempt, []).extend(message.payloads)
        elif kind is m.AssignTasks:
            for number, client, task, function, payload, inputs, _ in message.rows:
                assert function in self.functions
                given = self.early_inputs.pop(number, []) + list(inputs)
                self.hold(Held(self.world.epoch, number, client, task, [0], payload, given))
        elif kind is m.AssignSlice:
            assert message.function in self.functions
            self.check_slice(message)
            rows = list(range(message.lo, message.hi))
            held = Held(self.world.epoch, message.attempt, message.client, message.task, rows, is_slice=True)
            self.hold(held)
        elif kind is m.Settled:
            for number in message.attempts:
                for key in [key for key, held in self.held.items() if held.number == number]:
                    assert not self.held[key].open, "settled before it was finished"
                    del self.held[key]
        elif kind is m.Recall:
            self.give_back(message.rows)
        elif kind is m.CancelAttempts:
            self.cancel(message.rows)

    def hold(self, held: Held) -> None:
        assert (held.epoch, held.number) not in self.held, "an attempt number is never used again"
        self.held[held.epoch, held.number] = held

    def check_slice(self, slice_: m.AssignSlice) -> None:
        offsets = memoryview(slice_.offsets).cast("B").cast("I").tolist()
        texts = b",".join(bytes(slice_.data[a:b]) for a, b in pairwise(offsets)).split(b",")
        shipped = {int(text): slice_.first + at for at, text in enumerate(texts)}
        assert all(row == place for row, place in shipped.items()), "the first page begins at row `first`"
        assert set(range(slice_.lo, slice_.hi)) <= set(shipped)

    def wait(self, which: int, how: int) -> None:
        """Some rows of an attempt begin to wait, or stop; their tasks are those of one of the clients, or of nobody."""
        held = list(self.held.values())[which % len(self.held)] if self.held else None
        if held is not None and held.open:
            self.waits[held.number] = how % (len(held.open) + 1)
            self.tell_waiting(held.number, how)

    def tell_waiting(self, number: int, how: int = 0) -> None:
        held = self.find(number)
        if number in self.waits:
            self.waits[number] = min(self.waits[number], len(held.open) if held is not None else 0)
            session = self.world.clients[how % 2].session if how % 3 else bytes([how]) * 16
            if self.is_known:
                self.send(m.Waiting(((number, self.waits[number], session),), (b"nobody's session",)[: how % 2]))

    def find(self, number: int) -> Held | None:
        return next((held for held in self.held.values() if held.number == number), None)

    def give_back(self, rows: Any) -> None:
        """The even rows had started; lo == hi says that nothing came back."""
        answers = []
        for number, lo in rows:
            held = self.find(number)
            back = [row for row in held.open if row >= lo and row % 2] if held is not None else []
            if held is None or not back or back != list(range(back[0], back[-1] + 1)):
                back = back[-1:]
            if held is not None and held.is_slice is False and number % 2:
                back = held.open[:]
            for row in back:
                assert held is not None
                held.open.remove(row)
            answers.append((number, back[0] if back else lo, back[-1] + 1 if back else lo, int(ReturnReason.RECALLED)))
            self.drop_if_empty(held)
        self.send(m.Returned(tuple(answers)))

    def cancel(self, rows: Any) -> None:
        for number, lo, hi in rows:
            held = self.find(number)
            if held is None:
                continue
            for row in [row for row in held.open if lo <= row < hi]:
                held.open.remove(row)
                if (row + number) % 3 == 0:  # it was running
                    held.finished[row] = (int(Outcome.CANCELLED), b"stopped", ())
                    self.report(held, row)
                else:
                    self.send(m.Returned(((number, row, row + 1, int(ReturnReason.CANCELLED)),)))
            self.drop_if_empty(held)

    def drop_if_empty(self, held: Held | None) -> None:
        if held is not None:
            self.tell_waiting(held.number)
        if held is not None and not held.open and not held.finished:
            self.held.pop((held.epoch, held.number), None)

    def run(self, which: int, how: int) -> bool:
        """One item: usually it returns; sometimes its processor dies. False if there is none."""
        open_items = [(held, row) for held in self.held.values() for row in held.open]
        if not open_items:
            return False
        held, row = open_items[which % len(open_items)]
        payload = held.payload
        is_deadly = payload is not None and payload.startswith(b"kill")
        if is_deadly or how == 0:
            if not self.is_known:
                return False
            held.open.remove(row)
            self.send(m.Crashed(((held.number, row, is_deadly, "killed by SIGKILL"),)))
            self.drop_if_empty(held)
            return True
        held.open.remove(row)
        is_flaky = row % 4 == 3 if payload is None else payload.startswith(b"flaky")
        if (is_flaky and how in (2, 3)) or (payload is not None and payload.startswith(b"raise")):
            self.world.failures[held.client, held.task, row] += 1
            held.finished[row] = (int(Outcome.RETRY), b"raised " + (payload or b"row %d" % row), ())
        elif payload is None:
            held.finished[row] = (0, b"row %d" % row, ())
        else:
            named = (object_id(SessionId(self.session), next(self.objects)),) if payload.startswith(b"object") else ()
            held.finished[row] = (0, result_of(payload, held.inputs), named)
        if self.is_known:
            for _ in range(2 if how == 1 else 1):  # or twice
                self.report(held, row)
            self.tell_waiting(held.number)
        return True

    def report(self, held: Held, row: int) -> None:
        outcome, payload, objects = held.finished[row]
        if not held.is_slice:
            self.send(m.AttemptResults(((held.number, outcome, payload, objects, 0.001),)))
            return
        failed = ((row, outcome),) if outcome else ()
        self.send(
            m.SliceResults(held.number, row, row + 1, failed, (), 0.001, lengths=u32([len(payload)]), data=payload)
        )


# --------------------------------------------------------------------------------------------------------------- world


class World:
    """The core, its peers, time, and what may happen."""

    def __init__(self) -> None:
        self.now = 100.0
        self.epoch = 1
        self.sessions = count(1)
        self.objects: dict[bytes, int] = {}
        self.failures: Counter[tuple[bytes, int, int]] = Counter()  # by client, task, row
        self.core = self.new_core()
        self.clients: list[ModelClient] = []
        self.workers: list[ModelWorker] = []
        for _ in range(2):
            client = ModelClient(self, self.session())
            client.held[object_id(SessionId(client.session), 0)] = None
            self.clients.append(client)
        for at in range(3):
            self.add_worker(at)
        for peer in self.peers():
            self.reconnect(peer)

    def session(self) -> bytes:
        return next(self.sessions).to_bytes(16, "big")

    def new_core(self) -> SchedulerCore:
        return SchedulerCore(epoch=self.epoch, now=self.now)

    def add_worker(self, kind: int) -> ModelWorker:
        worker = ModelWorker(self, self.session(), 1 + kind % 2, gpu=kind % 2 == 0)
        self.workers.append(worker)
        return worker

    def peers(self) -> Iterator[Peer]:
        yield from self.clients
        yield from self.workers

    def event(self, event: Event) -> None:
        self.take(self.core.handle(event, self.now))

    def take(self, effects: Effects) -> None:
        assert not effects.closes, effects.closes
        by_session = {peer.session: peer for peer in self.peers()}
        for session, messages in effects.sends.items():
            peer = by_session.get(session)
            if peer is not None and peer.is_connected:
                peer.inbox.extend([over_the_wire(message) for message in messages])
        for object_ in effects.adopt:
            self.objects[object_] = self.objects.get(object_, 0) + 1
            assert self.objects[object_] == 1, "adopted twice"
        for object_ in effects.delete:
            self.objects.pop(object_, None)
        self.core.check_invariants()

    # ----------------------------------------------------------------------------------------------------- actions

    def submit(self, a: int, b: int) -> None:
        self.clients[a % 2].submit(b, 1 + a // 2)

    def graph(self, a: int, b: int) -> None:
        self.clients[a % 2].submit_graph(b % 6)

    def array(self, a: int, b: int) -> None:
        self.clients[a % 2].open_array(b % 4)

    def more_rows(self, a: int, b: int) -> None:
        client = self.clients[a % 2]
        if client.arrays:
            client.send_array(list(client.arrays)[b % len(client.arrays)])

    def cancel(self, a: int, b: int) -> None:
        if self.clients[a % 2].knows:
            self.clients[a % 2].cancel(b)

    def acknowledge(self, a: int, b: int) -> None:
        self.clients[a % 2].acknowledge()

    def run(self, a: int, b: int) -> None:
        self.workers[a % len(self.workers)].run(b, b)

    def nest(self, a: int, b: int) -> None:
        self.workers[a % len(self.workers)].wait(a, b)

    def to_core(self, a: int, b: int) -> None:
        peers = [peer for peer in self.peers() if peer.outbox]
        if peers:
            peer = peers[a % len(peers)]
            messages = [over_the_wire(peer.outbox.popleft()) for _ in range(min(len(peer.outbox), 1 + b))]
            self.event(Received(peer.session, messages))

    def to_peer(self, a: int, b: int) -> None:
        peers = [peer for peer in self.peers() if peer.inbox]
        if peers:
            peer = peers[a % len(peers)]
            for _ in range(min(len(peer.inbox), 1 + b)):
                if peer.inbox:
                    peer.receive(peer.inbox.popleft())

    def disconnect(self, a: int, b: int) -> None:
        peer = list(self.peers())[a % (2 + len(self.workers))]
        if peer.is_connected:
            peer.close()
            self.event(PeerLost(peer.session))

    def reconnect_one(self, a: int, b: int) -> None:
        gone = [peer for peer in self.peers() if not peer.is_connected]
        if gone:
            self.reconnect(gone[a % len(gone)])

    def supersede(self, a: int, b: int) -> None:
        """A second connection comes before the first was noticed to be gone."""
        peer = list(self.peers())[a % (2 + len(self.workers))]
        peer.close()
        self.reconnect(peer)

    def die(self, a: int, b: int) -> None:
        worker = self.workers.pop(a % len(self.workers))
        if worker.is_connected:
            self.event(PeerLost(worker.session, on_purpose=b == 0))
        self.reconnect(self.add_worker(0 if worker.capabilities else 1))

    def restart(self, a: int, b: int) -> None:
        self.epoch += 1
        for peer in self.peers():
            peer.close()
        self.objects.clear()
        self.core = self.new_core()

    def wait(self, a: int, b: int) -> None:
        self.advance((0.001, 0.02, 0.3, 0.6, 1.0, 4.0, 10.0, 40.0)[b % 8])

    ACTIONS = (
        *("submit", "submit", "graph", "array", "more_rows", "cancel", "acknowledge", "acknowledge"),
        *(
            "nest",
            "nest",
            "run",
            "run",
            "run",
            "to_core",
            "to_core",
            "to_core",
            "to_peer",
            "to_peer",
            "to_peer",
            "wait",
            "wait",
        ),
        *("disconnect", "reconnect_one", "reconnect_one", "supersede", "die", "restart"),
    )

    def act(self, action: str, a: int, b: int) -> None:
        getattr(self, action)(a, b)

    # -------------------------------------------------------------------------------------------------------- time

    def reconnect(self, peer: Peer) -> None:
        kind = ClientConnected if isinstance(peer, ModelClient) else WorkerConnected
        self.event(kind(peer.session, f"peer-{int.from_bytes(peer.session, 'big')}", "3.11"))
        assert isinstance(peer, ModelClient | ModelWorker)
        peer.connect()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.core.next_deadline()) is not None and at <= end:
            self.now = max(self.now, at)
            self.take(self.core.on_deadline(self.now))
            after = self.core.next_deadline()
            assert after is None or after > self.now, "a deadline that does not go away"
        self.now = end

    def settle(self) -> None:
        """Let everything reconnect and finish; then everything must be right and nothing be left."""
        for _ in range(3000):
            for peer in list(self.peers()):
                if not peer.is_connected:
                    self.reconnect(peer)
                while peer.outbox or peer.inbox:
                    if peer.outbox:
                        messages = [over_the_wire(peer.outbox.popleft()) for _ in range(len(peer.outbox))]
                        self.event(Received(peer.session, messages))
                    while peer.inbox:
                        peer.receive(peer.inbox.popleft())
            for client in self.clients:
                for number in client.arrays:
                    client.send_array(number)
                client.acknowledge()
            busy = [worker for worker in self.workers if worker.run(0, 7)]
            traffic = any(peer.outbox or peer.inbox for peer in self.peers())
            if not busy and not traffic:
                self.advance(0.1)
            if not traffic and not any(c.unfinished() for c in self.clients) and not self.core.state.attempts:
                break
        for client in self.clients:
            client.check()
        self.advance(40.0)
        for peer in self.peers():
            while peer.outbox or peer.inbox:
                if peer.outbox:
                    self.event(Received(peer.session, [peer.outbox.popleft()]))
                while peer.inbox:
                    peer.receive(peer.inbox.popleft())
        for worker in self.workers:
            assert not worker.held, worker.held
        for client in self.clients:
            self.event(PeerLost(client.session, on_purpose=True))
        check_no_work(self.core)
        assert not self.core.state.clients
        assert not self.core.retries.pauses
        assert set(self.core.state.workers) == {worker.session for worker in self.workers}
        for worker in self.workers:
            while worker.inbox:
                worker.receive(worker.inbox.popleft())
            assert not worker.functions, "functions of clients that are gone"
        assert not self.objects, "objects that nobody refers to"
