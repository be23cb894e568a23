"""How a processor ended, in words for whoever reads the error at three in the morning."""

import signal
from typing import Any, Final

from scaler_trio.worker.processor.process import EXIT_INTERNAL

_HINTS: Final = {
    signal.SIGKILL: "sent from outside; often the kernel, for lack of memory",
    signal.SIGSEGV: "a fault in compiled code",
    signal.SIGBUS: "a fault in compiled code, or a truncated file",
    signal.SIGABRT: "compiled code gave up",
    signal.SIGTERM: "sent from outside",
}


def write(notice: dict[str, Any], pid: int, worker: str, tail: str) -> str:
    """The cause of death, from the template's notice and the processor's last output."""
    text = f"processor {pid} of worker {worker!r} {_cause(notice)}"
    if notice.get("peak_bytes"):
        text += f"; peak memory {notice['peak_bytes'] / 1e6:.0f} MB, {notice['cpu_s']:.2f} s CPU"
    return f"{text}; its last output:\n{tail}" if tail else f"{text}; it had printed nothing"


def _cause(notice: dict[str, Any]) -> str:
    if "error" in notice:
        return f"did not start: {notice['error']}"
    status: int = notice["status"]
    if status >= 0:
        cause = f"exited with code {status}"
        return f"{cause}, by a fault of its own" if status == EXIT_INTERNAL else cause
    try:
        which = signal.Signals(-status)
    except ValueError:
        return f"was killed by signal {-status}"
    hint = _HINTS.get(which)
    return f"was killed by signal {-status} ({which.name}{': ' + hint if hint else ''})"
