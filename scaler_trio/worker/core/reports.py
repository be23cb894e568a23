"""Results as the scheduler wants them: what a ring held, cut by attempt."""

from collections.abc import Iterable, Iterator
from typing import Final

from scaler_protocol import Message, limits
from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from scaler_trio.worker.core.events import Profile, Taken
from scaler_trio.worker.core.records import Kept

KEPT_OVERHEAD_BYTES: Final = 200
"""What keeping one result costs beside its payload."""

REPORT_BYTES: Final = 4 * limits.MIB
"""Payload in one message of single results: well below a frame."""

TIMED_OUT: Final = b"it ran longer than its timeout, or than any task may run on its worker"
CANCELLED: Final = b"cancelled while it was running"


class Reader:
    """Walks through ``Taken`` front to back."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken
        self._index = 0  # items read
        self._at = 0  # bytes read
        self._lengths = memoryview(taken.lengths).cast("I")

    @property
    def left(self) -> int:
        """Items not read."""
        return self._taken.items - self._index

    def single(self, attempt: int, override: Outcome | None) -> tuple[Kept, int]:
        """The next item as the result of a single task, and how long it ran (ns)."""
        taken, index = self._taken, self._index
        end = self._at + self._lengths[index]
        payload = taken.data[self._at : end]
        outcome = taken.outcomes[index] if taken.outcomes else 0
        if override is not None and outcome == Outcome.CANCELLED:
            outcome, payload = override, TIMED_OUT
        elapsed_ns = taken.ends_ns[index + 1] - taken.ends_ns[index]
        objects = taken.objects.get(taken.first + index, ())
        self._index, self._at = index + 1, end
        row = (attempt, int(outcome), payload, objects, elapsed_ns * 1e-9)
        return Kept(0, 1, len(payload) + KEPT_OVERHEAD_BYTES, row), elapsed_ns

    def rows(self, attempt: int, lo: int, hi: int, override: tuple[int, Outcome] | None) -> tuple[Kept, int]:
        """The next hi - lo items as results of a slice, and how long they ran together (ns)."""
        taken, index = self._taken, self._index
        count = hi - lo
        lengths = self._lengths[index : index + count]
        size = len(taken.data) - self._at if count == self.left else sum(lengths)
        data: memoryview | bytes = taken.data if size == len(taken.data) else taken.data[self._at : self._at + size]
        failed: tuple[tuple[int, int], ...] = ()
        if taken.outcomes:
            outcomes = taken.outcomes[index : index + count]
            failed = tuple([(lo + at, outcome) for at, outcome in enumerate(outcomes) if outcome])
        if override is not None and (override[0], int(Outcome.CANCELLED)) in failed:
            row, outcome = override
            failed = tuple([(at, int(outcome) if at == row else was) for at, was in failed])
        objects = (
            tuple(
                [
                    (lo + item - taken.first - index, ids)
                    for item, ids in taken.objects.items()
                    if 0 <= item - taken.first - index < count
                ]
            )
            if taken.objects
            else ()
        )
        elapsed_ns = taken.ends_ns[index + count] - taken.ends_ns[index]
        self._index, self._at = index + count, self._at + size
        message = m.SliceResults(
            attempt, lo, hi, failed, objects, elapsed_ns * 1e-9, lengths.cast("B") if count else b"", data
        )
        return Kept(lo, hi, size + 4 * count + KEPT_OVERHEAD_BYTES, message), elapsed_ns


def with_profile(kept: Kept, profile: Profile) -> Kept:
    """A single result as a message of its own, with what it used."""
    row = kept.report
    return kept._replace(report=m.AttemptResults((row,), ((row[0], *profile),)))


def one_row(attempt: int, is_slice: bool, row: int, outcome: Outcome, text: bytes, seconds: float) -> Kept:
    """A result that no processor wrote: the row was stopped by killing it."""
    size = len(text) + KEPT_OVERHEAD_BYTES
    if not is_slice:
        return Kept(0, 1, size, (attempt, int(outcome), text, (), seconds))
    lengths = len(text).to_bytes(4, "little")
    message = m.SliceResults(attempt, row, row + 1, ((row, int(outcome)),), (), seconds, lengths, text)
    return Kept(row, row + 1, size, message)


def messages(kept: Iterable[Kept]) -> Iterator[Message]:
    """The messages that report ``kept``: single results gathered, slices as they are."""
    rows: list[tuple[object, ...]] = []
    size = 0
    for one in kept:
        if type(one.report) is not tuple:
            yield one.report
            continue
        rows.append(one.report)
        size += one.size_bytes
        if len(rows) == limits.BATCH_ROWS or size > REPORT_BYTES:
            yield m.AttemptResults(tuple(rows))
            rows, size = [], 0
    if rows:
        yield m.AttemptResults(tuple(rows))
