"""The reconciler alone: what is wanted against what is there, pauses, rates, drains, replacement and adoption."""

from __future__ import annotations

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scaler_trio.managers.core.events import (
    Effect,
    End,
    Ended,
    Event,
    Failed,
    Found,
    Linked,
    Say,
    Seen,
    Start,
    Tick,
    Unlinked,
    Wanted,
)
from scaler_trio.managers.core.pace import Pace
from scaler_trio.managers.core.reconciler import Reconciler
from scaler_trio.managers.core.standing import TABLE, Standing, Turn


class Bench:
    """A reconciler with a clock that is set by hand."""

    def __init__(self, *, limit: int = 8, fixed: int | None = None, pace: Pace | None = None) -> None:
        self.now = 100.0
        self.core = Reconciler("tier", limit, fixed, pace or Pace(), self.now)
        self.said: list[str] = []

    def event(self, event: Event) -> list[Effect]:
        effects = self.core.handle(event, self.now)
        self.said += [effect.text for effect in effects if isinstance(effect, Say)]
        return [effect for effect in effects if not isinstance(effect, Say)]

    def advance(self, seconds: float) -> list[Effect]:
        """Let time pass, with a tick at each deadline on the way."""
        until, effects = self.now + seconds, []
        while (due := self.core.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            effects += self.event(Tick())
        self.now = until
        return effects + self.event(Tick())

    def started(self, *units: str) -> None:
        """With these units there, and seen by the scheduler."""
        self.event(Found(()))
        self.event(Linked())
        assert self.event(Wanted(len(units))) == [Start(unit) for unit in units]
        self.event(Seen(units))


def test_every_standing_has_a_row_for_every_turn() -> None:
    assert set(TABLE) == {(standing, turn) for standing in Standing for turn in Turn}


def test_nothing_is_started_before_it_is_known_what_runs() -> None:
    bench = Bench()
    bench.event(Linked())
    assert bench.event(Wanted(2)) == []
    assert bench.event(Found(("tier-4",))) == [Start("tier-5")]
    assert "tier-4" in bench.said[0]


def test_what_is_launching_is_not_asked_for_again() -> None:
    bench = Bench()
    bench.event(Found(()))
    assert bench.event(Wanted(2)) == [Start("tier-0"), Start("tier-1")]
    assert bench.event(Wanted(2)) == []
    assert bench.event(Seen(("tier-0",))) == []
    assert bench.event(Wanted(3)) == [Start("tier-2")]


def test_the_limit_counts_those_on_their_way_out() -> None:
    bench = Bench(limit=2)
    bench.started("tier-0", "tier-1")
    assert bench.event(Wanted(1, ("tier-0",), 10.0)) == []
    assert bench.event(Wanted(2)) == []
    assert bench.event(Ended("tier-0", "with exit code 0")) == [Start("tier-2")]


def test_less_ends_the_newest_of_what_nobody_has_seen_and_nothing_that_serves() -> None:
    bench = Bench()
    bench.started("tier-0")
    assert bench.event(Wanted(3)) == [Start("tier-1"), Start("tier-2")]
    assert bench.event(Wanted(2)) == [End("tier-2")]
    assert bench.event(Wanted(0)) == [End("tier-1")]
    assert bench.core.counts.connected == 1


def test_a_drained_unit_that_ends_is_not_replaced_and_no_failure() -> None:
    bench = Bench()
    bench.started("tier-0", "tier-1")
    bench.event(Wanted(1, ("tier-1",), 300.0))
    assert bench.core.counts.draining == 1
    assert bench.event(Seen((), ("tier-1",))) == []
    assert bench.event(Ended("tier-1", "with exit code 0")) == []
    assert bench.said == []


def test_a_drained_unit_that_stays_longer_than_its_grace_is_ended() -> None:
    bench = Bench()
    bench.started("tier-0")
    bench.event(Wanted(0, ("tier-0",), 5.0))
    assert bench.advance(4.9) == []
    assert bench.advance(0.2) == [End("tier-0")]
    assert "has not finished 5 s after it was told to leave" in bench.said[-1]


def test_a_unit_that_dies_is_replaced_after_a_pause_that_doubles() -> None:
    bench = Bench(pace=Pace(first_backoff_s=1.0, longest_backoff_s=3.0, quiet_s=10.0))
    bench.started("tier-0")
    pauses = []
    for number in range(4):
        bench.event(Ended(f"tier-{number}", "by signal 9 (SIGKILL)"))
        due = bench.core.next_deadline()
        assert due is not None
        pauses.append(due - bench.now)
        assert bench.advance(pauses[-1]) == [Start(f"tier-{number + 1}")]
    assert pauses == [1.0, 2.0, 3.0, 3.0]
    assert bench.said[0] == "tier-0 ended by signal 9 (SIGKILL); another one starts in 1 s"


def test_units_that_fail_together_are_one_failure() -> None:
    bench = Bench(pace=Pace(first_backoff_s=1.0))
    bench.started(*[f"tier-{number}" for number in range(8)])
    for number in range(8):
        bench.event(Ended(f"tier-{number}", "with exit code 1"))
    assert len(bench.advance(1.0)) == 8


def test_a_unit_that_ran_for_long_is_replaced_as_if_it_were_the_first() -> None:
    bench = Bench(pace=Pace(first_backoff_s=1.0, quiet_s=10.0))
    bench.started("tier-0")
    bench.event(Ended("tier-0", "x"))
    bench.advance(1.0)
    bench.event(Seen(("tier-1",)))
    bench.advance(20.0)
    bench.event(Ended("tier-1", "x"))
    assert bench.core.next_deadline() == bench.now + 1.0


def test_starts_that_fail_are_a_problem_until_the_next_try() -> None:
    bench = Bench(pace=Pace(first_backoff_s=1.0))
    bench.event(Found(()))
    bench.event(Wanted(1))
    bench.event(Ended("tier-0", "with exit code 1"))
    assert bench.core.problem == ""
    bench.advance(1.0)
    bench.event(Ended("tier-1", "with exit code 1"))
    assert bench.core.problem == "2 starts failed, the last one: tier-1 ended with exit code 1"
    bench.event(Wanted(0))  # another tier was asked
    bench.advance(2.0)
    assert bench.core.problem == ""
    assert bench.event(Wanted(1)) == [Start("tier-2")]
    bench.event(Linked())
    bench.event(Seen(("tier-2",)))
    bench.event(Ended("tier-2", "x"))
    assert bench.core.problem == ""


def test_a_rate_limits_starts() -> None:
    bench = Bench(limit=-1, pace=Pace(starts_per_s=2.0, burst=3))
    bench.event(Found(()))
    assert len(bench.event(Wanted(10))) == 3
    assert len(bench.advance(0.5)) == 1
    assert len(bench.advance(2.0)) == 4
    assert len(bench.advance(10.0)) == 2


def test_after_less_it_cools_down() -> None:
    bench = Bench(pace=Pace(cool_down_s=5.0))
    bench.event(Found(()))
    bench.event(Wanted(2))
    assert bench.event(Wanted(1)) == [End("tier-1")]
    assert bench.event(Wanted(2)) == []
    assert bench.advance(4.9) == []
    assert bench.advance(0.2) == [Start("tier-2")]


def test_a_unit_that_never_connects_is_ended_and_replaced_while_the_scheduler_is_there() -> None:
    bench = Bench(pace=Pace(launch_s=30.0, first_backoff_s=1.0))
    bench.event(Found(()))
    assert bench.event(Wanted(1)) == [Start("tier-0")]
    assert bench.advance(100.0) == []  # the scheduler is away: it cannot connect
    bench.event(Linked())
    assert bench.advance(31.5) == [End("tier-0"), Start("tier-1")]
    assert "tier-0 has not connected for 30 s" not in bench.said  # since it was asked for
    assert "tier-0 has not connected for 130 s" in bench.said[-1]


def test_a_unit_that_loses_the_scheduler_has_time_to_come_back() -> None:
    bench = Bench(pace=Pace(missing_s=10.0))
    bench.started("tier-0")
    assert bench.event(Seen((), ("tier-0",))) == []
    assert bench.core.counts.launching == 1
    assert bench.advance(9.0) == []
    bench.event(Seen(("tier-0",)))
    assert bench.advance(60.0) == []
    bench.event(Seen((), ("tier-0",)))
    assert bench.advance(11.0) == [End("tier-0"), Start("tier-1")]


def test_a_scheduler_that_restarts_costs_no_unit() -> None:
    bench = Bench(pace=Pace(missing_s=10.0))
    bench.started("tier-0", "tier-1")
    bench.event(Unlinked())
    assert bench.advance(1000.0) == []
    bench.event(Linked())
    assert bench.event(Seen(("tier-0", "tier-1"))) == []
    assert bench.advance(100.0) == []
    assert bench.core.counts.connected == 2


def test_units_end_with_what_had_started_them_and_are_replaced() -> None:
    bench = Bench(pace=Pace(first_backoff_s=1.0))
    bench.started("tier-0", "tier-1")
    bench.event(Failed("its launcher has ended"))
    assert bench.core.problem == "its launcher has ended"
    assert bench.advance(5.0) == []
    assert bench.event(Found(())) == []
    assert len(bench.advance(1.0)) == 2


def test_a_restarted_manager_adopts_and_does_not_reuse_names() -> None:
    bench = Bench(fixed=3, limit=3)
    bench.event(Linked())
    bench.event(Seen(("tier-3", "tier-7"), ()))  # before it knows them itself
    assert bench.event(Found(("tier-3", "tier-7"))) == [Start("tier-8")]
    bench.event(Seen(("tier-3", "tier-7", "tier-8")))
    assert bench.core.counts.connected == 3


def test_a_fixed_number_is_kept_whatever_the_scheduler_wants() -> None:
    bench = Bench(fixed=2, limit=2)
    assert bench.event(Found(())) == [Start("tier-0"), Start("tier-1")]
    assert bench.event(Wanted(0)) == []
    assert bench.core.counts.wanted == 2


def test_the_start_up_time_is_measured() -> None:
    bench = Bench(pace=Pace(start_s=60.0))
    bench.event(Found(()))
    bench.event(Linked())
    assert bench.core.start_s == 60.0
    bench.event(Wanted(2))
    bench.advance(4.0)
    bench.event(Seen(("tier-0",)))
    assert bench.core.start_s == pytest.approx(4.0)
    bench.advance(10.0)
    bench.event(Seen(("tier-1",)))
    assert bench.core.start_s == pytest.approx(0.7 * 4.0 + 0.3 * 14.0)


UNITS = st.integers(0, 9).map(lambda number: f"tier-{number}")


class Life(RuleBasedStateMachine):
    """A provisioner and a scheduler that do anything in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(limit=5, pace=Pace(first_backoff_s=0.5, starts_per_s=4.0, burst=3))
        self.real: list[str] = []
        self.ending: set[str] = set()
        self.seen: set[str] = set()
        self.drained: set[str] = set()
        self.wanted = 0
        self.take(self.bench.event(Found(())))

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Start):
                assert effect.unit not in self.real
                self.real.append(effect.unit)
            elif isinstance(effect, End):
                assert effect.unit in self.real
                assert effect.unit not in self.ending
                self.ending.add(effect.unit)

    @rule(units=st.integers(0, 7), data=st.data())
    def want(self, units: int, data: st.DataObject) -> None:
        going = tuple(data.draw(st.sets(st.sampled_from(sorted(self.seen))))) if self.seen else ()
        self.drained.update(going)
        self.wanted = units
        self.take(self.bench.event(Wanted(units, going, 5.0)))

    @rule(data=st.data())
    @precondition(lambda self: self.real)
    def see(self, data: st.DataObject) -> None:
        unit = data.draw(st.sampled_from(self.real))
        self.seen.add(unit)
        self.take(self.bench.event(Seen((unit,))))

    @rule(data=st.data())
    @precondition(lambda self: self.seen)
    def lose(self, data: st.DataObject) -> None:
        unit = data.draw(st.sampled_from(sorted(self.seen)))
        self.seen.discard(unit)
        self.take(self.bench.event(Seen((), (unit,))))

    @rule(data=st.data())
    @precondition(lambda self: self.real)
    def end(self, data: st.DataObject) -> None:
        unit = data.draw(st.sampled_from(self.real))
        self.real.remove(unit)
        self.ending.discard(unit)
        self.seen.discard(unit)
        self.take(self.bench.event(Ended(unit, "somehow")))

    @rule(is_there=st.booleans())
    def link(self, is_there: bool) -> None:
        self.take(self.bench.event(Linked() if is_there else Unlinked()))

    @rule(seconds=st.sampled_from([0.1, 1.0, 7.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.take(self.bench.advance(seconds))

    @invariant()
    def it_knows_what_is_real_and_keeps_the_limit(self) -> None:
        assert sorted(self.bench.core.units) == sorted(self.real)
        assert len(self.real) <= 5

    def teardown(self) -> None:
        """When nothing fails any more it comes to what is wanted, as near as the limit and those that serve allow."""
        self.take(self.bench.event(Linked()))
        for _ in range(50):
            for unit in [*self.ending, *self.drained & set(self.real)]:
                if unit in self.real:
                    self.real.remove(unit)
                    self.ending.discard(unit)
                    self.take(self.bench.event(Ended(unit, "as it was told")))
            self.take(self.bench.event(Seen(tuple(self.real))))
            self.take(self.bench.advance(1.0))
        counts = self.bench.core.counts
        assert counts.launching + counts.connected >= min(self.wanted, 5)
        assert counts.launching == 0
        assert self.bench.core.problem == ""


TestLife = Life.TestCase
TestLife.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
