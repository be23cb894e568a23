"""From the settings ``policy_engine_type`` and ``policy_content`` to a policy."""

from importlib import import_module
from typing import Any

from scaler_trio.scheduler.policy.core.simple import NoScaling, SimpleScaling
from scaler_trio.scheduler.policy.core.view import Policy
from scaler_trio.scheduler.policy.core.waterfall import Rule, Waterfall

DEFAULT_ENGINE = "simple"
DEFAULT_CONTENT = "allocate=even_load; scaling=vanilla"

ALLOCATE = ("even_load", "capability")
SCALING: dict[str, Policy] = {
    "no": NoScaling(),
    "vanilla": SimpleScaling(with_amounts=False),
    "capability": SimpleScaling(with_amounts=True),
}


def load_policy(engine: str, content: str) -> Policy:
    """The policy that the settings name.

    Args:
        engine: ``simple``, ``waterfall_v1``, or ``module:Class`` of the user's own, which is called with ``content``.
        content: ``allocate=…; scaling=…`` for ``simple``, a line for each tier for ``waterfall_v1``.

    Raises:
        ValueError: what is wrong, and what is allowed.
    """
    if engine == "simple":
        return _simple(content)
    if engine == "waterfall_v1":
        return Waterfall(_rules(content))
    if ":" in engine:
        return _own(engine, content)
    raise ValueError(f"policy_engine_type is {engine!r}; write simple, waterfall_v1, or module:Class of your own")


def _simple(content: str) -> Policy:
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in content.split(";"))):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals or key in found:
            raise ValueError(f"policy_content has {part!r}; write {DEFAULT_CONTENT!r}")
        found[key] = value
    for key, allowed in (("allocate", ALLOCATE), ("scaling", tuple(SCALING))):
        if found.get(key) not in allowed:
            has = f"{key}={found[key]}" if key in found else f"no {key}"
            raise ValueError(f"policy_content has {has}; {key} is one of {', '.join(allowed)}")
    unknown = found.keys() - {"allocate", "scaling"}
    if unknown:
        raise ValueError(f"policy_content has {', '.join(sorted(unknown))}; it knows allocate and scaling")
    return SCALING[found["scaling"]]


def _rules(content: str) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for number, line in enumerate(content.splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        where = f"line {number} of policy_content is {text!r}"
        fields = [word.strip() for word in text.split(",")]
        if len(fields) not in (2, 3) or not fields[1]:
            raise ValueError(f"{where}; write priority,worker_manager_id or priority,worker_manager_id,max_concurrency")
        try:
            rule = Rule(int(fields[0]), fields[1], int(fields[2]) if len(fields) == 3 else -1)
        except ValueError:
            raise ValueError(f"{where}; priority and max concurrency are whole numbers") from None
        if rule.limit < -1:
            raise ValueError(f"{where}; max concurrency is at least 0, or -1 for no limit")
        if rule.manager in [known.manager for known in rules]:
            raise ValueError(f"{where}; {rule.manager} has a rule already")
        rules.append(rule)
    if not rules:
        raise ValueError("policy_content has no rules; write a line 'priority,worker_manager_id' for each manager")
    return tuple(rules)


def _own(engine: str, content: str) -> Policy:
    module, _, name = engine.partition(":")
    try:
        made: Any = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"policy_engine_type is {engine!r}, which cannot be loaded: {error}") from error
    try:
        policy = made(content)
    except TypeError as error:
        raise ValueError(f"policy_engine_type is {engine!r}, which is called with policy_content: {error}") from error
    if not callable(getattr(policy, "decide", None)):
        raise ValueError(f"policy_engine_type is {engine!r}; its class has no method decide(view)")
    return policy  # type: ignore[no-any-return]
