"""Single decisions of the client's core; `test_core_stateful.py` has everything together."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from scaler_protocol import limits
from scaler_protocol import messages as m
from scaler_protocol.messages import DEFAULT_OPTIONS
from scaler_trio.client.core import effects as do
from scaler_trio.client.core import events as ev
from scaler_trio.client.core.core import ClientCore
from scaler_trio.client.core.graph_state import MESSAGE_BYTES
from scaler_trio.client.core.receipts import ACK_MESSAGES, ACK_S
from scaler_trio.client.core.sending import OUTBOX_S, SEND_AHEAD_BYTES

FUNCTION = ev.Function("f", b"payload")


def online(credit_bytes: int = 1 << 20) -> ClientCore:
    core = ClientCore()
    assert sent(core.handle(ev.Connected(1), 0.0)) == [m.ClientHeld(0, (), ())]
    core.handle(ev.Received([m.ClientKnown(1, "", credit_bytes, (), ())]), 0.0)
    return core


def sent(effects: list[do.Effect]) -> list[Any]:
    return [message for effect in effects if isinstance(effect, do.Send) for message in effect.messages]


def task(number: int, size: int = 10, objects: tuple[bytes, ...] = ()) -> ev.TaskRow:
    return (number, FUNCTION, bytes(size), objects, DEFAULT_OPTIONS, f"owner {number}")


def block(array: int, rows: int, size: int = 1) -> ev.BlockAdded:
    offsets = struct.pack(f"<{rows + 1}I", *[size * i for i in range(rows + 1)])
    return ev.BlockAdded(array, rows, 1, (), (), offsets, bytes(size * rows))


def slice_results(sequence: int, array: int, lo: int, hi: int) -> m.ArrayResults:
    return m.ArrayResults(
        sequence, array, lo, hi, (), (), 0.0, struct.pack(f"<{hi - lo}I", *[1] * (hi - lo)), bytes(hi - lo)
    )


def row(number: int, objects: tuple[bytes, ...] = ()) -> tuple[Any, ...]:
    return (number, 0, b"value", objects, 0.1)


def test_nothing_is_sent_before_the_scheduler_has_answered() -> None:
    core = ClientCore()
    assert sent(core.handle(ev.Submitted([task(1)]), 0.0)) == []
    core.handle(ev.Connected(1), 0.0)
    assert sent(core.handle(ev.Submitted([task(2)]), 0.0)) == []
    messages = sent(core.handle(ev.Received([m.ClientKnown(1, "", 1000, (), ())]), 0.0))
    assert [type(message) for message in messages] == [m.DefineFunction, m.SubmitTasks]
    assert [r[0] for r in messages[1].rows] == [1, 2]


def test_results_are_acknowledged_by_number_or_by_time() -> None:
    core = online()
    core.handle(ev.Submitted([task(n) for n in range(200)]), 0.0)
    for n in range(1, ACK_MESSAGES):
        assert sent(core.handle(ev.Received([m.TaskResults(n, (row(n),))]), 1.0)) == []
    assert sent(core.handle(ev.Received([m.TaskResults(ACK_MESSAGES, ())]), 1.0)) == [m.AckResults(ACK_MESSAGES)]
    assert core.next_deadline() is None
    core.handle(ev.Received([m.TaskResults(ACK_MESSAGES + 1, ())]), 2.0)
    assert core.next_deadline() == 2.0 + ACK_S
    assert sent(core.handle(ev.Tick(), 2.0 + ACK_S)) == [m.AckResults(ACK_MESSAGES + 1)]
    assert core.next_deadline() is None


def test_after_half_the_time_results_are_acknowledged_with_whatever_happens() -> None:
    core = online()
    core.handle(ev.Submitted([task(n) for n in range(3)]), 0.0)
    core.handle(ev.Received([m.TaskResults(1, (row(0),))]), 1.0)
    assert sent(core.handle(ev.Received([m.TaskResults(2, (row(1),))]), 1.0 + 0.49 * ACK_S)) == []
    assert core.next_deadline() == 1.0 + ACK_S, "nothing wakes it before"
    assert sent(core.handle(ev.Received([m.TaskResults(3, (row(2),))]), 1.0 + 0.51 * ACK_S)) == [m.AckResults(3)]
    assert core.next_deadline() is None


def test_what_is_submitted_after_half_the_time_takes_an_acknowledgement_along() -> None:
    core = online()
    core.handle(ev.Submitted([task(1)]), 0.0)
    core.handle(ev.Received([m.TaskResults(1, (row(1),))]), 1.0)
    messages = sent(core.handle(ev.Submitted([task(2)]), 1.0 + 0.51 * ACK_S))
    assert [type(message) for message in messages] == [m.AckResults, m.SubmitTasks]


def test_a_result_message_that_comes_again_is_dropped_whole() -> None:
    core = online()
    core.handle(ev.Submitted([task(1)]), 0.0)
    message = m.TaskResults(1, (row(1, (b"object",)),))
    assert core.handle(ev.Received([message]), 0.0) == [do.TasksDone([("owner 1", row(1, (b"object",)))])]
    assert core.handle(ev.Received([message]), 0.0) == []


def test_objects_of_a_late_result_are_released_unless_a_delivered_one_names_them() -> None:
    core = online()
    core.handle(ev.Submitted([task(1)]), 0.0)
    core.handle(ev.Received([m.TaskResults(1, (row(1, (b"mine",)),))]), 0.0)
    late = m.TaskResults(2, (row(1, (b"mine", b"other")),))
    assert m.ReleaseObjects((b"other",)) in sent(core.handle(ev.Received([late]), 0.0))
    assert m.ReleaseObjects((b"mine",)) in sent(core.handle(ev.ObjectsReleased([b"mine"]), 0.0))


def test_a_release_waits_for_rows_that_may_name_the_object() -> None:
    core = online(credit_bytes=10)
    core.handle(ev.ObjectsHeld([(b"a", 100)]), 0.0)
    core.handle(ev.Submitted([task(1), task(2, objects=(b"a",))]), 0.0)
    assert sent(core.handle(ev.ObjectsReleased([b"a"]), 0.0)) == []
    messages = sent(core.handle(ev.Received([m.Credit(1000)]), 0.0))
    assert [type(message) for message in messages] == [m.SubmitTasks, m.Backlog, m.ReleaseObjects]


def test_what_is_over_the_credit_waits_and_is_announced() -> None:
    core = online(credit_bytes=25)
    messages = sent(core.handle(ev.Submitted([task(n) for n in range(5)]), 0.0))
    assert [r[0] for r in messages[1].rows] == [0, 1]
    assert messages[2] == m.Backlog(3, 30)
    messages = sent(core.handle(ev.Received([m.Credit(45)]), 0.0))
    assert [r[0] for r in messages[0].rows] == [2, 3]
    messages = sent(core.handle(ev.Received([m.Credit(1000)]), 0.0))
    assert [type(message) for message in messages] == [m.SubmitTasks, m.Backlog]
    assert messages[1] == m.Backlog(0, 0)


def test_a_full_outbox_is_looked_at_again() -> None:
    core = online()
    assert sent(core.handle(ev.Submitted([task(1)]), 5.0, SEND_AHEAD_BYTES)) == []
    assert core.next_deadline() == 5.0 + OUTBOX_S
    assert len(sent(core.handle(ev.Tick(), 5.0 + OUTBOX_S, SEND_AHEAD_BYTES - 1))) == 2
    assert core.next_deadline() is None


def test_arrays_and_single_tasks_take_turns() -> None:
    core = online(credit_bytes=0)
    for array in (100, 200):
        core.handle(ev.ArrayOpened(array, FUNCTION, DEFAULT_OPTIONS, -1, None), 0.0)
        for _ in range(2):
            core.handle(block(array, 3), 0.0)
    core.handle(ev.Submitted([task(1)]), 0.0)
    messages = sent(core.handle(ev.Received([m.Credit(1000)]), 0.0))
    blocks = [message.task for message in messages if type(message) is m.ArrayBlock]
    assert blocks == [100, 200, 100, 200]
    assert [type(message) for message in messages].index(m.SubmitTasks) == 1


def test_a_slice_that_overlaps_an_earlier_one_is_delivered_in_its_new_pieces() -> None:
    core = online()
    core.handle(ev.ArrayOpened(7, FUNCTION, DEFAULT_OPTIONS, -1, "me"), 0.0)
    core.handle(block(7, 10), 0.0)
    core.handle(ev.Received([slice_results(1, 7, 3, 5)]), 0.0)
    effects = core.handle(ev.Received([slice_results(2, 7, 0, 8)]), 0.0)
    assert [e.pieces for e in effects if isinstance(e, do.SliceDone)] == [[(0, 3), (5, 8)]]
    assert core.handle(ev.Received([slice_results(3, 7, 3, 8)]), 0.0) == []


@pytest.mark.parametrize(
    "bad",
    [
        slice_results(1, 7, 8, 11),
        m.ArrayResults(1, 7, 0, 2, (), (), 0.0, struct.pack("<2I", 1, 1), b"xyz"),
        m.ArrayResults(1, 7, 0, 2, (), (), 0.0, struct.pack("<3I", 1, 1, 1), b"xyz"),
        m.ArrayResults(1, 7, 0, 2, ((2, 1),), (), 0.0, struct.pack("<2I", 1, 1), b"xy"),
    ],
)
def test_results_that_make_no_sense_change_nothing_and_end_the_client(bad: m.ArrayResults) -> None:
    core = online()
    core.handle(ev.ArrayOpened(7, FUNCTION, DEFAULT_OPTIONS, -1, "me"), 0.0)
    core.handle(block(7, 10), 0.0)
    effects = core.handle(ev.Received([bad]), 0.0)
    assert [type(effect) for effect in effects] == [do.Violated]
    core.check_invariants()


def test_an_array_declared_again_leaves_out_what_is_done() -> None:
    core = online()
    core.handle(ev.ArrayOpened(7, FUNCTION, DEFAULT_OPTIONS, -1, "me"), 0.0)
    for _ in range(4):
        core.handle(block(7, 10), 0.0)
    core.handle(ev.ArrayEnded(7), 0.0)
    core.handle(
        ev.Received([slice_results(1, 7, 0, 10), slice_results(2, 7, 20, 30), slice_results(3, 7, 35, 40)]), 0.0
    )
    core.handle(ev.Disconnected("test"), 0.0)
    core.handle(ev.Connected(2), 0.0)
    messages = sent(core.handle(ev.Received([m.ClientKnown(2, "", 1000, (), ())]), 0.0))
    opening = next(message for message in messages if type(message) is m.OpenArray)
    assert (opening.count, opening.done) == (40, ((0, 10), (20, 30), (35, 40)))
    blocks = [(b.start, b.count, len(b.data)) for b in messages if type(b) is m.ArrayBlock]
    assert blocks == [(10, 10, 10), (30, 10, 10)]
    core.check_invariants()


def test_a_cancelled_array_ends_when_what_was_sent_has_ended() -> None:
    core = online(credit_bytes=5)
    core.handle(ev.ArrayOpened(7, FUNCTION, DEFAULT_OPTIONS, -1, "me"), 0.0)
    core.handle(block(7, 5), 0.0)
    core.handle(block(7, 5), 0.0)
    messages = sent(core.handle(ev.TasksCancelled([7]), 0.0))
    assert m.CancelTasks(((7, 0, 5),)) in messages
    assert m.EndArray(7, 5) in messages
    effects = core.handle(ev.Received([slice_results(1, 7, 0, 5)]), 0.0)
    assert do.ArrayDone("me", 1) in effects
    assert core.is_idle


def test_a_task_that_was_not_sent_is_cancelled_without_a_word() -> None:
    core = online(credit_bytes=5)
    core.handle(ev.Submitted([task(1)]), 0.0)
    assert m.CancelTasks not in map(type, sent(core.handle(ev.TasksCancelled([1]), 0.0)))
    assert core.is_idle


def test_held_objects_are_declared_again_after_a_reconnect() -> None:
    core = online()
    core.handle(ev.ObjectsHeld([(b"a", 100)]), 0.0)
    core.handle(ev.Submitted([task(1)]), 0.0)
    core.handle(ev.Received([m.TaskResults(1, (row(1, (b"result",)),))]), 0.0)
    core.handle(ev.Disconnected("test"), 0.0)
    core.handle(ev.Connected(1), 0.0)
    messages = sent(core.handle(ev.Received([m.ClientKnown(1, "", 0, (), ())]), 0.0))
    assert messages == [m.HoldObjects(((b"a", 100), (b"result", 0)))]


def test_half_a_graph_is_sent_again_whole_and_a_whole_one_only_gets_its_end_again() -> None:
    def nodes() -> tuple[ev.NodeRow, ...]:
        first = ev.NodeRow(1, FUNCTION, b"1", (), DEFAULT_OPTIONS, ())
        return first, ev.NodeRow(2, FUNCTION, b"2", (), DEFAULT_OPTIONS, (1,))

    for known, expected in (((1, 2), [m.DefineFunction, m.GraphNodes, m.GraphEnd]), ((1, 3), [m.GraphEnd])):
        core = online()
        submit_graph(core, 3, nodes(), (2,))
        core.handle(ev.Disconnected("test"), 0.0)
        assert sent(core.handle(ev.Connected(1), 0.0)) == [m.ClientHeld(0, ((1, 3),), ())]
        messages = sent(core.handle(ev.Received([m.ClientKnown(1, "", 1000, (known,), ())]), 0.0))
        assert [type(message) for message in messages] == expected


def submit_graph(core: ClientCore, number: int, nodes: Sequence[ev.NodeRow], targets: tuple[int, ...]) -> list[Any]:
    functions = frozenset([node.function for node in nodes])
    assert core.handle(ev.GraphOpened(number, functions, targets, "me"), 0.0) == [], "it has nothing to send yet"
    return sent(core.handle(ev.NodesAdded(number, nodes, True), 0.0))


def nodes_of(numbers: Iterable[int], size: int = 100_000) -> list[ev.NodeRow]:
    return [ev.NodeRow(number, FUNCTION, bytes(size), (), DEFAULT_OPTIONS, ()) for number in numbers]


def large_graph(core: ClientCore) -> list[Any]:
    return submit_graph(core, 1000, nodes_of(range(1, 41)), (40,))


def test_nodes_go_out_as_they_are_added_and_the_end_after_the_last() -> None:
    core = online()
    core.handle(ev.GraphOpened(9, frozenset([FUNCTION]), (3,), "me"), 0.0)
    first = sent(core.handle(ev.NodesAdded(9, nodes_of([1, 2], 5), False), 0.0))
    assert [type(message) for message in first] == [m.DefineFunction, m.GraphNodes]
    assert sent(core.handle(ev.Tick(), 0.0)) == []
    core.check_invariants()
    assert [type(message) for message in submit_graph(core, 20, nodes_of([11], 5), (11,))] == [m.GraphNodes, m.GraphEnd]
    last = sent(core.handle(ev.NodesAdded(9, nodes_of([3], 5), True), 0.0))
    assert [row[0] for row in last[0].rows] == [3]
    assert last[1] == m.GraphEnd(9, (3,))


def test_a_graph_that_is_given_up_half_added_is_ended_and_takes_no_more() -> None:
    core = online()
    core.handle(ev.GraphOpened(9, frozenset([FUNCTION]), (3,), "me"), 0.0)
    core.handle(ev.NodesAdded(9, nodes_of([1, 2], 5), False), 0.0)
    assert sent(core.handle(ev.TasksCancelled([9]), 0.0)) == [m.CancelTasks(((1, 0, 1), (2, 0, 1))), m.GraphEnd(9, ())]
    assert sent(core.handle(ev.NodesAdded(9, nodes_of([3], 5), True), 0.0)) == []
    core.check_invariants()
    assert core.is_idle


def test_a_large_graph_goes_out_as_the_socket_takes_it() -> None:
    core = online()
    messages = large_graph(core)
    while core.next_deadline() is not None:
        assert sum(len(row[2]) for message in messages[1:] for row in message.rows) <= SEND_AHEAD_BYTES + MESSAGE_BYTES
        assert sent(core.handle(ev.Tick(), 1.0, SEND_AHEAD_BYTES)) == [], "nothing while the outbox is full"
        assert m.GraphEnd not in map(type, messages)
        messages += sent(core.handle(ev.Tick(), 1.0))
        core.check_invariants()
    assert messages[-1] == m.GraphEnd(1000, (40,))
    assert [row[0] for message in messages[1:-1] for row in message.rows] == list(range(1, 41))


def test_a_graph_that_is_cancelled_half_sent_is_ended_without_targets() -> None:
    core = online()
    messages = large_graph(core)
    half = [(row[0], 0, 1) for message in messages[1:] for row in message.rows]
    assert 0 < len(half) < 40
    assert sent(core.handle(ev.TasksCancelled([1000]), 0.0)) == [m.CancelTasks(tuple(half)), m.GraphEnd(1000, ())]
    core.check_invariants()
    assert core.is_idle


def test_giving_up_a_target_cancels_what_nothing_else_needs() -> None:
    core = online()
    inputs = {1: (), 2: (1,), 3: (1,), 4: (2, 3), 5: (3,), 6: (5,)}
    nodes = [ev.NodeRow(n, FUNCTION, b"", (), DEFAULT_OPTIONS, needs) for n, needs in inputs.items()]
    submit_graph(core, 9, nodes, (4, 5, 6))
    assert sent(core.handle(ev.TasksCancelled([4]), 0.0)) == [m.CancelTasks(((2, 0, 1), (4, 0, 1)))]
    assert sent(core.handle(ev.TasksCancelled([4]), 0.0)) == [], "that is done"
    assert sent(core.handle(ev.TasksCancelled([5]), 0.0)) == [], "6 needs it"
    core.check_invariants()
    rows = tuple([(n, 0, 1) for n in inputs])
    assert sent(core.handle(ev.TasksCancelled([6]), 0.0)) == [m.CancelTasks(rows)]
    assert core.is_idle


def test_a_graph_that_was_half_sent_begins_anew_on_the_next_connection() -> None:
    core = online()
    large_graph(core)
    core.handle(ev.Disconnected("test"), 0.0)
    assert sent(core.handle(ev.Connected(1), 0.0)) == [m.ClientHeld(0, (), ())]
    messages = sent(core.handle(ev.Received([m.ClientKnown(1, "", 1 << 20, (), ())]), 0.0))
    assert [type(message) for message in messages[:2]] == [m.DefineFunction, m.GraphNodes]
    assert messages[1].rows[0][0] == 1
    core.check_invariants()


def test_giving_up_names_every_owner_and_refuses_what_comes_later() -> None:
    core = online(credit_bytes=10)
    core.handle(ev.Submitted([task(1), task(2)]), 0.0)
    core.handle(ev.ArrayOpened(7, FUNCTION, DEFAULT_OPTIONS, -1, "array"), 0.0)
    effects = core.handle(ev.Abandoned(), 0.0)
    assert effects == [do.Dropped(["owner 1", "owner 2", "array"]), do.Send([m.Goodbye()])]
    assert core.handle(ev.Submitted([task(3)]), 0.0) == [do.Dropped(["owner 3"])]
    assert core.handle(ev.Received([m.TaskResults(1, (row(1),))]), 0.0) == []
    assert core.is_idle


def test_a_story_tells_what_happened_to_a_task() -> None:
    core = online()
    core.handle(ev.Submitted([task(5)]), 1.0)
    core.handle(ev.Disconnected("pulled the plug"), 2.0)
    story = core.story(5)
    assert story[-1] == "now with the scheduler"
    assert any("sent with 1 others" in line for line in story)
    assert any("pulled the plug" in line for line in story)


def test_a_burst_is_cut_into_messages_within_the_limits() -> None:
    core = online(credit_bytes=1 << 30)
    messages = sent(core.handle(ev.Submitted([task(n, 1) for n in range(10_000)]), 0.0))
    assert [len(message.rows) for message in messages[1:]] == [
        limits.BATCH_ROWS,
        limits.BATCH_ROWS,
        10_000 - 2 * limits.BATCH_ROWS,
    ]
    messages = sent(core.handle(ev.Submitted([task(n, 60_000) for n in range(20_000, 20_030)]), 0.0))
    assert len(messages) == 2
