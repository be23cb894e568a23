"""The numbers that the worker core's decisions depend on, each with its reason."""

from typing import Final

from scaler_protocol.limits import MIB

FEED_NS: Final = 300_000_000
"""Predicted work that a processor is given ahead: twice as long as it takes to hear of it again, so that it need not
ask for more. Taking it back costs the same however much it is."""

WAKE_NS: Final = 50_000_000
"""Predicted work left at which a processor asks for more after all, unless half of what it has is less."""

MIXED_NS: Final = 20_000_000
MIXED_S: Final = 0.5
"""What a processor is given ahead instead, for so long after single tasks have come while it had rows: more of them may
come, and each time its rows are taken back and given again."""

FEED_BYTES: Final = 1 * MIB
"""Payload that a processor is given ahead (one item in any case): what a socket pair holds without our help."""

FEED_ITEMS: Final = 8 * 1024
"""Items that a processor is given ahead: half of what the ring of results holds."""

STEAL_NS: Final = 1_000_000
"""Predicted work ahead of one slot that is worth moving to an idle one: several times what moving costs."""

GRACE_S: Final = 1.0
"""What an interrupted item may take for its ``finally`` blocks before its processor is killed."""

KEPT_BYTES: Final = 64 * MIB
"""Results not settled, beyond which no slice is begun: as much as the scheduler lets one client leave unread."""

KEPT_RESULTS: Final = 1 << 17
"""The same in number: half of the rows that the message which declares them may have."""

ATTEMPTS: Final = 1 << 17
"""Attempts at one time; a scheduler feeds 300 ms of work, so this many are its mistake."""

INPUTS_BYTES: Final = 256 * MIB
"""Inputs of graph nodes that came before the nodes themselves."""

FAILED_STARTS: Final = 5
"""Processors in a row that end without having run anything, after which the worker gives up: about 3 s."""

START_BACKOFF_S: Final = 0.2
"""Wait after the first of them; it doubles."""

SPARE_S: Final = 2.0
"""A processor that is of no use, because whoever waited has its place again, is kept for so long beyond one for each
place: recursion goes up and down, and each new one costs 10 ms."""

ENDED_SESSIONS: Final = 4_096
"""Sessions of dead processors that a scheduler is told of, by its message's limit."""

STORY_ENTRIES: Final = 4_096
"""Entries of the story of all attempts together; a few seconds of a busy worker."""
