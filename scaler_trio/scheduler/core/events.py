"""What happens to a scheduler: peers that come, speak and go, what a policy decides. Values, no behaviour."""

from collections.abc import Sequence

from attrs import frozen

from scaler_protocol import Message
from scaler_trio.scheduler.core.records import Storage
from scaler_trio.scheduler.policy.core.view import Desired


@frozen
class ClientConnected:
    """A client's session is open; a second one of the same session supersedes the first, which is not reported lost."""

    session: bytes
    name: str = ""
    python: str = ""


@frozen
class WorkerConnected:
    """A worker's session is open; as for clients."""

    session: bytes
    name: str = ""
    python: str = ""


@frozen
class ManagerConnected:
    """A worker manager's session is open; as for clients."""

    session: bytes
    name: str = ""
    python: str = ""


@frozen
class MonitorConnected:
    """A monitor's session is open; as for clients."""

    session: bytes
    name: str = ""
    python: str = ""


@frozen
class PeerLost:
    """A session ended; ``on_purpose`` if the peer had said goodbye."""

    session: bytes
    on_purpose: bool = False


@frozen
class Received:
    """Messages of one peer, as many as one read brought."""

    session: bytes
    messages: Sequence[Message]


@frozen
class Decided:
    """A policy has decided what worker managers should run."""

    desired: Sequence[Desired]
    inputs: str = ""
    """What it saw, in words."""


@frozen
class StorageSeen:
    """The object storage server came, went, or told how full it is."""

    storage: Storage


Event = (
    ClientConnected
    | WorkerConnected
    | ManagerConnected
    | MonitorConnected
    | PeerLost
    | Received
    | Decided
    | StorageSeen
)
