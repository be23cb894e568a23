"""A scheduler without IO, time or workers, for tests of the core; it asserts what the protocol asks of a client."""

from __future__ import annotations

import struct
from typing import Any

from attrs import define, field

from scaler_protocol import FrameDecoder, decode, encode
from scaler_protocol import messages as m


def through_codec(message: Any) -> Any:
    """The message as the other side gets it."""
    decoder = FrameDecoder()
    frames = [frame for buffer in encode(message) for frame in decoder.feed(bytes(buffer))]
    assert len(frames) == 1
    return decode(frames[0])


@define(eq=False)
class ModelArray:
    count: int
    received: int = 0
    done: set[int] = field(factory=set)
    rows: dict[int, bytes] = field(factory=dict)  # received and not executed
    cancelled: bool = False


@define(eq=False)
class ModelScheduler:
    """Executes a task by repeating its payload. Everything but what is in flight survives a lost connection."""

    epoch: int = 1
    credit_bytes: int = 100_000
    functions: set[int] = field(factory=set)  # defined on this connection
    waiting: dict[int, bytes] = field(factory=dict)
    cancelled: set[int] = field(factory=set)
    known: set[int] = field(factory=set)
    arrays: dict[int, ModelArray] = field(factory=dict)
    parts: dict[int, dict[int, bytes]] = field(factory=dict)  # graphs without an end
    sequence: int = 0
    unacknowledged: dict[int, Any] = field(factory=dict)
    received_bytes: int = 0
    granted_bytes: int = 0
    inner_done: set[int] = field(factory=set)
    held: set[bytes] = field(factory=set)
    executed: list[Any] = field(factory=list)
    said_hello: bool = False

    def begin(self) -> None:
        """A new connection."""
        self.functions.clear()
        self.received_bytes = 0
        self.granted_bytes = self.credit_bytes
        self.said_hello = False

    def take(self, message: Any) -> list[Any]:
        """A message of the client; what to answer."""
        assert self.said_hello or type(message) is m.ClientHeld, "ClientHeld is the first message"
        return getattr(self, f"on_{type(message).__name__}", lambda _: [])(message) or []

    def execute(self, choose: Any) -> list[Any]:
        """Run one thing of what waits; its result message."""
        options: list[Any] = [("task", number) for number in self.waiting]
        options += [("array", number) for number, array in self.arrays.items() if array.rows]
        if not options:
            return []
        kind, number = choose(options)
        if kind == "task":
            payload = self.waiting.pop(number)
            self.executed.append(number)
            outcome = 0
            if number in self.cancelled:
                outcome, payload = int(m.Outcome.CANCELLED), b""
            return [self.result(lambda s: m.TaskResults(s, ((number, outcome, payload, (), 0.0),)))]
        array = self.arrays[number]
        lo = choose(sorted(array.rows))
        hi = lo + 1
        while hi in array.rows and choose([True, True, True, False]):
            hi += 1
        payloads = [array.rows.pop(row) for row in range(lo, hi)]
        array.done.update(range(lo, hi))
        failed: tuple[Any, ...] = ()
        if array.cancelled:
            failed = tuple([(row, int(m.Outcome.CANCELLED)) for row in range(lo, hi)])
        self.executed.append((number, lo, hi))
        lengths = struct.pack(f"<{hi - lo}I", *map(len, payloads))
        joined = b"".join(payloads)
        result = self.result(lambda s: m.ArrayResults(s, number, lo, hi, failed, (), 0.0, lengths, joined))
        self.forget_if_done(number)
        return [result]

    def grant(self) -> list[Any]:
        """More credit."""
        self.granted_bytes = self.credit_bytes + self.received_bytes
        return [m.Credit(self.granted_bytes)]

    def restart(self) -> ModelScheduler:
        """The next scheduler, which knows nothing."""
        return ModelScheduler(epoch=self.epoch + 1, credit_bytes=self.credit_bytes)

    def result(self, make: Any) -> Any:
        self.sequence += 1
        message = make(self.sequence)
        self.unacknowledged[self.sequence] = message
        return message

    def forget_if_done(self, number: int) -> None:
        array = self.arrays[number]
        if array.count >= 0 and len(array.done) >= array.count and not array.rows:
            del self.arrays[number]

    # ------------------------------------------------------------------------------------------------------ messages

    def on_ClientHeld(self, held: m.ClientHeld) -> list[Any]:
        self.said_hello = True
        wanted = {number for lo, hi in held.tasks for number in range(lo, hi)}
        for number in [n for n in self.waiting if n not in wanted]:
            del self.waiting[number]
        tasks = tuple([(number, number + 1) for number in sorted(wanted & self.known)])
        arrays = tuple([(n, self.arrays[n].received) for n, _ in held.arrays if n in self.arrays])
        for number in [n for n in self.arrays if n not in dict(held.arrays)]:
            del self.arrays[number]
        again = [message for sequence, message in self.unacknowledged.items() if sequence > held.sequence]
        return [m.ClientKnown(self.epoch, "", self.granted_bytes, tasks, arrays), *again]

    def on_DefineFunction(self, message: m.DefineFunction) -> None:
        assert message.function not in self.functions
        self.functions.add(message.function)

    def on_DropFunctions(self, message: m.DropFunctions) -> None:
        self.functions.difference_update(message.functions)

    def on_SubmitTasks(self, message: m.SubmitTasks) -> None:
        for task, function, payload, _, option in message.rows:
            assert function in self.functions
            assert 0 <= option < len(message.options)
            self.spend(len(payload))
            if task not in self.known:
                self.known.add(task)
                self.waiting[task] = payload

    def on_OpenArray(self, message: m.OpenArray) -> None:
        assert message.function in self.functions
        assert message.task not in self.arrays
        array = self.arrays[message.task] = ModelArray(message.count)
        array.done = {row for lo, hi in message.done for row in range(lo, hi)}

    def on_ArrayBlock(self, message: m.ArrayBlock) -> None:
        array = self.arrays[message.task]
        assert not array.cancelled
        self.spend(len(message.data))
        if message.start + message.count <= array.received:
            return
        assert message.start >= array.received, "blocks ascend"
        array.done.update(range(array.received, message.start))  # what is skipped is done
        array.received = message.start + message.count
        offsets = struct.unpack(f"<{len(message.offsets) // 4}I", message.offsets)
        assert len(offsets) == -(-message.count // message.page_rows) + 1
        assert all(message.start <= row < message.start + message.count for row in message.void)
        array.done.update(message.void)
        for i in range(message.count):
            row = message.start + i
            if row not in array.done:
                assert message.page_rows == 1
                array.rows[row] = bytes(message.data[offsets[i] : offsets[i + 1]])

    def on_EndArray(self, message: m.EndArray) -> None:
        if message.task in self.arrays:
            array = self.arrays[message.task]
            assert message.count >= array.received
            array.done.update(range(array.received, message.count))
            array.count = message.count
            self.forget_if_done(message.task)

    def on_GraphNodes(self, message: m.GraphNodes) -> None:
        nodes = self.parts.setdefault(message.graph, {})
        for task, function, payload, _, _, inputs in message.rows:
            assert function in self.functions
            if task not in self.known:
                assert all(number in self.known and number not in self.inner_done for number in inputs)
                self.known.add(task)
                nodes[task] = payload

    def on_GraphEnd(self, message: m.GraphEnd) -> None:
        for number, payload in self.parts.pop(message.graph, {}).items():
            if number in message.targets:
                self.waiting[number] = payload
            else:
                self.inner_done.add(number)
                self.known.discard(number)  # as a node whose last reader has ended

    def on_CancelTasks(self, message: m.CancelTasks) -> None:
        for task, _, _ in message.rows:
            self.cancelled.add(task)
            if task in self.arrays:
                self.arrays[task].cancelled = True

    def on_AckResults(self, message: m.AckResults) -> None:
        assert message.sequence <= self.sequence
        for sequence in [s for s in self.unacknowledged if s <= message.sequence]:
            del self.unacknowledged[sequence]

    def on_HoldObjects(self, message: m.HoldObjects) -> None:
        self.held.update([object_ for object_, _ in message.rows])

    def on_ReleaseObjects(self, message: m.ReleaseObjects) -> None:
        self.held.difference_update(message.objects)

    def spend(self, size: int) -> None:
        self.received_bytes += size
        assert self.received_bytes <= self.granted_bytes, "more payload than credit"
