"""The core against a model scheduler, with connections that close at every point: everything ends exactly once."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scaler_protocol.messages import DEFAULT_OPTIONS, TaskOptions
from scaler_trio.client.core import effects as do
from scaler_trio.client.core import events as ev
from scaler_trio.client.core.core import ClientCore
from scaler_trio.client.core.receipts import ACK_S
from tests.client.model_scheduler import ModelScheduler, through_codec

FUNCTIONS = [ev.Function(f"f{i}", b"function %d" % i) for i in range(3)]

OPTIONS = [DEFAULT_OPTIONS, TaskOptions(priority=3)]


class ClientAgainstScheduler(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.core = ClientCore()
        self.model = ModelScheduler(credit_bytes=200)
        self.now = 0.0
        self.numbers = iter(range(1, 10**9))
        self.connected = False
        self.to_scheduler: list[Any] = []
        self.to_client: list[Any] = []
        self.wanted: set[Any] = set()  # every item that must end: (number, row)
        self.ended: Counter[Any] = Counter()
        self.cancelled: set[int] = set()
        self.open_arrays: dict[int, int] = {}  # rows added so far
        self.open_graphs: dict[int, list[ev.NodeRow]] = {}  # nodes to be added
        self.array_done: set[int] = set()
        self.arrays: set[int] = set()

    # ----------------------------------------------------------------------------------------------------- plumbing

    def handle(self, event: ev.Event) -> None:
        self.now += 0.001
        for effect in self.core.handle(event, self.now):
            if isinstance(effect, do.Send):
                if self.connected:
                    self.to_scheduler += [through_codec(message) for message in effect.messages]
            elif isinstance(effect, do.TasksDone):
                for owner, row in effect.results:
                    assert owner == row[0]
                    self.ended[owner, 0] += 1
            elif isinstance(effect, do.NodesDone):
                for row in effect.rows:
                    assert row[0] in effect.owner
                    self.ended[row[0], 0] += 1
            elif isinstance(effect, do.SliceDone):
                for lo, hi in effect.pieces:
                    assert effect.message.lo <= lo < hi <= effect.message.hi
                    for row in range(lo, hi):
                        self.ended[effect.owner, row] += 1
            elif isinstance(effect, do.ArrayDone):
                assert effect.owner not in self.array_done
                self.array_done.add(effect.owner)
            else:
                assert not isinstance(effect, do.Violated), effect

    # -------------------------------------------------------------------------------------------------- what users do

    @rule(
        count=st.integers(1, 5),
        function=st.sampled_from(FUNCTIONS),
        size=st.integers(1, 40),
        o=st.sampled_from(OPTIONS),
    )
    def submit(self, count: int, function: ev.Function, size: int, o: TaskOptions) -> None:
        rows: list[ev.TaskRow] = []
        for _ in range(count):
            number = next(self.numbers)
            rows.append((number, function, b"p" * size, (), o, number))
            self.wanted.add((number, 0))
        self.handle(ev.Submitted(rows))

    @rule(count=st.integers(1, 4), data=st.data())
    def submit_graph(self, count: int, data: st.DataObject) -> None:
        numbers = [next(self.numbers) for _ in range(count)]
        nodes = tuple(
            [
                ev.NodeRow(n, FUNCTIONS[n % 3], b"n" * 30, (), DEFAULT_OPTIONS, tuple(numbers[max(0, i - 2) : i]))
                for i, n in enumerate(numbers)
            ]
        )
        targets = tuple(data.draw(st.lists(st.sampled_from(numbers), min_size=1, unique=True)))
        self.wanted.update([(number, 0) for number in targets])
        graph = next(self.numbers)
        self.handle(ev.GraphOpened(graph, frozenset([node.function for node in nodes]), targets, frozenset(numbers)))
        self.open_graphs[graph] = list(nodes)

    @precondition(lambda self: self.open_graphs)
    @rule(data=st.data(), count=st.integers(1, 4))
    def add_nodes(self, data: st.DataObject, count: int) -> None:
        graph = data.draw(st.sampled_from(sorted(self.open_graphs)))
        nodes = self.open_graphs[graph]
        some, nodes[:count] = nodes[:count], []
        if not nodes:
            del self.open_graphs[graph]
        self.handle(ev.NodesAdded(graph, some, not nodes))

    @rule(function=st.sampled_from(FUNCTIONS))
    def open_array(self, function: ev.Function) -> None:
        number = next(self.numbers)
        self.open_arrays[number] = 0
        self.arrays.add(number)
        self.handle(ev.ArrayOpened(number, function, DEFAULT_OPTIONS, -1, number))

    @precondition(lambda self: self.open_arrays)
    @rule(data=st.data(), rows=st.integers(1, 8), size=st.integers(0, 20))
    def add_block(self, data: st.DataObject, rows: int, size: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.open_arrays)))
        void = data.draw(st.sets(st.integers(0, rows - 1), max_size=2))
        start = self.open_arrays[number]
        self.open_arrays[number] += rows
        self.wanted.update([(number, start + row) for row in range(rows) if row not in void])
        sizes = [0 if row in void else size for row in range(rows)]
        offsets = struct.pack(f"<{rows + 1}I", *[sum(sizes[:i]) for i in range(rows + 1)])
        self.handle(ev.BlockAdded(number, rows, 1, tuple(sorted(void)), (), offsets, b"r" * sum(sizes)))

    @precondition(lambda self: self.open_arrays)
    @rule(data=st.data())
    def end_array(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.open_arrays)))
        del self.open_arrays[number]
        self.handle(ev.ArrayEnded(number))

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted({n for n, _ in self.wanted})))
        self.cancelled.add(number)
        self.open_arrays.pop(number, None)
        self.handle(ev.TasksCancelled([number]))

    # ---------------------------------------------------------------------------------------------- what the world does

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self) -> None:
        self.connected = True
        self.model.begin()
        self.handle(ev.Connected(self.model.epoch))

    @precondition(lambda self: self.connected)
    @rule()
    def lose_the_connection(self) -> None:
        self.connected = False
        self.to_scheduler.clear()
        self.to_client.clear()
        self.handle(ev.Disconnected("the test wants it"))

    @rule()
    def restart_the_scheduler(self) -> None:
        if self.connected:
            self.lose_the_connection()
        self.model = self.model.restart()

    @precondition(lambda self: self.to_scheduler)
    @rule(data=st.data())
    def deliver_to_the_scheduler(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(self.to_scheduler)))
        taken, self.to_scheduler = self.to_scheduler[:count], self.to_scheduler[count:]
        for message in taken:
            self.to_client += [through_codec(answer) for answer in self.model.take(message)]

    @precondition(lambda self: self.to_client)
    @rule(data=st.data())
    def deliver_to_the_client(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(self.to_client)))
        taken, self.to_client = self.to_client[:count], self.to_client[count:]
        self.handle(ev.Received(taken))

    @rule(data=st.data(), times=st.integers(1, 4))
    def execute(self, data: st.DataObject, times: int) -> None:
        for _ in range(times):
            self._execute(lambda options: data.draw(st.sampled_from(options)))

    @precondition(lambda self: self.connected and self.model.said_hello)
    @rule()
    def grant_credit(self) -> None:
        self.to_client += self.model.grant()

    @rule()
    def time_passes(self) -> None:
        deadline = self.core.next_deadline()
        if deadline is not None:
            assert deadline <= self.now + ACK_S
            self.now = max(self.now, deadline)
            self.handle(ev.Tick())
            later = self.core.next_deadline()
            assert later is None or later > self.now

    def _execute(self, choose: Callable[[list[Any]], Any]) -> None:
        messages = self.model.execute(choose)
        if self.connected and self.model.said_hello:
            self.to_client += [through_codec(message) for message in messages]

    # --------------------------------------------------------------------------------------------------- what must hold

    @invariant()
    def the_core_is_consistent(self) -> None:
        self.core.check_invariants()

    @invariant()
    def nothing_ends_twice(self) -> None:
        assert all(count == 1 for count in self.ended.values()), self.ended.most_common(3)

    def teardown(self) -> None:
        for number in list(self.open_arrays):
            self.handle(ev.ArrayEnded(number))
        self.open_arrays.clear()
        for graph, nodes in self.open_graphs.items():
            self.handle(ev.NodesAdded(graph, nodes, True))
        self.open_graphs.clear()
        if not self.connected:
            self.connect()
        for _ in range(10_000):
            if self.core.is_idle and not self.to_client:
                break
            while self.to_scheduler or self.to_client:
                for message in self.to_scheduler[:]:
                    self.to_client += self.model.take(message)
                self.to_scheduler.clear()
                taken, self.to_client = self.to_client, []
                if taken:
                    self.handle(ev.Received(taken))
            self._execute(lambda options: options[0])
            self.to_client += self.model.grant()
        missing = {item for item in self.wanted if item[0] not in self.cancelled} - set(self.ended)
        assert not missing, [(item, self.core.story(item[0])) for item in sorted(missing)[:3]]
        assert self.core.is_idle
        assert self.array_done == self.arrays
        self.nothing_ends_twice()
        self.core.check_invariants()


TestClientAgainstScheduler = ClientAgainstScheduler.TestCase
