"""A bench around a scheduler core: fake clients and workers, a clock, and the real codec on every way.

Nothing happens by itself: a test says what clients and workers send and reads what they were sent. After every event
the core's invariants are checked.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, TypeVar

from scaler_protocol import FrameDecoder, Message, decode, encode
from scaler_protocol import messages as m
from scaler_protocol.ids import SessionId, object_id
from scaler_protocol.messages import DEFAULT_OPTIONS, Outcome, ReturnReason, TaskOptions
from scaler_trio.scheduler.core.core import SchedulerCore
from scaler_trio.scheduler.core.effects import Close, Effects
from scaler_trio.scheduler.core.events import ClientConnected, Event, PeerLost, Received, WorkerConnected
from scaler_trio.scheduler.core.tuning import Tuning

M = TypeVar("M")
PYTHON = "3.11/cloudpickle 3.1"


def over_the_wire(message: Message) -> Message:
    """The message as its receiver gets it."""
    (frame,) = FrameDecoder().feed(b"".join(bytes(buffer) for buffer in encode(message)))
    return decode(frame)


def u32(numbers: Iterable[int]) -> bytes:
    return array("I", list(numbers)).tobytes()


class Bench:
    """A core and its surroundings."""

    def __init__(self, *, epoch: int = 1, tuning: Tuning | None = None, now: float = 100.0) -> None:
        self.tuning = tuning or Tuning()
        self.now = now
        self.core = SchedulerCore(epoch=epoch, now=now, object_address="objects", tuning=self.tuning)
        self.peers: dict[bytes, FakePeer] = {}
        self.adopted: list[bytes] = []
        self.deleted: list[bytes] = []
        self.closes: list[Close] = []
        self._sessions = count(1)

    def event(self, event: Event) -> None:
        """Give the core an event, carry out its effects, check its invariants."""
        self._carry_out(self.core.handle(event, self.now))

    def advance(self, seconds: float) -> None:
        """Let time pass; deadlines on the way are met exactly."""
        end = self.now + seconds
        while (at := self.core.next_deadline()) is not None and at <= end:
            assert at >= self.now - 60, "a deadline long past"
            self.now = max(self.now, at)
            self._carry_out(self.core.on_deadline(self.now))
            after = self.core.next_deadline()
            assert after is None or after > self.now, "a deadline that does not go away"
        self.now = end

    def _carry_out(self, effects: Effects) -> None:
        for session, messages in (*effects.output.items(), *effects.sends.items()):
            peer = self.peers.get(session)
            for message in messages:
                received = over_the_wire(message)
                if peer is not None and peer.is_connected:
                    peer.inbox.append(received)
        for close in effects.closes:
            self.closes.append(close)
            self.peers[close.session].is_connected = False
        self.adopted += effects.adopt
        self.deleted += effects.delete
        self.core.check_invariants()

    def restart(self, *, epoch: int) -> None:
        """The scheduler dies; a new one of a later epoch takes its place. Nobody is connected."""
        self.core = SchedulerCore(epoch=epoch, now=self.now, object_address="objects", tuning=self.tuning)
        for peer in self.peers.values():
            peer.is_connected = False
            peer.inbox.clear()

    def client(self, name: str = "client", *, python: str = PYTHON) -> FakeClient:
        """A connected client that holds nothing."""
        client = FakeClient(self, name, python)
        client.connect()
        return client

    def worker(
        self, name: str = "worker", *, slots: int = 1, python: str = PYTHON, manager: str = "", **amounts: int
    ) -> FakeWorker:
        """A connected worker that holds nothing."""
        worker = FakeWorker(self, name, python, slots, amounts, manager)
        worker.connect()
        return worker

    def new_session(self) -> bytes:
        return next(self._sessions).to_bytes(16, "big")

    def take_fault(self) -> str:
        """The sentence of the one session that was closed."""
        (close,) = self.closes
        self.closes.clear()
        return close.text

    def check_empty(self) -> None:
        """Nothing is unread, and the core remembers nothing of any task."""
        for peer in self.peers.values():
            assert not [x for x in peer.inbox if not isinstance(x, m.PutFunction | m.ForgetFunctions | m.Credit)], (
                peer.name,
                peer.inbox,
            )
        assert not self.closes
        check_no_work(self.core)


def check_no_work(core: SchedulerCore) -> None:
    """No record of a task, array, graph, attempt or object is left."""
    state = core.state
    assert not state.attempts, state.attempts
    assert not state.unsettled, "workers that were not yet told what they may forget"
    assert not state.references.counts
    assert not state.ready.suspects
    assert not core.recovery.claims and not core.recovery.by_task
    assert not core.recovery.waiting and not core.recovery.arrays and not core.recovery.clients
    for client in state.clients.values():
        assert not client.tasks and not client.arrays and not client.graphs, (client.tasks, client.arrays)
        assert not client.unacknowledged and not client.result_objects and not client.unassigned_bytes
        assert abs(client.load_s) < 1e-6
        assert not client.blocked
        assert all(line.head() is None for line in client.lines.values())
        for function in client.functions.values():
            assert function.users == 0
    for worker in state.workers.values():
        assert not worker.attempts and not worker.items, worker.attempts
        assert not worker.exclusive and not worker.reserved


class FakePeer:
    """One end of a connection; what it is sent waits in ``inbox`` until the test takes it."""

    def __init__(self, bench: Bench, name: str, python: str) -> None:
        self.bench = bench
        self.name = name
        self.python = python
        self.session = bench.new_session()
        self.is_connected = False
        self.inbox: list[Any] = []
        bench.peers[self.session] = self

    def send(self, *messages: Message) -> None:
        """One read's worth of messages."""
        self.bench.event(Received(self.session, [over_the_wire(message) for message in messages]))

    def take(self, kind: type[M]) -> list[M]:
        """The messages of one kind, in order, out of the inbox."""
        taken = [message for message in self.inbox if type(message) is kind]
        self.inbox[:] = [message for message in self.inbox if type(message) is not kind]
        return taken

    def take_one(self, kind: type[M]) -> M:
        """The only message of its kind."""
        (message,) = self.take(kind)
        return message

    def lose(self, *, on_purpose: bool = False) -> None:
        """The connection ends; what was on its way to the peer is lost."""
        self.is_connected = False
        self.inbox.clear()
        self.bench.event(PeerLost(self.session, on_purpose))


