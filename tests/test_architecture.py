"""Imports point one way, and pure code never reaches IO: ARCHITECTURE sections 2 and 3, enforced.

Only `import` statements are read, nothing is imported, so this holds under TYPE_CHECKING and inside functions too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"scaler_trio": ROOT, "scaler_protocol": ROOT / "protocol", "scaler_tui": ROOT / "tui"}

COMPONENTS = {"scheduler", "objects", "worker", "client", "managers"}
# Assembles the components, therefore sits above them all. `""` is scaler_trio/__init__.py, which re-exports.
ASSEMBLY = {"", "cli", "cluster"}
# Stand above the client and use nothing but its public names; only its own methods import them, when they are called.
ABOVE_CLIENT = {"integrations"}
PUBLIC_OF_CLIENT = {
    *("client.Client", "client.ResultIterator", "client.ScalerFuture", "client.waiting"),
    *("serialization.ObjectReference", "errors"),
}
# (component, what it may import of another one): each a deliberate decision.
EXCEPTIONS = {
    ("client", "scaler_trio.objects.access"),  # puts and maps large objects itself
    ("client", "scaler_trio.objects.errors"),
    ("worker", "scaler_trio.objects.access"),  # the same in agent and processor
    ("worker", "scaler_trio.objects.errors"),
    ("worker", "scaler_trio.objects.cache"),  # an agent on another host than the server
    ("managers", "scaler_trio.worker.entry"),  # a native unit is a worker started by its entry point
    ("managers", "scaler_trio.worker.settings"),
}
# Pure besides every package named core: prefixes of module names.
PURE: set[str] = {"scaler_protocol", "scaler_trio.ranges"}
IMPURE_LIBRARIES = {
    *("trio", "asyncio", "socket", "select", "selectors", "ssl", "time", "random", "secrets", "os"),
    *("threading", "multiprocessing", "subprocess", "signal", "mmap", "tempfile", "psutil", "boto3"),
}


def under(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of everything imported; `from a import b` gives `a.b`, module or not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: None if is_package and node.level == 1 else -node.level + is_package or None]
            base = ".".join([*(above if node.level else []), *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def wrong_direction(module: str, imported: str) -> str | None:
    """Why `module` may not import `imported`, or None."""
    package, target_package = module.split(".")[0], imported.split(".")[0]
    if target_package not in PACKAGES or package == target_package != "scaler_trio":
        return None
    if package == "scaler_protocol":
        return "the protocol imports nothing of ours"
    layer, target = ([*name.split("."), ""][1] for name in (module, imported))
    if package == "scaler_tui":
        allowed = target_package == "scaler_protocol" or target == "config"
        return None if allowed else "the dashboard uses only the protocol and the configuration"
    if layer in ASSEMBLY or target_package == "scaler_protocol":
        return None
    if target_package == "scaler_tui":
        return "only cli starts the dashboard"
    if not (PACKAGES["scaler_trio"] / "scaler_trio" / target).is_dir() and target[:1].isupper():
        return "scaler_trio/__init__.py imports everything: name the module itself"
    if target in ASSEMBLY:
        return "nothing imports what assembles the components"
    if layer in ABOVE_CLIENT and target != layer:
        allowed = any(under(imported, f"scaler_trio.{what}") for what in PUBLIC_OF_CLIENT)
        return None if allowed else "integrations use only the public names of the client"
    if target in ABOVE_CLIENT and layer != target:
        return None if module == "scaler_trio.client.client" else "only methods of Client start an integration"
    if target in COMPONENTS and layer not in COMPONENTS:
        return f"{layer} is below the components"
    if layer == "actors" and target != "actors":
        return "actors know nothing of the rest"
    if target in COMPONENTS and target != layer:
        allowed = any(layer == who and under(imported, what) for who, what in EXCEPTIONS)
        return None if allowed else "components do not import each other"
    return None


@cache
def modules() -> dict[str, Path]:
    return {
        module_name(path, root): path for package, root in PACKAGES.items() for path in (root / package).rglob("*.py")
    }


def imports_of(module: str) -> list[tuple[int, str]]:
    path = modules()[module]
    return list(imports(path.read_text(), module, is_package=path.name == "__init__.py"))


def way_to_io(module: str, seen: set[str] | None = None) -> str | None:
    """The first chain of imports by which `module` reaches a library that performs IO, or None."""
    seen = seen if seen is not None else set()
    seen.add(module)
    for line, imported in imports_of(module):
        place = f"{modules()[module].relative_to(ROOT)}:{line}"
        if imported.split(".")[0] in IMPURE_LIBRARIES:
            return f"{place}: imports {imported}"
        target = next((name for name in (imported, imported.rpartition(".")[0]) if name in modules()), None)
        if target and target not in {"scaler_trio", *seen} and (further := way_to_io(target, seen)):
            return f"{place}: imports {target}\n  {further}"
    return None


def is_pure(module: str) -> bool:
    return "core" in module.split(".") or any(under(module, prefix) for prefix in PURE)


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_one_way(module: str) -> None:
    place = modules()[module].relative_to(ROOT)
    wrong = [(line, imported, wrong_direction(module, imported)) for line, imported in imports_of(module)]
    assert [f"{place}:{line}: imports {imported}: {reason}" for line, imported, reason in wrong if reason] == []


@pytest.mark.parametrize("module", sorted(filter(is_pure, modules())))
def test_pure_code_never_reaches_io(module: str) -> None:
    assert not (way := way_to_io(module)), way


@pytest.mark.parametrize(
    ("module", "source", "is_allowed"),
    [
        ("scaler_protocol.codec", "from .frames import decode", True),
        ("scaler_protocol.codec", "import scaler_trio.net", False),
        ("scaler_trio.net.dial", "from scaler_trio.actors import Actor", True),
        ("scaler_trio.net.dial", "from scaler_trio import client", False),
        ("scaler_trio.actors.actor", "from scaler_trio.net import dial", False),
        ("scaler_trio.scheduler.session", "def f():\n    from ..net import listen", True),
        ("scaler_trio.scheduler.session", "def f():\n    from ..worker import agent", False),
        ("scaler_trio.worker.agent", "from scaler_trio.objects.access import ObjectAccess", True),
        ("scaler_trio.worker.agent", "from scaler_trio.objects import server", False),
        ("scaler_trio.worker.agent", "from scaler_trio import Client", False),
        ("scaler_trio.objects.server", "import scaler_trio.cli.scheduler", False),
        ("scaler_trio.cli.scheduler", "from scaler_trio.scheduler.tree import run", True),
        ("scaler_trio.integrations.executor", "from scaler_trio.client import Client", True),
        ("scaler_trio.integrations.executor", "from scaler_trio.errors import ScalerError", True),
        ("scaler_trio.integrations.executor", "from scaler_trio.client.session import Session", False),
        ("scaler_trio.integrations.executor", "from scaler_trio.net import Address", False),
        ("scaler_trio.client.client", "from scaler_trio.integrations import dask_scheduler", True),
        ("scaler_trio.client.session", "from scaler_trio.integrations import executor", False),
        ("scaler_trio.worker.agent", "from scaler_trio.integrations import executor", False),
        ("scaler_tui.app", "from scaler_trio.config import Settings", True),
        ("scaler_tui.app", "from scaler_trio.client import Client", False),
    ],
)
def test_the_checker_tells_right_from_wrong(module: str, source: str, is_allowed: bool) -> None:
    reasons = [wrong_direction(module, imported) for _, imported in imports(source, module)]
    assert (reasons == [None]) is is_allowed


def test_the_checker_follows_a_chain_of_imports_to_io(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {
        "core": "from . import rules",
        "rules": "import attrs\nfrom scaler_trio.x.clock import now",
        "clock": "import time",
    }
    paths = {f"scaler_trio.x.{name}": tmp_path / f"{name}.py" for name in sources}
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setattr(f"{__name__}.modules", lambda: paths)
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    way = way_to_io("scaler_trio.x.core")
    assert way is not None
    assert way.split("\n  ")[-1] == "clock.py:1: imports time"
    assert way.startswith("core.py:1: imports scaler_trio.x.rules\n  rules.py:2: imports scaler_trio.x.clock\n")
