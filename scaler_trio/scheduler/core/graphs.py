"""Graphs as their clients send them: nodes first, then the end, which starts those without inputs."""

from attrs import define

from scaler_protocol import messages as m
from scaler_trio.scheduler.core.completion import Completion
from scaler_trio.scheduler.core.delivery import Delivery
from scaler_trio.scheduler.core.demands import demand_of, function_of
from scaler_trio.scheduler.core.errors import PeerFault
from scaler_trio.scheduler.core.records import Client, Function, Graph, Node, Task
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.states import TaskEvent, TaskState


@define(eq=False, repr=False)
class Graphs:
    """Links nodes, and lets them run."""

    state: SchedulerState
    completion: Completion
    delivery: Delivery
    recovery: Recovery

    def nodes(self, client: Client, message: m.GraphNodes) -> None:
        """Nodes; each takes results only of nodes before it, so that there can be no circle."""
        graph = client.graphs.get(message.graph) or Graph(message.graph)
        demands = [demand_of(self.state, client, options) for options in message.options]
        fresh: dict[int, Task] = {}
        before, tasks, arrays = graph.nodes, client.tasks, client.arrays
        functions: dict[int, Function] = {}
        story = ((self.state.now, "submitted"),)
        for number, function_number, payload, objects, option, input_numbers in message.rows:
            if number in before:
                continue
            if graph.complete:
                raise PeerFault(f"node {number} comes after the end of graph {message.graph}")
            if number in fresh or number in tasks or number in arrays:
                raise PeerFault(f"node {number} has the number of another task")
            if option >= len(demands):
                raise PeerFault(f"row of node {number} names options {option} of {len(demands)}")
            function = functions.get(function_number)
            if function is None:
                function = functions[function_number] = function_of(client, function_number)
            inputs = []
            for input_number in input_numbers:
                source = fresh.get(input_number) or before.get(input_number)
                if source is None:
                    raise PeerFault(f"node {number} takes the result of {input_number}, which is no node before it")
                inputs.append(source)
            node = Node(graph, inputs)
            demand = demands[option]
            fresh[number] = Task(
                client, number, function, payload, objects, demand, TaskState.WAITING, story, wanted=False, node=node
            )
        client.received_bytes += sum([len(row[2]) for row in message.rows])
        self.state.touched[client] = None
        if not fresh:
            return
        client.graphs[message.graph] = graph
        tasks.update(fresh)
        graph.nodes.update(fresh)
        graph.unfinished += len(fresh)
        for task in fresh.values():
            client.unassigned_bytes += len(task.payload)
            task.function.users += 1
            if task.objects:
                self.state.references.add(task.objects)
            assert task.node is not None
            task.node.missing = len(task.node.inputs)
            for source in task.node.inputs:
                read = source.node
                assert read is not None
                read.dependents.append(task)
                read.readers += 1

    def end(self, client: Client, message: m.GraphEnd) -> None:
        """The graph is complete: run it. An end that comes again says nothing new."""
        graph = client.graphs.get(message.graph)
        if graph is None or graph.complete:
            return
        for number in message.targets:
            if number not in graph.nodes:
                raise PeerFault(f"target {number} is no node of graph {message.graph}")
        graph.complete = True
        for number in message.targets:
            graph.nodes[number].wanted = True
        for task in list(graph.nodes.values()):
            assert task.node is not None
            if task.state is TaskState.DONE:  # cancelled before its end came
                self.completion.fail_dependents(task)
            elif task.state is TaskState.WAITING and task.node.missing == 0:
                self.state.move(task, TaskEvent.INPUTS_READY)
                self.recovery.make_ready(task)
        self.delivery.forget_if_ended(client, graph)

    def drop_incomplete(self, client: Client) -> None:
        """The connection ended before these graphs did: the client sends them again from their beginning."""
        state = self.state
        for graph in [graph for graph in client.graphs.values() if not graph.complete]:
            del client.graphs[graph.number]
            for task in graph.nodes.values():
                del client.tasks[task.number]
                if task.state is TaskState.WAITING:
                    state.move(task, TaskEvent.ABANDON)
                    client.unassigned_bytes -= len(task.payload)
                    state.references.remove(task.objects)
                    task.function.users -= 1
                    state.forget_if_unused(task.function)
                if task.node is not None:  # they refer to each other
                    task.node.inputs, task.node.dependents = [], []
