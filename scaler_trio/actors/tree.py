"""The root of an actor tree: run it until it stops, as a service does, or around a block, as tests and combos do."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from scaler_trio.actors.child import Child
from scaler_trio.actors.errors import single_failure
from scaler_trio.actors.specification import ChildSpec
from scaler_trio.actors.statistics import ActorStatistics, ChildKind, EventHook

if TYPE_CHECKING:
    from scaler_trio.actors.actor import Actor
    from scaler_trio.actors.reference import ActorRef

M = TypeVar("M")


class ActorTree(Generic[M]):
    """A running tree, as its owner holds it."""

    def __init__(self, child: Child[M]) -> None:
        self._child = child

    @property
    def ref(self) -> ActorRef[M]:
        """The root's reference."""
        assert self._child.ref is not None
        return self._child.ref

    def stop(self) -> None:
        """Ask the root, and so the tree in reverse order, to stop; bounded by the ladder. Idempotent, does not wait."""
        self._child.request_stop()

    async def wait_stopped(self) -> None:
        """Wait until every actor of the tree has ended."""
        await self.ref.wait_stopped()

    def statistics(self) -> ActorStatistics:
        """A frozen snapshot of the whole tree."""
        return self._child.statistics()


class EndByOrder:
    """The end of a tree that somebody within it orders: ``order`` may be called before there is a tree to stop."""

    def __init__(self) -> None:
        self.is_ordered = False
        self._tree: ActorTree[Any] | None = None

    def of(self, tree: ActorTree[Any]) -> None:
        """It is this tree's."""
        self._tree = tree
        if self.is_ordered:
            tree.stop()

    def order(self) -> None:
        """Stop the tree; does not wait."""
        self.is_ordered = True
        if self._tree is not None:
            self._tree.stop()


async def run_actor_tree(
    factory: Callable[[], Actor[M]],
    *,
    name: str = "root",
    stop_timeout_s: float = 30.0,
    on_event: EventHook | None = None,
    task_status: trio.TaskStatus[ActorTree[M]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the tree whose root `factory` makes, until the root ends or is stopped. The root is not restarted.

    Args:
        factory: makes the root, usually a supervisor.
        name: of the root, the first part of every path.
        stop_timeout_s: limit of the stop ladder for the whole tree.
        on_event: for supervisors that have no hook of their own.
        task_status: gets the `ActorTree` once everything in it has started.

    Raises:
        Exception: the failure of the root, by itself if there is only one (and not in an exception group).

    Cancellation: reaches every actor at once; each `stopping` still runs, within its own limit. Use `ActorTree.stop`
    for an orderly end.
    """
    spec = ChildSpec(name, factory, ChildKind.TEMPORARY, stop_timeout_s=stop_timeout_s)
    child = Child(spec, name)
    life = child.begin(on_event)
    life.on_started = lambda: task_status.started(ActorTree(child))
    await child.live(life)
    if life.failure is not None:
        raise life.failure


@contextlib.asynccontextmanager
async def open_actor_tree(
    factory: Callable[[], Actor[M]],
    *,
    name: str = "root",
    stop_timeout_s: float = 30.0,
    on_event: EventHook | None = None,
) -> AsyncIterator[ActorTree[M]]:
    """Run a tree around a block: it has started when the block begins, and leaving the block stops it in order.

    Raises:
        Exception: the failure of the root (the block is then cancelled) or of the block, by itself if it is the only
            one.

    Cancellation: as `run_actor_tree`.
    """
    try:
        async with trio.open_nursery() as nursery:

            async def run(task_status: trio.TaskStatus[ActorTree[M]]) -> None:
                await run_actor_tree(
                    factory, name=name, stop_timeout_s=stop_timeout_s, on_event=on_event, task_status=task_status
                )

            tree: ActorTree[M] = await nursery.start(run)
            try:
                yield tree
            except Exception:
                tree.stop()
                await tree.wait_stopped()
                raise
            tree.stop()
    except BaseExceptionGroup as group:
        single = single_failure(group)
        raise single from single.__cause__
