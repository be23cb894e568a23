"""The numbers that the scheduler's decisions depend on, each with its reason."""

from attrs import frozen

from scaler_protocol.limits import MIB


@frozen
class Tuning:
    """Times in seconds, sizes in bytes."""

    slice_s: float = 0.150
    """Work in one slice, and so seven messages a second and worker: on busy cores each costs a millisecond."""

    slice_bytes: int = 4 * MIB
    """Results of one slice, about: a worker keeps them until all of it has ended and the client has them."""

    least_slice_s: float = 0.005
    """A slice is not cut finer than this, however near the end: below it the message costs more than the imbalance."""

    feed_s: float = 0.050
    """Work that a worker is given ahead in single tasks: twice as long as it takes to hear of them, and little to
    remember."""

    feed_rows_s: float = 0.300
    """The same with rows of arrays, whose results come less often. Either can be taken back."""

    prior_s: float = 1.0
    """An unknown function's duration: long, so that nothing is given ahead until it is known."""

    samples: int = 5
    """Items after which a function's duration counts as known."""

    recall_after_s: float = 0.010
    """A worker that has reported nothing for this long while another is idle gives up its queue."""

    recall_least_s: float = 0.005
    """Less queued work than this is left where it is."""

    recall_pause_s: float = 1.0
    """A worker that had nothing to give back is asked again after 10 ms, then 20, … at the latest after this long."""

    settle_s: float = 0.500
    """How long a worker may be left to keep settled results until there is something else to tell it."""

    first_pause_s: float = 0.1
    """How long an item that raised rests before its first retry; twice as long before each further one …"""

    longest_pause_s: float = 30.0
    """… up to this: what it waits for is probably a service of somebody else that should not be hammered."""

    reconnect_grace_s: float = 0.5
    """How long a lost worker may come back before its work goes to others."""

    worker_memory_s: float = 30.0
    """How long a lost worker's results still count after its work went to others."""

    client_grace_s: float = 30.0
    """How long a lost client may come back before its work is cancelled."""

    recovery_s: float = 3.0
    """How long a new scheduler holds re-declared work for workers that may still be running it."""

    unrunnable_after_s: float = 5.0
    """How long a task waits while workers are there and none fits."""

    credit_bytes: int = 16 * MIB
    """Unassigned rows of one client here; what is over waits in the client."""

    credit_step_bytes: int = 4 * MIB
    """Credit is announced in steps of this, so that it costs no message per result."""

    unacknowledged_bytes: int = 64 * MIB
    """Results on their way to one client, beyond which its work is no longer started."""

    fairness_half_life_s: float = 30.0
    """Half of what a client has used is forgotten after this long."""
