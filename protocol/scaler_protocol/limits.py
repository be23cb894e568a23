"""Every bound of the protocol, each with its reason. Lengths are checked against it before anything is allocated."""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * 1024

FRAME_BYTES: Final = 16 * MIB
"""A whole frame. Large enough to keep the cost per byte small, small enough that a peer cannot make us reserve much."""

UNAUTHENTICATED_FRAME_BYTES: Final = 4 * KIB
"""A frame before the handshake is complete: a hello with its longest names fits."""

SEGMENTS: Final = 1024
"""Raw segments in one frame; the table of a frame is then at most 4 KiB."""

OBJECT_CHUNK_BYTES: Final = 1 * MIB
"""A piece of a streamed object: 0.3 ms on loopback, so that heartbeats and cancels interleave."""

INLINE_PAYLOAD_BYTES: Final = 64 * KIB
"""A payload within a message; what is larger becomes an object. Here a copy costs what an object's round trip does."""

INPUTS_BYTES: Final = 4 * MIB
"""Inputs of a graph node within one frame; a node with more gets them in several ``AssignInputs``."""

BLOCK_BYTES: Final = 1 * MIB
"""Rows of a task array within one block."""

BLOCK_ROWS: Final = 16_384
"""Rows of a task array in one block; its offset table is then at most 64 KiB."""

BATCH_ROWS: Final = 4_096
"""Rows in one batch message: 10 to 40 ms of work for the receiver, no more."""

NAME_BYTES: Final = 256
"""A name of a function, a worker, a capability."""

TEXT_BYTES: Final = 16 * KIB
"""A text for people: an error's sentence, the last output lines of a processor."""

RETRY_ON_BYTES: Final = 16 * KIB
"""The pickled exception classes after which a task is tried again: some names, or a class of the user's own script."""

CAPABILITIES: Final = 64
"""Capabilities of one worker or one task."""

DEPENDENCIES: Final = 65_536
"""Objects or inputs that one task may name."""

TOKEN_BYTES: Final = 16
"""The least length of a token: 128 bits."""

NONCE_BYTES: Final = 32
"""A nonce; as long as the hash, so that two never meet."""

PROOF_BYTES: Final = 32
"""A proof: HMAC-SHA256."""

HANDSHAKE_SECONDS: Final = 5.0
"""A connection that has not authenticated by then is closed."""

PENDING_HANDSHAKES: Final = 256
"""Connections in the handshake at one listener; beyond it the oldest is closed."""

PEERS: Final = 10_000
"""Open connections of one listener: the fleet that the scheduler is tested with."""

ARRAYS_PER_CLIENT: Final = 10_000
"""Unfinished arrays of one client: each is a record in the scheduler until it ends."""

CAPABILITY_CLASSES_PER_CLIENT: Final = 1_000
"""Different sets of capabilities that one client asks for: each has a ready queue."""

FUNCTIONS_PER_CLIENT: Final = 10_000
"""Functions that a client may have defined at one time; it drops the least recently used."""

ARRAY_ITEMS: Final = (1 << 40) - 1
"""Items of one task array."""

HELD_ROWS: Final = 1 << 18
"""Rows of a held-set, exchanged once per connection: ranges of tasks, or attempts, of one peer."""

GRAPH_TARGETS: Final = 1 << 20
"""Wanted nodes of one graph."""


def clip(text: str, at_most: int) -> str:
    """``text``, cut to at most that many bytes of UTF-8; lone surrogates, which no peer accepts, become ``?``."""
    return text.encode(errors="replace")[:at_most].decode(errors="ignore")
