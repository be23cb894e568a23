"""What a slice of results holds, as values and exceptions."""

import pickle
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from scaler_protocol.messages import ArrayResults, Outcome
from scaler_trio.client.calls.outcomes import load_failure, load_value
from scaler_trio.client.session.session import Session
from scaler_trio.ranges import Range
from scaler_trio.serialization import PLAIN


class Ended(NamedTuple):
    """One row."""

    row: int
    outcome: int
    value: Any
    error: BaseException | None


def load_whole(message: ArrayResults, pieces: Sequence[Range]) -> list[Any] | None:
    """All values of a slice, the usual case; None if a row has none, or does not load: see ``load_rows``."""
    if message.failed or message.objects or len(pieces) != 1 or pieces[0] != (message.lo, message.hi):
        return None
    lengths, data = _lengths(message), bytes(message.data)
    count = len(lengths)
    first = lengths[0]
    loads = pickle.loads
    try:
        if count > 1 and data[:first] == data[-first:] and first * count == len(data) and data == data[:first] * count:
            value = loads(data[:first])
            if type(value) in PLAIN:  # the same immutable value everywhere, as of functions that return None
                return [value] * count
        ends = list(accumulate(lengths, initial=0))
        return [loads(data[start:end]) for start, end in pairwise(ends)]
    except Exception:
        return None  # so that each gets its own error


def load_rows(session: Session, message: ArrayResults, pieces: Sequence[Range]) -> Iterator[Ended]:
    """The rows of ``pieces``, one by one; what they name and was read is released."""
    data = bytes(message.data)
    outcomes: dict[int, int] = dict(message.failed)
    objects: dict[int, tuple[bytes, ...]] = dict(message.objects)
    ends = list(accumulate(_lengths(message), initial=0))
    for lo, hi in pieces:
        for row in range(lo, hi):
            at = row - message.lo
            payload = data[ends[at] : ends[at + 1]]
            if (outcome := outcomes.get(row)) is not None:
                yield Ended(row, outcome, None, load_failure(outcome, payload))
                continue
            reader = session.reader()
            value, error = load_value(payload, reader)
            if row in objects:
                # What was read is in memory now. What was not is a reference within the value, and stays stored.
                session.release([object_ for object_ in objects[row] if object_ in reader.ids])
            yield Ended(row, int(Outcome.VALUE), value, error)


def _lengths(message: ArrayResults) -> "array[int]":
    lengths = array("I")
    lengths.frombytes(message.lengths)
    return lengths
