"""A scheduler that executes rows itself: over real sockets, with real messages, and with faults on demand.

It keeps the contract of `docs/explain/journey.md` towards the client: numbers make messages idempotent, results have
sequence numbers and are sent again after a reconnect until they are acknowledged.
"""

from __future__ import annotations

import secrets
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import trio
from attrs import define, field

from scaler_protocol import Identity, Role
from scaler_protocol import messages as m
from scaler_trio.net import Address, ConnectionClosed, Link, listen
from scaler_trio.serialization import CannotPickle, dump_error, dump_result, load_function, load_page, load_row

TOKEN = b"a token for tests only"


@define(eq=False)
class Array:
    function: Callable[[Any], Any]
    count: int
    received: int = 0
    done: int = 0
    cancelled: bool = False
    blocks: list[m.ArrayBlock] = field(factory=list)  # not executed yet


@define(eq=False)
class Peer:
    """What is known of one client session."""

    functions: dict[int, Callable[[Any], Any]] = field(factory=dict)
    names: dict[int, str] = field(factory=dict)
    waiting: dict[int, tuple[Any, ...]] = field(factory=dict)  # tasks not executed yet
    known: set[int] = field(factory=set)  # every task or node that was received
    arrays: dict[int, Array] = field(factory=dict)
    nodes: dict[int, list[tuple[Any, ...]]] = field(factory=dict)  # of graphs without an end
    unacknowledged: dict[int, Any] = field(factory=dict)
    sequence: int = 0
    received_bytes: int = 0
    granted_bytes: int = 0
    link: Link | None = None


class NoObjects:
    """There is no object storage here."""

    def write(self, parts: Any, size_bytes: int, value: object) -> bytes:
        raise RuntimeError("the fake scheduler stores no objects")

    def read(self, object_id: bytes) -> memoryview:
        raise RuntimeError("the fake scheduler stores no objects")