class FakeClient(FakePeer):
    """A client that numbers for the test and remembers nothing."""

    def __init__(self, bench: Bench, name: str, python: str) -> None:
        super().__init__(bench, name, python)
        self._numbers = count()
        self.functions: set[int] = set()

    def connect(self, sequence: int = 0, tasks: Sequence[Any] = (), arrays: Sequence[Any] = ()) -> m.ClientKnown:
        self.is_connected = True
        self.functions.clear()
        self.bench.event(ClientConnected(self.session, self.name, self.python))
        self.send(m.ClientHeld(sequence, tuple(tasks), tuple(arrays)))
        return self.take_one(m.ClientKnown)

    def define(self, number: int = 0) -> int:
        """A function, once per connection."""
        if number not in self.functions:
            self.functions.add(number)
            self.send(m.DefineFunction(number, f"function-{number}", b"pickle"))
        return number

    def submit(self, *payloads: bytes, function: int = 0, objects: tuple[bytes, ...] = (), **options: Any) -> list[int]:
        """Single tasks in one message; their numbers."""
        numbers = [next(self._numbers) for _ in payloads]
        rows = [(n, self.define(function), p, objects, 0) for n, p in zip(numbers, payloads, strict=True)]
        self.send(m.SubmitTasks((TaskOptions(**options),), tuple(rows)))
        return numbers

    def open(self, rows: int, *, count: int | None = None, done: Sequence[Any] = (), **options: Any) -> int:
        """An array, and its first rows if there are any; its number."""
        number = next(self._numbers)
        count = rows if count is None else count
        self.send(m.OpenArray(number, self.define(), TaskOptions(**options), count, tuple(done)))
        if rows:
            self.block(number, 0, rows)
        return number

    def block(self, task: int, start: int, count: int, *, page_rows: int = 1, **more: Any) -> None:
        """Rows whose page is the text of its first row's number."""
        pages = [str(row).encode() for row in range(start, start + count, page_rows)]
        offsets = [0]
        for page in pages:
            offsets.append(offsets[-1] + len(page))
        block = {"void": (), "objects": (), "offsets": u32(offsets), "data": b"".join(pages), **more}
        self.send(m.ArrayBlock(task=task, start=start, count=count, page_rows=page_rows, **block))

    def graph(
        self, nodes: dict[str, str], targets: str, *, end: bool = True, payload: bytes = b"", **options: Any
    ) -> dict[str, int]:
        """A graph written as name -> names of its inputs, one letter each; the numbers of its nodes."""
        graph = next(self._numbers)
        numbers = {name: next(self._numbers) for name in nodes}
        rows = [
            (numbers[n], self.define(), payload or n.encode(), (), 0, tuple([numbers[i] for i in inputs]))
            for n, inputs in nodes.items()
        ]
        for at in range(0, len(rows), 4096):
            self.send(m.GraphNodes(graph, (TaskOptions(**options),), tuple(rows[at : at + 4096])))
        if end:
            self.send(m.GraphEnd(graph, tuple([numbers[t] for t in targets])))
        return {**numbers, "graph": graph}

    def cancel(self, number: int, lo: int = 0, hi: int = 1) -> None:
        self.send(m.CancelTasks(((number, lo, hi),)))

    def take_results(self, *, acknowledge: bool = True) -> dict[int, tuple[Outcome, bytes]]:
        """Results of single tasks that came since last time."""
        messages = self.take(m.TaskResults)
        if messages and acknowledge:
            self.send(m.AckResults(messages[-1].sequence))
        return {row[0]: (Outcome(row[1]), row[2]) for message in messages for row in message.rows}

    def take_rows(self, *, acknowledge: bool = True) -> dict[int, tuple[Outcome, bytes]]:
        """Results of array rows that came since last time; each row at most once."""
        rows: dict[int, tuple[Outcome, bytes]] = {}
        messages = self.take(m.ArrayResults)
        for message in messages:
            failed, data, at = dict(message.failed), bytes(message.data), 0
            for row, length in zip(
                range(message.lo, message.hi), memoryview(message.lengths).cast("B").cast("I"), strict=True
            ):
                assert row not in rows, f"row {row} was reported twice"
                rows[row] = (Outcome(failed.get(row, 0)), data[at : at + length])
                at += length
        if messages and acknowledge:
            self.send(m.AckResults(messages[-1].sequence))
        return rows

    def object(self, number: int) -> bytes:
        return object_id(SessionId(self.session), number)


