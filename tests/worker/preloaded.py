"""What the tests of ``preload`` load."""

from __future__ import annotations

import threading

REMEMBERED: list[tuple[str, int]] = []


def remember(text: str, *, n: int) -> None:
    REMEMBERED.append((text, n))


def fail() -> None:
    raise RuntimeError("preload on purpose")


def start_a_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