class FakeScheduler:
    """Use as a context manager; its loop runs in a thread. ``received`` has all messages, in order."""

    def __init__(
        self,
        *,
        token: bytes | None = TOKEN,
        port: int = 0,
        epoch: int = 1,
        credit_bytes: int = 16 << 20,
        keep: bool = True,
    ) -> None:
        self.token = token
        self.epoch = epoch
        self.credit_bytes = credit_bytes
        self.received: list[Any] = []
        self.keep = keep  # remember messages; off for measuring
        self.paused = False  # take rows, execute none
        self.break_after: int | None = None  # close the connection after so many more messages
        self.connections = 0
        self.peers: dict[bytes, Peer] = {}
        self.listener = listen(Address("127.0.0.1", port))
        self.address = str(self.listener.address)
        self._thread = threading.Thread(target=lambda: trio.run(self._main), daemon=True)
        self._ready = threading.Event()
        self._changed = threading.Condition()

    # --------------------------------------------------------------------------------------------------- for the test

    def __enter__(self) -> FakeScheduler:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close everything."""
        if self._thread.is_alive():
            self._trio.run_sync_soon(self._scope.cancel)
            self._thread.join(10)
        self.listener.close()

    def resume(self) -> None:
        """Execute what waits, and what comes."""

        def act() -> None:
            self.paused = False
            for peer in self.peers.values():
                self._send(peer, self._execute(peer))

        self._trio.run_sync_soon(act)

    def drop_connections(self) -> None:
        """Close every connection, remembering everything."""
        self._trio.run_sync_soon(self._drop)

    def restart(self) -> None:
        """Close every connection, forget everything, and begin a new epoch."""

        def act() -> None:
            self.epoch += 1
            self._drop()
            self.peers.clear()

        self._trio.run_sync_soon(act)

    def send(self, *messages: Any) -> None:
        """Send these to every client."""

        def act() -> None:
            for peer in self.peers.values():
                if peer.link is not None:
                    peer.link.send(*messages)

        self._trio.run_sync_soon(act)

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until the condition holds; it is asked after every message."""
        with self._changed:
            assert self._changed.wait_for(condition, 10), f"never: {what}; received {self.kinds()}"

    def kinds(self) -> list[str]:
        """The names of all messages received."""
        return [type(message).__name__ for message in self.received]

    def of(self, kind: type) -> list[Any]:
        """All messages of this kind."""
        return [message for message in self.received if type(message) is kind]

    # ------------------------------------------------------------------------------------------------------- the loop

    async def _main(self) -> None:
        self._trio = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as nursery:
                self._ready.set()
                await self.listener.serve(self._session, self._identity, token=self.token, nursery=nursery)

    def _identity(self) -> Identity:
        return Identity(Role.SCHEDULER, b"s" * 16, "fake scheduler", secrets.token_bytes(32), epoch=self.epoch)

    def _drop(self) -> None:
        for peer in self.peers.values():
            if peer.link is not None:
                peer.link.close("the test wants it")

    async def _session(self, link: Link) -> None:
        self.connections += 1
        link.judges_silence = False
        hello = link.connection.peer
        assert hello is not None
        peer = self.peers.setdefault(hello.session, Peer())
        peer.link = link
        peer.received_bytes = 0
        peer.granted_bytes = self.credit_bytes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            try:
                while True:
                    messages = await link.receive()
                    for message in messages:
                        if self.break_after is not None:
                            self.break_after -= 1
                            if self.break_after < 0:
                                self.break_after = None
                                link.close("the test wants it")
                                break
                        self._take(peer, message)
                    self._send(peer, self._execute(peer))
                    with self._changed:
                        self._changed.notify_all()
            except ConnectionClosed:
                if peer.link is link:
                    peer.link = None
            nursery.cancel_scope.cancel()
        with self._changed:
            self._changed.notify_all()

    def _send(self, peer: Peer, messages: list[Any]) -> None:
        if peer.link is not None and messages:
            peer.link.send(*messages)

    # ------------------------------------------------------------------------------------------------------- messages

    def _take(self, peer: Peer, message: Any) -> None:
        if self.keep:
            self.received.append(message)
        handler = getattr(self, f"_on_{type(message).__name__}", None)
        if handler is not None:
            handler(peer, message)

    def _on_ClientHeld(self, peer: Peer, held: m.ClientHeld) -> None:
        peer.functions.clear()
        tasks = [number for lo, hi in held.tasks for number in range(lo, hi) if number in peer.known]
        arrays = [(number, peer.arrays[number].received) for number, _ in held.arrays if number in peer.arrays]
        for number in [*peer.waiting]:
            if number not in tasks:
                del peer.waiting[number]
        known = m.ClientKnown(
            self.epoch, "", self.credit_bytes, tuple([(number, number + 1) for number in tasks]), tuple(arrays)
        )
        again = [message for sequence, message in peer.unacknowledged.items() if sequence > held.sequence]
        self._send(peer, [known, *again])

    def _on_DefineFunction(self, peer: Peer, message: m.DefineFunction) -> None:
        assert message.function not in peer.functions, "defined twice on one connection"
        try:
            peer.functions[message.function] = load_function(bytes(message.payload))
        except Exception as error:
            peer.functions[message.function] = _raiser(error)
        peer.names[message.function] = message.name

    def _on_DropFunctions(self, peer: Peer, message: m.DropFunctions) -> None:
        for number in message.functions:
            del peer.functions[number]

    def _on_SubmitTasks(self, peer: Peer, message: m.SubmitTasks) -> None:
        for task, function, payload, _, option in message.rows:
            peer.received_bytes += len(payload)
            if task not in peer.known:
                peer.known.add(task)
                peer.waiting[task] = (peer.functions[function], payload, message.options[option])

    def _on_Explain(self, peer: Peer, message: m.Explain) -> None:
        self._send(peer, [m.Explanation(message.request, f"this is about {message.task}\nsecond line")])

    def _on_OpenArray(self, peer: Peer, message: m.OpenArray) -> None:
        if message.task not in peer.arrays:
            array = peer.arrays[message.task] = Array(peer.functions[message.function], message.count)
            array.done = sum([hi - lo for lo, hi in message.done])

    def _on_ArrayBlock(self, peer: Peer, message: m.ArrayBlock) -> None:
        peer.received_bytes += len(message.data)
        array = peer.arrays[message.task]
        assert not array.cancelled
        if message.start + message.count > array.received:
            assert message.start >= array.received, "blocks ascend"
            array.received = message.start + message.count
            array.blocks.append(message)

    def _on_EndArray(self, peer: Peer, message: m.EndArray) -> None:
        peer.arrays[message.task].count = message.count

    def _on_GraphNodes(self, peer: Peer, message: m.GraphNodes) -> None:
        nodes = peer.nodes.setdefault(message.graph, [])
        for task, function, payload, _, _, inputs in message.rows:
            nodes.append((task, peer.functions[function], payload, inputs))

    def _on_GraphEnd(self, peer: Peer, message: m.GraphEnd) -> None:
        results: dict[int, tuple[int, bytes, int]] = {}
        for task, function, payload, inputs in peer.nodes.pop(message.graph):
            peer.known.add(task)
            failed = next((number for number in inputs if results[number][0] != 0), None)
            if failed is not None:
                root = results[failed][2]
                results[task] = (m.Outcome.UPSTREAM, str(root).encode(), root)
                continue
            outcome, data = _run(
                function, lambda p=payload, i=inputs: load_row(p, NoObjects(), [results[n][1] for n in i])
            )
            results[task] = (outcome, data, task)
        rows = tuple([(n, *results[n][:2], (), 0.001) for n in message.targets])
        self._send(peer, [self._result(peer, lambda sequence: m.TaskResults(sequence, rows))])

    def _on_CancelTasks(self, peer: Peer, message: m.CancelTasks) -> None:
        out = []
        for task, _, _ in message.rows:
            if peer.waiting.pop(task, None) is not None:
                row = (task, int(m.Outcome.CANCELLED), b"", (), 0.0)
                out.append(self._result(peer, lambda sequence, row=row: m.TaskResults(sequence, (row,))))
            array = peer.arrays.get(task)
            if array is not None:
                array.cancelled = True
                for block in array.blocks:
                    lo, hi = block.start, block.start + block.count
                    failed = tuple([(row, int(m.Outcome.CANCELLED)) for row in range(lo, hi)])
                    out.append(
                        self._result(
                            peer,
                            lambda s, t=task, lo=lo, hi=hi, f=failed: m.ArrayResults(
                                s, t, lo, hi, f, (), 0.0, bytes(4 * (hi - lo)), b""
                            ),
                        )
                    )
                array.blocks.clear()
        self._send(peer, out)

    def _on_AckResults(self, peer: Peer, message: m.AckResults) -> None:
        for sequence in [s for s in peer.unacknowledged if s <= message.sequence]:
            del peer.unacknowledged[sequence]

    # ------------------------------------------------------------------------------------------------------ execution

    def _execute(self, peer: Peer) -> list[Any]:
        if self.paused:
            return []
        out: list[Any] = []
        if peer.waiting:
            rows = []
            for task, (function, payload, _) in peer.waiting.items():
                outcome, data = _run(function, lambda p=payload: load_row(p, NoObjects()))
                rows.append((task, outcome, data, (), 0.001))
            peer.waiting.clear()
            for at in range(0, len(rows), 1000):
                part = tuple(rows[at : at + 1000])
                out.append(self._result(peer, lambda sequence, part=part: m.TaskResults(sequence, part)))
        for task, array in peer.arrays.items():
            for block in array.blocks:
                out += self._execute_block(peer, task, array, block)
            array.blocks.clear()
        total = self.credit_bytes + peer.received_bytes
        # In steps, as the real one does; but a step and a block must fit into what is granted.
        if total >= peer.granted_bytes + (self.credit_bytes // 4 if self.credit_bytes >= 4 << 20 else 1):
            peer.granted_bytes = total
            out.append(m.Credit(total))
        return out

    def _execute_block(self, peer: Peer, task: int, array: Array, block: m.ArrayBlock) -> Iterator[Any]:
        offsets = struct.unpack(f"<{len(block.offsets) // 4}I", block.offsets)
        void = set(block.void)
        at = block.start
        for page in range(len(offsets) - 1):
            lo = at
            hi = min(lo + block.page_rows, block.start + block.count)
            at = hi
            if void and all(row in void for row in range(lo, hi)):
                continue
            data = block.data[offsets[page] : offsets[page + 1]]
            try:
                rows = load_page(data, block.page_rows, NoObjects())
                results = [_run(array.function, lambda row=row: row) for row in rows]
            except Exception as error:
                results = [(int(m.Outcome.ERROR), dump_error(error))] * (hi - lo)
            failed = tuple([(lo + i, outcome) for i, (outcome, _) in enumerate(results) if outcome])
            lengths = struct.pack(f"<{len(results)}I", *[len(payload) for _, payload in results])
            joined = b"".join([payload for _, payload in results])
            yield self._result(
                peer,
                lambda s, lo=lo, hi=hi, f=failed, le=lengths, d=joined: m.ArrayResults(
                    s, task, lo, hi, f, (), 0.001, le, d
                ),
            )

    def _result(self, peer: Peer, make: Callable[[int], Any]) -> Any:
        peer.sequence += 1
        message = make(peer.sequence)
        peer.unacknowledged[peer.sequence] = message
        return message


def _run(function: Callable[[Any], Any], load: Callable[[], Any]) -> tuple[int, bytes]:
    try:
        return int(m.Outcome.VALUE), dump_result(function(load()), NoObjects()).payload
    except CannotPickle as error:
        return int(m.Outcome.ERROR), dump_error(error)
    except Exception as error:
        return int(m.Outcome.ERROR), dump_error(error)


def _raiser(error: Exception) -> Callable[[Any], Any]:
    def fail(_: Any) -> Any:
        raise error

    return fail


@contextmanager
def running(**settings: Any) -> Iterator[FakeScheduler]:
    """A fake scheduler for the duration of a test."""
    with FakeScheduler(**settings) as scheduler:
        yield scheduler
