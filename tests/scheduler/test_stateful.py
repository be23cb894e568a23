"""Whatever is lost on the way, and whoever dies: every item has exactly one result, and nothing is left."""

from __future__ import annotations

import random
import time

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.scheduler.model import World


class LossyWorld(RuleBasedStateMachine):
    """Every action, in any order; the core's invariants are checked after each."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(action=st.sampled_from(World.ACTIONS), a=st.integers(0, 7), b=st.integers(0, 7))
    def act(self, action: str, a: int, b: int) -> None:
        self.world.act(action, a, b)

    def teardown(self) -> None:
        self.world.settle()


LossyWorld.TestCase.settings = settings(
    stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
TestLossyWorld = LossyWorld.TestCase

SIMULATION_S = 8.0


def test_random_worlds_end_well() -> None:
    """Longer runs than Hypothesis makes; the seed of a failing one is in the message."""
    until = time.monotonic() + SIMULATION_S
    seed = 0
    while time.monotonic() < until:
        run_world(seed)
        seed += 1
    assert seed > 0


def run_world(seed: int, steps: int = 200) -> World:
    choose = random.Random(seed)
    world = World()
    try:
        for _ in range(steps):
            world.act(choose.choice(World.ACTIONS), choose.randrange(8), choose.randrange(8))
        world.settle()
    except Exception as error:
        error.add_note(f"seed {seed}")
        raise
    return world
