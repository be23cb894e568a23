"""The cluster as monitors see it, made from the tables. It looks at all workers and clients, but at no single task."""

from heapq import nlargest

from scaler_protocol import messages as m
from scaler_protocol.limits import BATCH_ROWS, NAME_BYTES, clip
from scaler_trio.scheduler.core.managers import statuses
from scaler_trio.scheduler.core.records import Array, Client, Task
from scaler_trio.scheduler.core.state import SchedulerState
from scaler_trio.scheduler.core.viewing import view
from scaler_trio.scheduler.policy.core.view import Manager, capabilities_in_words

CLIENTS = 100
"""Those with the most unfinished tasks; of the others only how many there are."""

REASON_BYTES = 1_000
"""Of each manager's texts, so that an answer stays far below a frame."""


def status(state: SchedulerState, after: int) -> m.ClusterStatus:
    """How everything is, and the events since one that the monitor knows."""
    seen = view(state)
    work = sorted(seen.work, key=lambda one: -(one.queued + one.running))[:BATCH_ROWS]
    ready = [worker for worker in state.workers.values() if worker.ready]
    roots = [client for client in state.clients.values() if client.root is client]
    busiest = nlargest(CLIENTS, roots, key=_unfinished)
    storage = state.storage
    return m.ClusterStatus(
        epoch=state.epoch,
        up_s=max(0.0, state.now - state.began_at),
        address=state.address,
        policy=state.policy,
        workers=len(ready),
        slots=sum([worker.slots for worker in ready]),
        draining=sum([worker.draining for worker in ready]),
        running=sum([one.running for one in seen.work]),
        queued=sum([one.queued for one in seen.work]),
        waiting=sum([worker.waiting for worker in ready]),
        work=tuple(
            [
                (w.python, capabilities_in_words(w.capabilities), w.queued, w.running, w.seconds_each, w.known)
                for w in work
            ]
        ),
        managers=tuple(_managers(state, seen.managers)),
        clients=tuple([_client(client) for client in busiest]),
        clients_left_out=len(state.clients) - len(busiest),
        storage_address=state.object_address,
        is_storage_connected=storage.is_connected,
        objects=storage.objects,
        objects_memory_bytes=storage.memory_bytes,
        objects_disk_bytes=storage.disk_bytes,
        events=tuple(
            [(e.number, max(0.0, state.now - e.at), e.kind, e.subject, e.text) for e in state.feed.since(after)]
        ),
    )


def _managers(state: SchedulerState, seen: tuple[Manager, ...]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    alone = [one for one in seen if not one.name]
    if alone:
        connected, draining = (sum([count(one) for one in alone]) for count in (_serving, _draining))
        rows.append(("", "", "", -1, 0, connected, draining, 0, 1, 0.0, "", ""))
    asked = statuses(state.managers.values())
    for one in seen:
        if not one.name:
            continue
        manager = asked[one.name]
        status = manager.status
        assert status is not None
        # A manager that keeps a number of its own tells it; another one has what it was asked for.
        wanted = status.wanted if not status.limit else -1 if manager.desired is None else manager.desired
        rows.append(
            (
                one.name,
                status.kind,
                manager.name,
                wanted,
                one.launching,
                _serving(one),
                _draining(one),
                one.limit,
                one.slots,
                one.start_s,
                clip(one.problem, REASON_BYTES),
                clip(manager.reason, REASON_BYTES),
            )
        )
    return rows[:BATCH_ROWS]


def _serving(manager: Manager) -> int:
    return len(manager.serving)


def _draining(manager: Manager) -> int:
    return len(manager.units) - len(manager.serving)


def _unfinished(client: Client) -> int:
    """Tasks, nodes and arrays of it and of those that its tasks have made; results that it has not read count too."""
    return sum([len(one.tasks) + len(one.arrays) for one in (client, *client.nested)])


def _client(client: Client) -> tuple[object, ...]:
    oldest: Task | Array | None = next(iter(client.tasks.values()), None) or next(iter(client.arrays.values()), None)
    number, function = (oldest.number, oldest.function.name) if oldest is not None else (0, "")
    name = clip(client.name, NAME_BYTES)
    return (client.session, name, client.connected, _unfinished(client), number, clip(function, NAME_BYTES))
