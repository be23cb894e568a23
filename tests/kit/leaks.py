"""Finds what a test left behind: processes, files of the runtime directory, shared memory.

A leak is always judged against a snapshot taken before. Processes of ours are recognised in three ways, because each
alone has a hole: descendants of the test process (an orphan is no descendant), the marker in their environment
(setproctitle overwrites it), their title (other test runs on this machine have the same titles).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import psutil

MARKER = "SCALER_TEST_SESSION"
"""Environment variable that the session sets to its pid, inherited by whatever it starts."""

SHARED_MEMORY = Path("/dev/shm")

GRACE_S = 5.0
"""Stopping is asynchronous: a process that is told to stop may need this long on a busy machine, and no longer."""


@attrs.frozen
class Snapshot:
    processes: frozenset[psutil.Process]  # compared by pid and start time
    files: frozenset[Path]


def snapshot() -> Snapshot:
    return Snapshot(frozenset(psutil.process_iter()), frozenset(_files()))


def wait_for_no_leaks(before: Snapshot, grace_s: float = GRACE_S) -> list[str]:
    """Waits until nothing is left; what still is after `grace_s` is returned, one readable line each."""
    deadline = time.monotonic() + grace_s
    while (left := find_leaks(before)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def find_leaks(before: Snapshot) -> list[str]:
    """What exists now, did not before, and is ours; one readable line each."""
    everything = list(psutil.process_iter())
    ours = [process for process in everything if process not in before.processes and _is_ours(process, before)]
    left = [f"process {process.pid}: {' '.join(_argv(process)) or _name(process)}" for process in ours]
    files = [path for path in _files() if path not in before.files]
    if files:
        others = [process for process in everything if process not in ours and process.pid != os.getpid()]
        in_use = {path for process in others for path in _open_files(process)}
        left += [f"file {path}" for path in files if str(path) not in in_use]
    return left


def _is_ours(process: psutil.Process, before: Snapshot) -> bool:
    me = psutil.Process()
    above_me = {ancestor.pid for ancestor in _ancestors(me)}
    top = process  # the oldest process above it that is still new
    for ancestor in _ancestors(process):
        if ancestor == me:
            return not _is_pythons_own(process)
        if ancestor.pid in above_me:
            break
        if ancestor in before.processes:
            return False  # belongs to what was there before, as a replaced worker of a wider fixture's cluster does
        top = ancestor
    else:
        return False  # gone meanwhile
    # Not below us, but below one of our ancestors (init, a subreaper, a shell): an orphan of ours, or somebody else's.
    if (session := _environment(top).get(MARKER)) is not None:
        return session == str(me.pid)
    return _is_service(top)


def _is_service(process: psutil.Process) -> bool:
    """Whether its title, or the script or module that Python runs in it, starts with `scaler_`.

    Not simply whether the word occurs: `mypy scaler_trio` in another terminal is none of ours.
    """
    program, *arguments = [Path(word).name for word in _argv(process) if not word.startswith("-")] or [""]
    if program.startswith("python"):
        program = next(iter(arguments), "")
    return program.startswith("scaler_")


def _is_pythons_own(process: psutil.Process) -> bool:
    """multiprocessing keeps its tracker until the interpreter ends, by design."""
    return any("multiprocessing.resource_tracker" in argument for argument in _argv(process))


def _files() -> Iterator[Path]:
    runtime_root = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    runtime = runtime_root / f"scaler-trio-{os.getuid()}"
    yield from (path for path in runtime.rglob("*") if not path.is_dir())
    for path in SHARED_MEMORY.glob("scaler*"):
        if path.lstat().st_uid == os.getuid():
            yield path


def _open_files(process: psutil.Process) -> set[str]:
    """Files that `process` holds open: what another test run is using is not a leak of this one."""
    try:
        return {file.path for file in process.open_files()} | {mapping.path for mapping in process.memory_maps()}
    except (psutil.Error, OSError):
        return set()


def _ancestors(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.parents()
    except psutil.Error:
        return []


def _argv(process: psutil.Process) -> list[str]:
    try:
        # A title set at run time is padded to the length of the original command line.
        return [word.strip() for word in process.cmdline() if word.strip()]
    except psutil.Error:
        return []


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "gone"


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}
