from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from scaler_trio.actors import (
    Actor,
    ActorEvent,
    ActorEventKind,
    ActorState,
    ActorStopped,
    ChildKind,
    ChildSpec,
    DuplicateChild,
    EndedUnasked,
    RestartIntensityExceeded,
    RestartPolicy,
    StartTimeout,
    Strategy,
    Supervisor,
    TooManyChildren,
    UnknownChild,
    open_actor_tree,
    run_actor_tree,
)
from tests.actors.kit import Boom, Leaver, Recorder, Stubborn, brief, lifecycle

Log = list[tuple[str, str]]


@pytest.fixture
def log() -> Log:
    return []


def three(log: Log, strategy: Strategy, *, b_kind: ChildKind = ChildKind.PERMANENT, **options: Any) -> Supervisor:
    options.setdefault("restarts", RestartPolicy(first_backoff_s=1))
    return Supervisor(
        [
            ChildSpec("a", lambda: Recorder("a", log)),
            ChildSpec("b", lambda: Recorder("b", log), b_kind),
            ChildSpec("c", lambda: Recorder("c", log)),
        ],
        strategy=strategy,
        **options,
    )


def state_of(root: Supervisor) -> dict[str, tuple[str, int]]:
    return {child.name: (child.state.value, child.restarts) for child in root.statistics()}


