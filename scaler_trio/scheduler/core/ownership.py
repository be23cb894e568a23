"""Which attempts a report is about: only those of the worker that sends it."""

from collections.abc import Sequence
from typing import Any

from scaler_protocol.fields import Row
from scaler_trio.scheduler.core.errors import PeerFault
from scaler_trio.scheduler.core.records import Attempt, Worker
from scaler_trio.scheduler.core.recovery import Recovery
from scaler_trio.scheduler.core.state import SchedulerState


def find(
    state: SchedulerState, recovery: Recovery, worker: Worker, message: Any, kind: type | None
) -> tuple[Sequence[Row], Sequence[Attempt | None]]:
    """The rows of a report, and the attempt of each: None where it is not known (any more).

    Raises:
        PeerFault: one is another worker's, or not of this ``kind`` (a class of sources).
    """
    get = state.attempts.get
    found = [get(row[0]) for row in message.rows]
    for attempt in found:
        if attempt is not None and (
            attempt.worker is not worker or (kind is not None and type(attempt.source) is not kind)
        ):
            raise PeerFault(f"{type(message).__name__} of attempt {attempt.number}, which is not its own")
    if recovery.claims:
        # What is claimed for a client that has not come, or not completely, waits for it.
        kept = [recovery.keep(worker, type(message), row) for row in message.rows]
        rows = [row for row, is_kept in zip(message.rows, kept, strict=True) if not is_kept]
        return rows, [attempt for attempt, is_kept in zip(found, kept, strict=True) if not is_kept]
    return message.rows, found
