"""From configuration strings to policies, and what is wrong with them."""

import sys
from pathlib import Path

import pytest

from scaler_trio.scheduler.policy.core.simple import NoScaling, SimpleScaling
from scaler_trio.scheduler.policy.core.view import View
from scaler_trio.scheduler.policy.core.waterfall import Rule, Waterfall
from scaler_trio.scheduler.policy.loading import load_policy

RULES = """
# tiers
1, local, 8
2,cloud   # the rest
"""


def test_the_reference_systems_strings() -> None:
    assert load_policy("simple", "allocate=even_load; scaling=no") == NoScaling()
    assert load_policy("simple", "allocate=even_load;scaling=vanilla") == SimpleScaling(with_amounts=False)
    assert load_policy("simple", "scaling=capability; allocate=capability") == SimpleScaling(with_amounts=True)
    assert load_policy("waterfall_v1", RULES) == Waterfall((Rule(1, "local", 8), Rule(2, "cloud")))


@pytest.mark.parametrize(
    ("engine", "content", "sentence"),
    [
        ("simpel", "", "write simple, waterfall_v1, or module:Class"),
        ("simple", "", "no allocate; allocate is one of even_load, capability"),
        ("simple", "allocate=even_load", "no scaling; scaling is one of no, vanilla, capability"),
        ("simple", "allocate=even_load; scaling=fast", "scaling=fast; scaling is one of"),
        ("simple", "allocate=even_load; scaling=no; x=1", "has x; it knows allocate and scaling"),
        ("simple", "allocate; scaling=no", "has 'allocate'; write"),
        ("simple", "scaling=no; scaling=no", "has 'scaling=no'; write"),
        ("waterfall_v1", "# nothing", "has no rules"),
        ("waterfall_v1", "1", "line 1 of policy_content is '1'; write priority,worker_manager_id"),
        ("waterfall_v1", "1,a,2,3", "line 1"),
        ("waterfall_v1", "1,a\nx,b", "line 2 of policy_content is 'x,b'; priority and max concurrency are whole"),
        ("waterfall_v1", "1,", "write priority,worker_manager_id"),
        ("waterfall_v1", "1,a\n2,a", "a has a rule already"),
        ("waterfall_v1", "1,a,-2", "at least 0, or -1"),
        ("no_such_module:Policy", "", "cannot be loaded: No module named"),
        ("json:Policy", "", "cannot be loaded: module 'json' has no attribute"),
        ("json:JSONDecoder", "", "is called with policy_content: "),
        ("json:loads", "1", "no method decide"),
    ],
)
def test_wrong_settings_are_told(engine: str, content: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("(", "\\(")):
        load_policy(engine, content)


def test_a_policy_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_policy.py").write_text(
        "class Mine:\n    def __init__(self, content):\n        self.content = content\n"
        "    def decide(self, view):\n        return [self.content]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert load_policy("own_policy:Mine", "hello").decide(View((), ())) == ["hello"]
    finally:
        sys.modules.pop("own_policy", None)
