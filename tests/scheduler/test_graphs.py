"""Graphs: nodes run when their inputs are done, targets come back, the rest is dropped when its last reader ends."""

from __future__ import annotations

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from tests.kit.scheduler import Bench, FakeClient, FakeWorker


def run(client: FakeClient, *workers: FakeWorker) -> tuple[list[bytes], dict[int, tuple[Outcome, bytes]]]:
    """Run everything: a node's result is its payload, and its inputs' results in brackets. The order, the results."""
    order: list[bytes] = []
    results: dict[int, tuple[Outcome, bytes]] = {}
    while tasks := [(worker, task) for worker in workers for task in worker.take_tasks()]:
        for worker, task in tasks:
            order.append(task[4])
            worker.finish(task, result=task[4] + b"(" + b" ".join(task[5]) + b")" if task[5] else task[4])
        results |= client.take_results()
    for worker in workers:
        worker.answer_recalls()
        worker.take_settled()
    return order, results


def test_a_node_gets_the_results_of_its_inputs_in_order(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    nodes = client.graph({"a": "", "b": "", "c": "ba"}, "c")
    order, results = run(client, worker)
    assert order == [b"a", b"b", b"c"]
    assert results == {nodes["c"]: (Outcome.VALUE, b"c(b a)")}
    bench.check_empty()


def test_nothing_starts_before_the_graph_is_complete(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    nodes = client.graph({"a": ""}, "a", end=False)
    assert worker.take_tasks() == []
    client.send(m.GraphEnd(nodes["graph"], (nodes["a"],)))
    assert run(client, worker)[0] == [b"a"]
    bench.check_empty()


def test_a_diamond_runs_each_node_once(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=4)
    nodes = client.graph({"a": "", "b": "a", "c": "a", "d": "bc"}, "d")
    order, results = run(client, worker)
    assert sorted(order) == [b"a", b"b", b"c", b"d"]
    assert results[nodes["d"]] == (Outcome.VALUE, b"d(b(a) c(a))")
    bench.check_empty()


def test_a_node_may_take_the_same_result_twice(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    nodes = client.graph({"a": "", "b": "aa"}, "b")
    assert run(client, worker)[1] == {nodes["b"]: (Outcome.VALUE, b"b(a a)")}
    bench.check_empty()


def test_a_target_may_be_an_input_too(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    nodes = client.graph({"a": "", "b": "a"}, "ab")
    assert run(client, worker)[1] == {nodes["a"]: (Outcome.VALUE, b"a"), nodes["b"]: (Outcome.VALUE, b"b(a)")}
    bench.check_empty()


def test_a_deep_graph_needs_no_deep_stack(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    names = [chr(0x100 + i) for i in range(300)]
    nodes = client.graph(dict(zip(names, ["", *names], strict=False)), names[-1])
    order, results = run(client, worker)
    assert len(order) == 300
    assert list(results) == [nodes[names[-1]]]
    bench.check_empty()


def test_the_failure_of_a_deep_graph_needs_no_deep_stack_either(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    names = [chr(0x100 + i) for i in range(5000)]
    nodes = client.graph(dict(zip(names, ["", *names], strict=False)), names[-1])
    worker.finish(*worker.take_tasks(), outcome=Outcome.ERROR, result=b"why")
    first, last = nodes[names[0]], nodes[names[-1]]
    assert client.take_results() == {first: (Outcome.ERROR, b"why"), last: (Outcome.UPSTREAM, str(first).encode())}
    worker.take_settled()
    bench.check_empty()


def test_a_wide_graph_is_spread_over_all_workers(bench: Bench) -> None:
    client, workers = bench.client(), [bench.worker(str(i)) for i in range(4)]
    names = [chr(0x100 + i) for i in range(200)]
    nodes = client.graph({**dict.fromkeys(names, ""), "z": "".join(names)}, "z")
    order, results = run(client, *workers)
    assert len(order) == 201
    assert list(results) == [nodes["z"]]
    bench.check_empty()


def test_a_failing_node_is_reported_and_what_needs_it_names_it(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=2)
    nodes = client.graph({"a": "", "b": "", "c": "a", "d": "c", "e": "b", "f": "de"}, "def")
    tasks = {task[4]: task for task in worker.take_tasks()}
    worker.finish(tasks[b"a"], outcome=Outcome.ERROR, result=b"why")
    upstream = (Outcome.UPSTREAM, str(nodes["a"]).encode())
    assert client.take_results() == {nodes["a"]: (Outcome.ERROR, b"why"), nodes["d"]: upstream, nodes["f"]: upstream}
    worker.finish(tasks[b"b"])
    assert run(client, worker)[1] == {nodes["e"]: (Outcome.VALUE, b"e(done)")}
    bench.check_empty()


def test_inner_results_are_dropped_when_their_last_reader_ends(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    nodes = client.graph({"a": "", "b": "a", "c": "a", "d": "bc"}, "d")
    node = bench.core.state.clients[client.session].tasks[nodes["a"]].node
    assert node is not None
    worker.finish(*worker.take_tasks(), result=b"large")
    assert node.result == b"large"
    worker.finish(*worker.take_tasks())
    assert node.result == b"large"
    worker.finish(*worker.take_tasks())
    assert node.result is None


def test_large_inputs_go_ahead_in_messages_of_their_own(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(slots=64)
    names = [chr(0x100 + i) for i in range(150)]
    nodes = client.graph({**dict.fromkeys(names, ""), "z": "".join(names)}, "z")
    payloads: list[bytes] = []
    while True:
        for task in worker.take_tasks():
            if task[2] == nodes["z"]:
                break
            worker.finish(task, result=bytes([len(payloads)]) * 60_000)
            payloads.append(bytes([len(payloads)]) * 60_000)
        else:
            continue
        break
    parts = worker.take(m.AssignInputs)
    assert len(parts) == 3
    assert {part.attempt for part in parts} == {task[0]}
    assert sorted(p for part in parts for p in part.payloads) == payloads
    assert task[5] == ()
    worker.finish(task)
    assert client.take_results() == {nodes["z"]: (Outcome.VALUE, b"done")}
    worker.take_settled()
    bench.check_empty()


def test_the_inputs_come_before_the_row_that_they_are_for(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    names = [chr(0x100 + i) for i in range(10)]
    client.graph({**dict.fromkeys(names, ""), "z": "".join(names)}, "z")
    while m.AssignInputs not in map(type, worker.inbox):
        worker.finish(*worker.take_tasks(), result=bytes(60_000))
    kinds = [type(message) for message in worker.inbox]
    assert kinds.index(m.AssignInputs) < kinds.index(m.AssignTasks)


def test_a_cancelled_graph_ends_with_all_its_nodes(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    nodes = client.graph({"a": "", "b": "a", "c": "b"}, "c")
    (task,) = worker.take_tasks()
    client.send(m.CancelTasks(tuple([(nodes[name], 0, 1) for name in "abc"])))
    assert worker.take_one(m.CancelAttempts).rows == ((task[0], 0, 1),)
    worker.give_back(task[0], reason=m.ReturnReason.CANCELLED)
    results = client.take_results()
    assert results[nodes["c"]][0] in (Outcome.CANCELLED, Outcome.UPSTREAM)
    worker.take_settled()
    bench.check_empty()


def test_nodes_cancelled_before_the_end_of_the_graph_fail_those_that_need_them(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    nodes = client.graph({"a": ""}, "", end=False)
    client.cancel(nodes["a"])
    assert client.take_results()[nodes["a"]][0] is Outcome.CANCELLED
    client.send(m.GraphNodes(nodes["graph"], (m.DEFAULT_OPTIONS,), ((77, 0, b"b", (), 0, (nodes["a"],)),)))
    client.send(m.GraphEnd(nodes["graph"], (77,)))
    assert client.take_results() == {77: (Outcome.UPSTREAM, str(nodes["a"]).encode())}
    assert worker.take_tasks() == []
    bench.check_empty()


def test_a_graph_that_is_given_up_before_its_end_leaves_nothing(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    nodes = client.graph({"a": "", "b": "a", "c": ""}, "", end=False)
    graph = nodes.pop("graph")
    client.send(m.CancelTasks(tuple([(number, 0, 1) for number in nodes.values()])), m.GraphEnd(graph, ()))
    client.take_results()
    assert worker.take_tasks() == []
    bench.check_empty()


def test_an_end_that_comes_again_says_nothing_new(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    nodes = client.graph({"a": ""}, "a")
    client.send(m.GraphEnd(nodes["graph"], (nodes["a"],)))
    client.send(m.GraphEnd(12345, ()))
    run(client, worker)
    bench.check_empty()


def test_objects_named_by_an_inner_result_live_as_long_as_it_is_needed(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.graph({"a": "", "b": "a", "c": "b"}, "c")
    object_ = client.object(1)
    worker.finish(*worker.take_tasks(), objects=(object_,))
    assert (bench.adopted, bench.deleted) == ([object_], [])
    worker.finish(*worker.take_tasks())
    assert bench.deleted == [object_]
    run(client, worker)
    bench.check_empty()


def test_objects_of_a_result_that_nobody_reads_are_deleted(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    client.graph({"a": "", "b": ""}, "b")
    object_ = client.object(1)
    worker.finish(*worker.take_tasks(), objects=(object_,))
    assert bench.deleted == [object_]
    run(client, worker)
    bench.check_empty()