class FakeWorker(FakePeer):
    """A worker that does what the test says."""

    def __init__(
        self, bench: Bench, name: str, python: str, slots: int, amounts: dict[str, int], manager: str = ""
    ) -> None:
        super().__init__(bench, name, python)
        self.slots = slots
        self.manager = manager
        self.amounts = amounts
        self.known: m.WorkerKnown | None = None

    def connect(
        self, unfinished: Sequence[Any] = (), finished: Sequence[Any] = (), *, latency_s: float = 0.0
    ) -> m.WorkerKnown:
        self.is_connected = True
        self.bench.event(WorkerConnected(self.session, self.name, self.python))
        capabilities = tuple(self.amounts.items())
        self.send(m.WorkerHeld(self.slots, capabilities, self.manager, latency_s, tuple(unfinished), tuple(finished)))
        self.known = self.take_one(m.WorkerKnown)
        return self.known

    def take_settled(self) -> list[int]:
        """Attempts that it was told to forget since last time; lets pass the time in which it must be told."""
        self.bench.advance(self.bench.tuning.settle_s)
        return [attempt for message in self.take(m.Settled) for attempt in message.attempts]

    def take_tasks(self) -> list[tuple[Any, ...]]:
        """Rows of single tasks that it was given since last time."""
        return [row for message in self.take(m.AssignTasks) for row in message.rows]

    def take_slices(self) -> list[m.AssignSlice]:
        """Slices that it was given since last time."""
        return self.take(m.AssignSlice)

    def finish(
        self,
        *rows: tuple[Any, ...],
        result: bytes = b"done",
        outcome: Outcome = Outcome.VALUE,
        objects: tuple[bytes, ...] = (),
        seconds: float = 0.001,
    ) -> None:
        """Results of single tasks, in one message."""
        self.send(m.AttemptResults(tuple([(row[0], int(outcome), result, objects, seconds) for row in rows])))

    def finish_slice(
        self,
        slice_: m.AssignSlice,
        lo: int | None = None,
        hi: int | None = None,
        *,
        failed: Sequence[Any] = (),
        objects: Sequence[Any] = (),
        seconds_each: float = 0.001,
    ) -> None:
        """Results of a slice, or of some rows of it: each is ``row`` and its number."""
        lo, hi = slice_.lo if lo is None else lo, slice_.hi if hi is None else hi
        results = [b"row %d" % row for row in range(lo, hi)]
        self.send(
            m.SliceResults(
                attempt=slice_.attempt,
                lo=lo,
                hi=hi,
                failed=tuple(failed),
                objects=tuple(objects),
                seconds=seconds_each * (hi - lo),
                lengths=u32(map(len, results)),
                data=b"".join(results),
            )
        )

    def give_back(self, attempt: int, lo: int = 0, hi: int = 1, reason: ReturnReason = ReturnReason.RECALLED) -> None:
        self.send(m.Returned(((attempt, lo, hi, int(reason)),)))

    def answer_recalls(self) -> None:
        """Every recall came too late."""
        for message in self.take(m.Recall):
            self.send(
                m.Returned(tuple([(attempt, lo, lo, int(ReturnReason.RECALLED)) for attempt, lo in message.rows]))
            )

    def crash(self, attempt: int, row: int = 0, *, charged: bool = True, text: str = "killed by SIGSEGV") -> None:
        self.send(m.Crashed(((attempt, row, charged, text),)))

    def held(self, task: tuple[Any, ...] | m.AssignSlice, *, epoch: int = 1, crashes: int = 0) -> tuple[Any, ...]:
        """The held-set's row for something that it was given."""
        if isinstance(task, m.AssignSlice):
            return (epoch, task.attempt, task.client, task.task, task.lo, task.hi, crashes)
        return (epoch, task[0], task[1], task[2], 0, 1, crashes)


__all__ = ["DEFAULT_OPTIONS", "PYTHON", "Bench", "FakeClient", "FakeWorker", "check_no_work", "over_the_wire", "u32"]