async def test_children_start_in_order_and_stop_in_reverse(log: Log, autojump_clock: trio.testing.MockClock) -> None:
    root = three(log, Strategy.ONE_FOR_ONE)
    async with open_actor_tree(lambda: root):
        assert [entry for entry, _ in itertools.groupby(name for name, _ in log)] == ["a", "b", "c"]
    assert lifecycle(log) == ["a started", "b started", "c started", "c stopped", "b stopped", "a stopped"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE_FOR_ONE, ["b stopped", "b started"]),
        (Strategy.REST_FOR_ONE, ["b stopped", "c stopped", "b started", "c started"]),
        (
            Strategy.ONE_FOR_ALL,
            ["b stopped", "c stopped", "a stopped", "a started", "b started", "c started"],
        ),
    ],
)
async def test_the_strategy_says_who_is_restarted(
    strategy: Strategy, expected: list[str], log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    root = three(log, strategy)
    async with open_actor_tree(lambda: root):
        refs = [root.ref_of(name) for name in "abc"]
        log.clear()
        refs[1].tell_nowait(Boom())
        await trio.sleep(10)
        assert lifecycle(log) == expected
        for number, ref in enumerate(refs):
            await ref.tell(number)
        assert refs == [root.ref_of(name) for name in "abc"]
    assert {what for _, what in log} >= {"0", "1", "2"}


async def test_siblings_stopped_by_a_strategy_take_messages_for_their_next_incarnation(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    root = three(log, Strategy.ONE_FOR_ALL)
    async with open_actor_tree(lambda: root):
        root.ref_of("b").tell_nowait(Boom())
        await trio.sleep(0.5)
        assert set(state_of(root).values()) == {("backing off", 0)}
        root.ref_of("c").tell_nowait("early")
        await trio.sleep(1)
        assert set(state_of(root).values()) == {("running", 1)}
    assert ("c", "early") in log


@pytest.mark.parametrize(
    ("kind", "message", "restarted"),
    [
        (ChildKind.PERMANENT, Boom(), True),
        (ChildKind.PERMANENT, None, True),
        (ChildKind.TRANSIENT, Boom(), True),
        (ChildKind.TRANSIENT, None, False),
        (ChildKind.TEMPORARY, Boom(), False),
        (ChildKind.TEMPORARY, None, False),
    ],
)
async def test_the_kind_says_whether_an_end_is_followed_by_a_restart(
    kind: ChildKind, message: Boom | None, restarted: bool, log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    makers: list[Callable[[], Actor[Any]]] = [lambda: Recorder("x", log), lambda: Recorder("x", log)]
    if message is None:
        makers[0] = lambda: Leaver("x", log)
    root = Supervisor([ChildSpec("x", lambda: makers.pop(0)(), kind)])
    async with open_actor_tree(lambda: root):
        ref = None
        if message is not None:
            ref = root.ref_of("x")
            ref.tell_nowait(message)
        await trio.sleep(5)
        assert lifecycle(log).count("x started") == (2 if restarted else 1)
        assert (kind is ChildKind.TEMPORARY) == (not root.statistics())
        if ref is not None and not restarted:
            with pytest.raises(ActorStopped):
                ref.tell_nowait(1)


async def test_more_failures_than_the_intensity_escalate_with_their_causes(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    events: list[ActorEvent] = []
    policy = RestartPolicy(max_restarts=2, period_s=100, first_backoff_s=1)
    root = three(log, Strategy.ONE_FOR_ONE, restarts=policy)
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_actor_tree(lambda: root, on_event=events.append):
            for number in range(3):
                await root.ref_of("b").tell(Boom(number))
                await trio.sleep(10)
    assert caught.value.path == "root/b"
    assert [str(cause) for cause in caught.value.causes] == ["0", "1", "2"]
    assert caught.value.__cause__ is caught.value.causes[-1]
    assert lifecycle(log)[-3:] == ["b stopped", "c stopped", "a stopped"]
    assert brief(events)[3:] == [
        "b failed",
        "b restarted",
        "b failed",
        "b restarted",
        "b failed",
        "b escalated",
        "c ended",
        "a ended",
    ]


async def test_failures_spread_over_more_than_the_period_do_not_escalate(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    root = three(log, Strategy.ONE_FOR_ONE, restarts=RestartPolicy(max_restarts=1, period_s=10, quiet_s=10))
    async with open_actor_tree(lambda: root):
        for _ in range(20):
            await root.ref_of("b").tell(Boom())
            await trio.sleep(11)
        assert state_of(root)["b"] == ("running", 20)


async def test_the_back_off_doubles_to_its_maximum_and_is_reset_by_a_quiet_period(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    announced: list[float | None] = []
    times: list[float] = []

    def note(event: ActorEvent) -> None:
        if event.kind in (ActorEventKind.FAILED, ActorEventKind.RESTARTED):
            times.append(trio.current_time())
        if event.kind is ActorEventKind.FAILED:
            announced.append(event.backoff_s)

    policy = RestartPolicy(max_restarts=100, first_backoff_s=1, max_backoff_s=5, quiet_s=60)
    root = three(log, Strategy.ONE_FOR_ONE, restarts=policy, on_event=note)
    async with open_actor_tree(lambda: root):
        for pause in (10, 10, 10, 100, 10):
            await root.ref_of("b").tell(Boom())
            await trio.sleep(pause)
    assert announced == [1, 2, 4, 5, 1]
    assert [after - before for before, after in zip(times[::2], times[1::2], strict=True)] == pytest.approx(announced)


async def test_a_child_that_backs_off_does_not_hold_up_the_restart_of_another(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    root = three(log, Strategy.ONE_FOR_ONE, restarts=RestartPolicy(first_backoff_s=4, max_backoff_s=100))
    async with open_actor_tree(lambda: root):
        root.ref_of("a").tell_nowait(Boom())
        await trio.sleep(5)
        root.ref_of("a").tell_nowait(Boom())
        await trio.sleep(1)
        root.ref_of("b").tell_nowait(Boom())
        await trio.sleep(5)
        assert state_of(root) == {"a": ("backing off", 1), "b": ("running", 1), "c": ("running", 0)}
        await trio.sleep(5)
        assert state_of(root)["a"] == ("running", 2)


async def test_an_earlier_failure_takes_over_the_restart_of_those_that_wait(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    root = three(log, Strategy.REST_FOR_ONE, restarts=RestartPolicy(first_backoff_s=4))
    async with open_actor_tree(lambda: root):
        root.ref_of("b").tell_nowait(Boom())
        await trio.sleep(2)
        root.ref_of("a").tell_nowait(Boom())
        await trio.sleep(3)
        assert set(state_of(root).values()) == {("backing off", 0)}
        log.clear()
        await trio.sleep(5)
        assert lifecycle(log) == ["a started", "b started", "c started"]


async def test_nobody_restarts_before_an_earlier_sibling_that_failed_with_it(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    root = three(log, Strategy.REST_FOR_ONE, restarts=RestartPolicy(max_restarts=50, first_backoff_s=1, period_s=1000))
    async with open_actor_tree(lambda: root):
        for _ in range(10):
            root.ref_of("a").tell_nowait(Boom())
            await trio.sleep(35)
            log.clear()
            root.ref_of("a").tell_nowait(Boom())
            root.ref_of("b").tell_nowait(Boom())
            await trio.sleep(35)
            assert [entry for entry in lifecycle(log) if "started" in entry] == ["a started", "b started", "c started"]


async def test_an_escalation_restarts_the_whole_supervisor_in_its_own_supervisor(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    events: list[ActorEvent] = []
    inner: list[Supervisor] = []

    def make() -> Supervisor:
        inner.append(three(log, Strategy.ONE_FOR_ONE, restarts=RestartPolicy(max_restarts=0)))
        return inner[-1]

    root = Supervisor([ChildSpec("inner", make), ChildSpec("z", lambda: Recorder("z", log))])
    async with open_actor_tree(lambda: root, on_event=events.append):
        log.clear()
        inner[0].ref_of("b").tell_nowait(Boom())
        await trio.sleep(5)
        assert len(inner) == 2
        assert lifecycle(log) == ["b stopped", "c stopped", "a stopped", "a started", "b started", "c started"]
        assert "inner/b escalated" in brief(events)
        failure = next(event for event in events if event.path == "root/inner" and event.cause is not None)
        assert isinstance(failure.cause, RestartIntensityExceeded)


async def test_a_first_start_that_fails_stops_the_started_and_is_raised_by_itself(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    inner = Supervisor(
        [
            ChildSpec("a", lambda: Recorder("a", log)),
            ChildSpec("b", lambda: Recorder("b", log, fail_start=lambda: True)),
            ChildSpec("c", lambda: Recorder("c", log)),
        ]
    )
    with pytest.raises(Boom, match="b cannot start"):
        await run_actor_tree(lambda: Supervisor([ChildSpec("inner", lambda: inner)]))
    assert lifecycle(log) == ["a started", "b stopped", "a stopped"]


async def test_a_factory_that_fails_is_a_start_that_fails(autojump_clock: trio.testing.MockClock) -> None:
    def make() -> Actor[Any]:
        raise Boom

    with pytest.raises(Boom):
        await run_actor_tree(lambda: Supervisor([ChildSpec("a", make)]))
    root = Supervisor()
    async with open_actor_tree(lambda: root):
        with pytest.raises(Boom):
            await root.start_child(ChildSpec("a", make))
        assert root.statistics() == ()


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_restart_that_fails_to_start_is_tried_again_with_more_back_off(
    strategy: Strategy, log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    starts = iter([False, True, True, False])
    root = Supervisor(
        [
            ChildSpec("a", lambda: Recorder("a", log)),
            ChildSpec("b", lambda: Recorder("b", log, fail_start=lambda: next(starts))),
            ChildSpec("c", lambda: Recorder("c", log)),
        ],
        strategy=strategy,
    )
    async with open_actor_tree(lambda: root):
        root.ref_of("b").tell_nowait(Boom())
        await trio.sleep(20)
        assert [state for state, _ in state_of(root).values()] == ["running"] * 3
        assert state_of(root)["b"] == ("running", 3)


async def test_a_factory_that_fails_at_restart_is_tried_again(log: Log, autojump_clock: trio.testing.MockClock) -> None:
    fails = iter([False, True, False])

    def make() -> Actor[Any]:
        if next(fails):
            raise Boom
        return Recorder("a", log)

    root = Supervisor([ChildSpec("a", make)])
    async with open_actor_tree(lambda: root):
        root.ref_of("a").tell_nowait(Boom())
        await trio.sleep(20)
        assert state_of(root) == {"a": ("running", 2)}


async def test_a_start_that_hangs_fails_at_its_limit(autojump_clock: trio.testing.MockClock) -> None:
    class Hanging(Actor[Any]):
        async def started(self) -> None:
            await trio.sleep_forever()

    with pytest.raises(StartTimeout):
        await run_actor_tree(lambda: Supervisor([ChildSpec("a", Hanging, start_timeout_s=3)]))
    assert trio.current_time() < 4


async def test_a_permanent_child_that_ends_unasked_has_failed(log: Log, autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(RestartIntensityExceeded) as caught:
        await run_actor_tree(lambda: Supervisor([ChildSpec("a", lambda: Leaver("a", log))]))
    assert isinstance(caught.value.__cause__, EndedUnasked)


async def test_a_child_that_ignores_stop_is_cancelled_after_its_bound(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    events: list[ActorEvent] = []
    root = Supervisor(
        [
            ChildSpec("a", lambda: Recorder("a", log)),
            ChildSpec("b", lambda: Stubborn("b", log), stop_timeout_s=3),
            ChildSpec("c", lambda: Recorder("c", log)),
        ]
    )
    async with open_actor_tree(lambda: root, on_event=events.append):
        start = trio.current_time()
    assert trio.current_time() - start == pytest.approx(3, abs=0.1)
    assert lifecycle(log)[-3:] == ["c stopped", "b stopped", "a stopped"]
    assert brief(events)[-3:] == ["c ended", "b cancelled", "a ended"]


async def test_a_clean_up_that_hangs_is_cancelled_after_its_bound(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    class Hanging(Recorder):
        async def stopping(self) -> None:
            await trio.sleep_forever()

    events: list[ActorEvent] = []
    root = Supervisor([ChildSpec("a", lambda: Hanging("a", log), stop_timeout_s=3)])
    async with open_actor_tree(lambda: root, on_event=events.append):
        pass
    assert trio.current_time() < 4
    assert brief(events)[-1] == "a cancelled"


async def test_an_actor_that_is_asked_to_stop_handles_what_is_queued_first(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    root = three(log, Strategy.ONE_FOR_ONE)
    async with open_actor_tree(lambda: root):
        root.ref_of("a").tell_all_nowait(["first", "last"])
    assert log.index(("a", "last")) < log.index(("a", "stopped"))


async def test_cancellation_reaches_the_whole_tree_and_every_child_still_cleans_up(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.move_on_after(5) as scope:
        await run_actor_tree(lambda: Supervisor([ChildSpec("inner", lambda: three(log, Strategy.ONE_FOR_ONE))]))
    assert scope.cancelled_caught
    assert sorted(lifecycle(log)[-3:]) == ["a stopped", "b stopped", "c stopped"]


async def test_temporary_children_that_ended_leave_no_trace(log: Log, autojump_clock: trio.testing.MockClock) -> None:
    root = three(log, Strategy.ONE_FOR_ONE)
    async with open_actor_tree(lambda: root):
        for number in range(100):
            spec = ChildSpec(f"s{number}", lambda: Recorder("s", log), ChildKind.TEMPORARY)
            ref = await root.start_child(spec)
            if number % 3 == 0:
                ref.tell_nowait(Boom())
            elif number % 3 == 1:
                ref.stop()
            else:
                await root.stop_child(spec.name)
        await trio.sleep(1)
        assert [child.name for child in root.statistics()] == ["a", "b", "c"]
        assert not root._due
        assert not root._ends
        assert not root._crashes
        assert root._nursery is not None
        assert len(root._nursery.child_tasks) == 3


async def test_the_number_and_the_names_of_children_are_limited(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    root = three(log, Strategy.ONE_FOR_ONE, max_children=4)
    async with open_actor_tree(lambda: root):
        with pytest.raises(DuplicateChild):
            await root.start_child(ChildSpec("a", lambda: Recorder("s", log)))
        await root.start_child(ChildSpec("d", lambda: Recorder("s", log)))
        with pytest.raises(TooManyChildren):
            await root.start_child(ChildSpec("e", lambda: Recorder("s", log)))
        await root.stop_child("d")
        await root.start_child(ChildSpec("e", lambda: Recorder("s", log)))
    with pytest.raises(UnknownChild):
        root.ref_of("x")
    with pytest.raises(ActorStopped):
        await root.start_child(ChildSpec("f", lambda: Recorder("s", log)))


@pytest.mark.parametrize("kind", list(ChildKind))
async def test_a_dynamic_child_that_cannot_start_raises_at_the_caller_and_is_forgotten(
    kind: ChildKind, log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    root = Supervisor()
    async with open_actor_tree(lambda: root):
        with pytest.raises(Boom):
            await root.start_child(ChildSpec("a", lambda: Recorder("a", log, fail_start=lambda: True), kind))
        await trio.sleep(100)
        assert root.statistics() == ()
    assert lifecycle(log) == ["a stopped"]


async def test_a_cancelled_start_child_stops_the_child(log: Log, autojump_clock: trio.testing.MockClock) -> None:
    class Slow(Recorder):
        async def started(self) -> None:
            await trio.sleep(3)

    root = Supervisor()
    async with open_actor_tree(lambda: root):
        with trio.move_on_after(1):
            await root.start_child(ChildSpec("a", lambda: Slow("a", log)))
        await trio.sleep(10)
        assert root.statistics() == ()
    assert lifecycle(log) == ["a stopped"]


async def test_a_permanent_dynamic_child_is_restarted(log: Log, autojump_clock: trio.testing.MockClock) -> None:
    root = Supervisor()
    async with open_actor_tree(lambda: root):
        ref = await root.start_child(ChildSpec("a", lambda: Recorder("a", log)))
        ref.tell_nowait(Boom())
        await trio.sleep(10)
        assert state_of(root) == {"a": ("running", 1)}
        ref.stop()
        await ref.wait_stopped()
        await trio.testing.wait_all_tasks_blocked()
        assert root.statistics() == ()


@pytest.mark.parametrize("wait_s", [0.5, 2])
@pytest.mark.parametrize("dynamic", [False, True])
async def test_a_child_stopped_for_good_while_it_restarts_is_not_started_again(
    wait_s: float, dynamic: bool, log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    class SlowStart(Recorder):
        async def started(self) -> None:
            await trio.sleep(3)

    makers: list[Callable[[], Actor[Any]]] = [lambda: Recorder("x", log), lambda: SlowStart("x", log)]
    spec = ChildSpec("x", lambda: makers.pop(0)(), stop_timeout_s=1)
    root = Supervisor([] if dynamic else [spec], restarts=RestartPolicy(first_backoff_s=1))
    async with open_actor_tree(lambda: root):
        ref = await root.start_child(spec) if dynamic else root.ref_of("x")
        ref.tell_nowait(Boom())
        await trio.sleep(wait_s)
        ref.stop()
        with trio.fail_after(1.5):
            await ref.wait_stopped()
        await trio.sleep(10)
        assert [child.state for child in root.statistics()] == ([] if dynamic else [ActorState.STOPPED])


@pytest.mark.parametrize("strategy", [Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL])
async def test_a_dynamic_child_stopped_by_a_strategy_before_it_has_started_is_forgotten(
    strategy: Strategy, log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    class SlowStart(Recorder):
        async def started(self) -> None:
            await trio.sleep(3)

    root = three(log, strategy)
    async with open_actor_tree(lambda: root):
        root.ref_of("a").tell_nowait(Boom())
        with pytest.raises(ActorStopped):
            await root.start_child(ChildSpec("x", lambda: SlowStart("x", log), stop_timeout_s=1))
        await trio.sleep(10)
        assert list(state_of(root)) == ["a", "b", "c"]
        assert root._nursery is not None
        assert len(root._nursery.child_tasks) == 3


@pytest.mark.parametrize("wait_s", [0, 0.5])
async def test_a_stop_for_good_is_final_even_during_a_restart(
    wait_s: float, log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    root = three(log, Strategy.ONE_FOR_ALL)
    async with open_actor_tree(lambda: root):
        ref = root.ref_of("b")
        ref.tell_nowait(Boom())
        if wait_s:
            await trio.sleep(wait_s)
        ref.stop()
        await ref.wait_stopped()
        await trio.sleep(20)
        assert state_of(root)["b"][0] == "stopped"
        assert state_of(root)["a"][0] == state_of(root)["c"][0] == "running"


async def test_a_stop_is_never_counted_as_a_crash(log: Log, autojump_clock: trio.testing.MockClock) -> None:
    class BadEnd(Recorder):
        async def stopping(self) -> None:
            raise Boom

    root = Supervisor([ChildSpec("a", lambda: BadEnd("a", log))], restarts=RestartPolicy(max_restarts=0))
    async with open_actor_tree(lambda: root):
        await root.stop_child("a")
        await trio.sleep(1)
        assert state_of(root) == {"a": ("stopped", 0)}


async def test_a_supervisor_that_backs_off_or_starts_can_be_stopped_at_once(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    root = three(log, Strategy.ONE_FOR_ALL, restarts=RestartPolicy(first_backoff_s=30))
    async with open_actor_tree(lambda: root):
        root.ref_of("a").tell_nowait(Boom())
        await trio.sleep(1)
    assert trio.current_time() < 2


async def test_a_sibling_is_found_by_the_factories_after_it(log: Log, autojump_clock: trio.testing.MockClock) -> None:
    class Pair(Supervisor):
        def children(self) -> list[ChildSpec[Any]]:
            return [ChildSpec("a", lambda: Recorder("a", log)), ChildSpec("b", self.make)]

        def make(self) -> Recorder:
            self.ref_of("a").tell_nowait("hello from b")
            return Recorder("b", log)

    async with open_actor_tree(Pair):
        pass
    assert ("a", "hello from b") in log


async def test_the_tree_is_seen_as_nested_frozen_values(log: Log, autojump_clock: trio.testing.MockClock) -> None:
    root = Supervisor([ChildSpec("inner", lambda: three(log, Strategy.ONE_FOR_ONE))])
    async with open_actor_tree(lambda: root) as tree:
        top = tree.statistics()
        assert (top.name, top.state) == ("root", ActorState.RUNNING)
        assert [child.name for child in top.children[0].children] == ["a", "b", "c"]
        assert top.children[0].children[0].mailbox.capacity == 1024
        assert hash(top)


async def test_the_failure_of_the_block_stops_the_tree_in_order(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(Boom):
        async with open_actor_tree(lambda: three(log, Strategy.ONE_FOR_ONE)):
            raise Boom
    assert lifecycle(log)[-3:] == ["c stopped", "b stopped", "a stopped"]


async def test_an_interrupt_in_a_child_ends_the_tree_ungrouped(autojump_clock: trio.testing.MockClock) -> None:
    class Interrupted(Actor[Any]):
        async def run(self, mailbox: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await run_actor_tree(lambda: Supervisor([ChildSpec("a", Interrupted)]))


async def test_a_failure_inside_the_nursery_of_a_child_is_reported_ungrouped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Nested(Actor[Any]):
        async def started(self) -> None:
            async with trio.open_nursery():
                raise Boom

    with pytest.raises(Boom):
        await run_actor_tree(lambda: Supervisor([ChildSpec("a", Nested)]))


def test_bad_specifications_are_refused() -> None:
    with pytest.raises(ValueError, match="name"):
        ChildSpec("a/b", Actor)
    with pytest.raises(ValueError, match="max_restarts"):
        RestartPolicy(max_restarts=-1)
