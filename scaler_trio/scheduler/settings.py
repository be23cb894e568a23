"""What a scheduler is told when it starts."""

from attrs import field, frozen

from scaler_trio.net import Address
from scaler_trio.scheduler.core.tuning import Tuning
from scaler_trio.scheduler.policy.core.simple import NoScaling
from scaler_trio.scheduler.policy.core.view import Policy


@frozen
class SchedulerSettings:
    """Validated once, at the edge."""

    address: Address
    """Where to listen; port 0 takes a free one."""

    token: bytes | None = field(repr=False)
    """The secret that every peer must know; None admits everybody who can connect."""

    object_storage_address: Address | None = None
    """Where the object storage server listens; without one, values over 64 KiB cannot travel."""

    advertised_object_storage_address: Address | None = None
    """What clients and workers are told instead, where they see it under another address."""

    name: str = "scheduler"
    heartbeat_s: float = 2.0
    worker_timeout_s: float = 10.0
    """Silence after which a worker counts as lost."""

    protected: bool = True
    """Whether clients may not shut it down."""

    policy: Policy = field(factory=NoScaling)
    """Decides how many units each worker manager should run."""

    policy_in_words: str = "no scaling"
    """For monitors."""

    advertised_address: Address | None = None
    """Where peers find it, if that is not where it listens: behind NAT, or when it listens on all interfaces."""

    monitor_address: Address | None = None
    """Where it listens too, for monitors only."""

    tuning: Tuning = field(factory=Tuning)

    @property
    def heartbeat_every_s(self) -> float:
        """The heartbeat, or more often where a short time-out needs it: a worker that misses one is not lost yet."""
        return min(self.heartbeat_s, self.worker_timeout_s / 4)
