"""Hosts with addresses of their own on one machine: network namespaces joined by bridges, as root and with ``ip``."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

NAMES = Path("/etc/netns")
"""Where ``ip netns exec`` looks for files that take the place of those in /etc."""


def why_not() -> str:
    """Why there can be no hosts here, or ""."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2's ip"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if made.returncode == 0 else "this machine allows no network namespaces"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def hosts(networks: Mapping[str, Mapping[str, str]], names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Hosts for the length of the block; commands run on one of them by ``on(host)``.

    Args:
        networks: name to (host to its address there); hosts of one network reach each other and nobody else.
        names: host names to addresses, known on every host.
    """
    with ExitStack() as undo:
        lines = ["127.0.0.1 localhost", *[f"{address} {name}" for name, address in (names or {}).items()]]
        for host in dict.fromkeys(host for its in networks.values() for host in its):
            _ip("netns", "add", host)
            undo.callback(_ip, "netns", "delete", host)
            _ip("-n", host, "link", "set", "lo", "up")
            folder = NAMES / host
            folder.mkdir(parents=True)
            undo.callback(shutil.rmtree, folder)
            (folder / "hosts").write_text("\n".join(lines) + "\n")
        for number, (network, its) in enumerate(networks.items()):
            bridge = f"br-{network}"
            _ip("link", "add", bridge, "type", "bridge")
            undo.callback(_ip, "link", "delete", bridge)
            _ip("link", "set", bridge, "up")
            for at, (host, address) in enumerate(its.items()):
                outside, inside = f"v{os.getpid() % 10_000}-{number}-{at}", f"eth{number}"
                _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", host)
                _ip("link", "set", outside, "master", bridge, "up")
                _ip("-n", host, "address", "add", f"{address}/24", "dev", inside)
                _ip("-n", host, "link", "set", inside, "up")
        yield


def on(host: str) -> Sequence[str]:
    """What to put before a command so that it runs on that host."""
    return ("ip", "netns", "exec", host)
