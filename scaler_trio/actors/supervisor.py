"""A supervisor is an actor whose nursery holds its children, and which decides what a child's end means.

How to think about this: everything is decided in the supervisor's own task, from the queue of ended incarnations. Only
`start_child` runs in its caller. Children start in order and, when stop is asked for, end in reverse; cancellation from
outside reaches the whole tree at once, and each `stopping` still runs. A stop that somebody asked for is never a crash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Never, TypeVar

import trio

from scaler_trio.actors.actor import Actor
from scaler_trio.actors.child import Child, Life
from scaler_trio.actors.errors import (
    ActorStopped,
    DuplicateChild,
    EndedUnasked,
    RestartIntensityExceeded,
    TooManyChildren,
    UnknownChild,
    single_failure,
)
from scaler_trio.actors.specification import ChildSpec, RestartPolicy, Strategy
from scaler_trio.actors.statistics import ActorEvent, ActorEventKind, ActorState, ActorStatistics, ChildKind, EventHook

if TYPE_CHECKING:
    from scaler_trio.actors.mailbox import Mailbox
    from scaler_trio.actors.reference import ActorRef

M = TypeVar("M")


class Supervisor(Actor[Never]):
    """Starts, watches, restarts and stops children.

    Give the children to the constructor, or override `children` where they need references to one another (a factory
    may call `self.ref_of(name)` for any sibling before it). A first start that fails stops what was started and fails
    the supervisor with the same exception; a restart that fails counts as one more crash.

    Args:
        children: specifications in start order.
        strategy: who is restarted with a child that failed.
        restarts: intensity and back-off. Past the intensity, all children are stopped and
            `RestartIntensityExceeded` is the supervisor's own failure.
        max_children: limit on children, static ones included.
        on_event: called with each `ActorEvent` for logging; must not raise (that would fail the supervisor). None: the
            hook of the supervisor's supervisor.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec[Any]] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        restarts: RestartPolicy | None = None,
        max_children: int = 1000,
        on_event: EventHook | None = None,
    ) -> None:
        self._specs = children
        self._strategy = strategy
        self._restart_policy = restarts or RestartPolicy()
        self._max_children = max_children
        self._on_event = on_event
        self._nursery: trio.Nursery | None = None  # set while children may be started
        self._children: dict[str, Child[Any]] = {}  # in start order
        self._ends: deque[tuple[Child[Any], Life[Any]]] = deque()  # at most one per incarnation not looked at
        self._bell = trio.Event()  # rung with every addition to _ends
        self._due: dict[Child[Any], float] = {}  # children that wait for their restart, and until when
        self._crashes: deque[tuple[float, Exception]] = deque()  # within the period; at most max_restarts + 1

    def children(self) -> Sequence[ChildSpec[Any]]:
        """The static children, in start order."""
        return self._specs

    def ref_of(self, name: str) -> ActorRef[Any]:
        """The reference of a child that has been started. Raises `UnknownChild`."""
        child = self._children.get(name)
        if child is None or child.ref is None:
            raise UnknownChild(f"{self.ref.path}/{name}")
        return child.ref

    async def start_child(self, spec: ChildSpec[M]) -> ActorRef[M]:
        """Start one more child, from any task, and wait until it has started.

        Raises:
            TooManyChildren, DuplicateChild: the factory was not called.
            ActorStopped: the supervisor is not running, or the child was stopped while it started.
            Exception: what the factory or `started` raised; the child is forgotten.

        Cancellation: the child is asked to stop.
        """
        child = self._admit(spec, dynamic=True)
        try:
            await self._launch(child)
        except Exception:
            self._forget(child)
            raise
        assert child.ref is not None
        return child.ref

    async def stop_child(self, name: str) -> None:
        """Stop one child for good and wait until it has ended. Raises `UnknownChild`.

        Cancellation: the child stops all the same.
        """
        ref = self.ref_of(name)
        child = self._children[name]
        ref.stop()
        await ref.wait_stopped()
        if child.passing:
            self._forget(child)

    def statistics(self) -> tuple[ActorStatistics, ...]:
        """A frozen snapshot of every child and what is below it, in start order."""
        return tuple(child.statistics() for child in self._children.values())

    async def _main(self, mailbox: Mailbox[Never], start_timeout_s: float, report_started: Callable[[], None]) -> None:
        await self._start(start_timeout_s)
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                try:
                    with mailbox.until_closed():
                        await self._start_static()
                        report_started()
                        await self._supervise()
                except Exception as error:
                    failure = error
                finally:
                    self._nursery = None
                await self._stop_all()
        except BaseExceptionGroup as group:
            single = single_failure(group)
            raise single from single.__cause__
        finally:
            for child in self._children.values():
                child.retire()
            self._report_ends()
        if failure is not None:
            raise failure

    async def _start_static(self) -> None:
        for spec in self.children():
            await self._launch(self._admit(spec, dynamic=False))

    async def _supervise(self) -> None:
        while True:
            if not self._ends:
                await self._wait_for_ends()
            while self._ends:
                await self._judge(*self._ends.popleft())
            await self._start_due()

    async def _wait_for_ends(self) -> None:
        self._bell = trio.Event()
        if not self._due:
            await self._bell.wait()
        else:
            with trio.move_on_at(min(self._due.values())):
                await self._bell.wait()

    async def _judge(self, child: Child[Any], life: Life[Any]) -> None:
        if child.life is life and life.started_at is not None and not life.asked and child.comes_back(life):
            await self._restart_after(child, life.failure or EndedUnasked(child.path))
            return
        self._emit_end(child, life)
        if child.life is life and not child.returning and child.passing:
            self._forget(child)

    async def _restart_after(self, crashed: Child[Any], cause: Exception) -> None:
        now = trio.current_time()
        self._count_crash(crashed, cause, now)
        policy = self._restart_policy
        started_at = None if crashed.life is None else crashed.life.started_at
        if started_at is not None and now - started_at >= policy.quiet_s:
            crashed.failures_in_a_row = 0
        crashed.failures_in_a_row += 1
        backoff_s = policy.backoff_s(crashed.failures_in_a_row)
        self._emit(ActorEventKind.FAILED, crashed, cause, backoff_s)
        crashed.returning = True
        affected = self._affected_by(crashed)
        for child in reversed(affected):
            if child.life is not None and not child.life.ended.is_set():
                child.request_stop(returning=True)
                await child.life.ended.wait()
        due = trio.current_time() + backoff_s
        if self._strategy is not Strategy.ONE_FOR_ONE:  # nobody may start before a sibling that it depends on
            due = max([due, *self._due.values()])
        for child in affected:
            wanted = child.returning and child.spec.kind is not ChildKind.TEMPORARY
            if wanted and self._children.get(child.spec.name) is child:
                child.state = ActorState.BACKING_OFF
                self._due.pop(child, None)  # so that the order of starting stays the order of the children
                self._due[child] = due

    def _count_crash(self, child: Child[Any], cause: Exception, now: float) -> None:
        policy = self._restart_policy
        self._crashes.append((now, cause))
        while self._crashes[0][0] < now - policy.period_s:
            self._crashes.popleft()
        if len(self._crashes) > policy.max_restarts:
            self._emit(ActorEventKind.FAILED, child, cause)
            self._emit(ActorEventKind.ESCALATED, child, cause)
            causes = [cause for _, cause in self._crashes]
            raise RestartIntensityExceeded(child.path, policy.max_restarts, policy.period_s, causes) from cause

    def _affected_by(self, crashed: Child[Any]) -> list[Child[Any]]:
        if self._strategy is Strategy.ONE_FOR_ONE:
            return [crashed]
        children = list(self._children.values())
        return children if self._strategy is Strategy.ONE_FOR_ALL else children[children.index(crashed) :]

    async def _start_due(self) -> None:
        now = trio.current_time()
        for child in [child for child, due in self._due.items() if due <= now]:
            if self._due.pop(child, None) is None:  # forgotten while another one started
                continue
            if not child.returning:  # stopped for good while it waited
                if child.passing:
                    self._forget(child)
                continue
            child.restarts += 1
            try:
                await self._launch(child, ActorEventKind.RESTARTED)
            except Exception as error:
                if child.life is not None and child.life.asked:  # stopped for good while it started
                    if child.passing:
                        self._forget(child)
                    continue
                await self._restart_after(child, error)
                return

    def _admit(self, spec: ChildSpec[M], *, dynamic: bool) -> Child[M]:
        path = f"{self.ref.path}/{spec.name}"
        if self._nursery is None:
            raise ActorStopped(self.ref.path)
        if spec.name in self._children:
            raise DuplicateChild(path)
        if len(self._children) >= self._max_children:
            raise TooManyChildren(self.ref.path, self._max_children)
        self._children[spec.name] = child = Child(spec, path, dynamic=dynamic)
        return child

    async def _launch(self, child: Child[Any], kind: ActorEventKind = ActorEventKind.STARTED) -> None:
        assert self._nursery is not None  # callers have just looked, or are ended with it
        life = child.begin(self._hook())
        self._nursery.start_soon(self._live, child, life, name=child.path)
        try:
            await life.settled.wait()
        except BaseException:
            child.request_stop()
            raise
        if life.started_at is None:
            self._ends = deque(end for end in self._ends if end[1] is not life)
            raise life.failure or ActorStopped(child.path)
        self._emit(kind, child)

    async def _live(self, child: Child[Any], life: Life[Any]) -> None:
        await child.live(life)
        self._ends.append((child, life))
        self._bell.set()

    def _forget(self, child: Child[Any]) -> None:
        if self._children.get(child.spec.name) is child:
            del self._children[child.spec.name]
        self._due.pop(child, None)
        if child.life is None or child.life.ended.is_set():
            child.retire()

    async def _stop_all(self) -> None:
        for child in reversed(list(self._children.values())):
            child.request_stop()
            if child.life is not None:
                await child.life.ended.wait()

    def _report_ends(self) -> None:
        while self._ends:
            self._emit_end(*self._ends.popleft())

    def _emit_end(self, child: Child[Any], life: Life[Any]) -> None:
        if life.forced:
            self._emit(ActorEventKind.CANCELLED, child, life.failure)
        elif life.failure is not None:
            self._emit(ActorEventKind.FAILED, child, life.failure)
        else:
            self._emit(ActorEventKind.ENDED, child)

    def _hook(self) -> EventHook | None:
        return self._on_event or self._inherited_on_event

    def _emit(
        self,
        kind: ActorEventKind,
        child: Child[Any],
        cause: Exception | None = None,
        backoff_s: float | None = None,
    ) -> None:
        hook = self._hook()
        if hook is not None:
            hook(ActorEvent(kind, child.path, child.restarts, cause, backoff_s))

    def _children_statistics(self) -> tuple[ActorStatistics, ...]:
        return self.statistics()
