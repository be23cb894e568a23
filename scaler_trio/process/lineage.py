"""Being a child: dying with the parent, looking like what one is, and sharing no random numbers with one's siblings."""

import ctypes
import ctypes.util
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import setproctitle

_PR_SET_PDEATHSIG: Final = 1

THREAD_SETTINGS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""What numerical libraries read when they are first imported."""


OOM_SCORE: Final = 500
"""Of 1000: as if the process had half of the machine's memory more than it has."""


def _find_prctl() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    prctl: Any = ctypes.CDLL(None, use_errno=True).prctl
    return prctl  # type: ignore[no-any-return]


_prctl = _find_prctl()  # looked up before any fork: a child should not load libraries


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send ``number`` to this process when its parent ends; exit if it has ended already.

    On macOS there is no such thing: there the closed socket ends template and idle processors, and only those.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)  # it died before we asked


def set_title(title: str) -> None:
    """Show the role in ``ps``."""
    setproctitle.setproctitle(title)


def limit_library_threads(threads: int) -> None:
    """Make numerical libraries use ``threads`` threads, unless the user says otherwise or they are loaded already."""
    for name in THREAD_SETTINGS:
        os.environ.setdefault(name, str(threads))


def be_killed_first() -> None:
    """Have the kernel, if memory runs out, choose this process before the services that could report it."""
    try:
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    except OSError:
        pass  # not Linux, or it has a higher one already


def reseed() -> None:
    """Draw fresh random state: forked siblings would otherwise all see the same numbers."""
    random.seed()
    numpy = sys.modules.get("numpy")
    numpy_random = getattr(numpy, "random", None)
    if numpy_random is not None:
        numpy_random.seed()


def unsafe_threads() -> str | None:
    """Why this process must not fork, or None.

    A forked child has only the thread that forked; locks that others held stay locked for ever. OpenBLAS stops its
    threads before a fork and starts them after it, so they are harmless.
    """
    python_threads = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    if python_threads:
        return f"it has the threads {', '.join(sorted(python_threads)[:5])}"
    try:
        native = len(os.listdir("/proc/self/task")) - 1
    except OSError:
        return None  # no /proc: nothing to judge by
    if native and not (_has_openblas() and native <= _openblas_threads()):
        return f"it has {native} native threads that Python does not know"
    return None


def _has_openblas() -> bool:
    return "openblas" in Path("/proc/self/maps").read_text()


def _openblas_threads() -> int:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return os.cpu_count() or 1
