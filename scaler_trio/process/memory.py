"""How much memory this process may have, and how much a process has for itself."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import psutil

_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def available_bytes() -> int:
    """What the machine has, or the control groups of this process allow, if that is less: of a container, a unit."""
    return min([psutil.virtual_memory().total, *_limits()])


def private_bytes(pid: int) -> int:
    """Resident memory of a process that is no file and not shared: objects that it maps are not its own; 0 = gone."""
    try:
        resident, shared = Path(f"/proc/{pid}/statm").read_bytes().split()[1:3]
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES


def _limits() -> Iterator[int]:
    try:
        membership = _MEMBERSHIP.read_text()
    except OSError:
        return  # not Linux
    for path in limit_files(membership):
        try:
            text = (_CGROUPS / path).read_text().strip()
        except OSError:
            continue  # no such controller, or the group is seen from within
        if text.isdigit():  # else "max"
            yield int(text)


def limit_files(membership: str) -> Iterator[str]:
    """Files with the limits of a process's groups and of those above them, below the folder of all groups.

    Args:
        membership: the content of ``/proc/self/cgroup``; version 1 and 2 may stand side by side.
    """
    for line in membership.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            folder, file = "", "memory.max"
        elif "memory" in controllers.split(","):
            folder, file = "memory/", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path)
        for one in (group, *group.parents):
            yield f"{folder}{str(one).strip('/')}/{file}".replace("//", "/").lstrip("/")
