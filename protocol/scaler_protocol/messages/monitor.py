"""Between monitors and the scheduler: a monitor asks, and is answered; nothing is sent to it unasked."""

from scaler_protocol import limits
from scaler_protocol.fields import (
    FLAG,
    INTEGER,
    NAME,
    NUMBER,
    SECONDS,
    SESSION,
    TEXT,
    Row,
    bounded,
    choice,
    message,
    rows,
)
from scaler_protocol.ids import U64_MAX
from scaler_protocol.messages.vocabulary import EventKind
from scaler_protocol.values import frozen


@message(120)
@frozen
class AskStatus:
    """How is the cluster, and what has happened since? ``ClusterStatus`` answers, at a rate that the scheduler sets."""

    after: int = bounded(minimum=0, maximum=U64_MAX, default=0)  # number of the last event that the monitor knows


@message(121)
@frozen
class ClusterStatus:
    """The scheduler as it is now."""

    epoch: int = bounded(minimum=0, maximum=U64_MAX)
    up_s: float = bounded(minimum=0)
    address: str = bounded(maximum=limits.TEXT_BYTES)  # where it listens
    policy: str = bounded(maximum=limits.TEXT_BYTES)  # what decides over capacity, for people
    workers: int = bounded(minimum=0, maximum=U64_MAX)  # connected
    slots: int = bounded(minimum=0, maximum=U64_MAX)  # of these
    draining: int = bounded(minimum=0, maximum=U64_MAX)  # of these workers
    running: int = bounded(minimum=0, maximum=U64_MAX)  # items that have a slot
    queued: int = bounded(minimum=0, maximum=U64_MAX)  # items that have not
    waiting: int = bounded(minimum=0, maximum=U64_MAX)  # items that wait for tasks of their own
    #: (Python and cloudpickle, capabilities in words, queued, running, expected seconds of one, whether that is known)
    work: tuple[Row, ...] = rows(NAME, TEXT, NUMBER, NUMBER, SECONDS, FLAG)
    #: (id, kind, name, units wanted or -1 = nobody asked, launching, connected, draining, most units or -1 = any,
    #: slots of each, start-up seconds, why it cannot start any, why so many are wanted); the first row may be that of
    #: workers without a connected manager, whose id is ""
    managers: tuple[Row, ...] = rows(
        NAME, NAME, NAME, INTEGER, NUMBER, NUMBER, NUMBER, INTEGER, NUMBER, SECONDS, TEXT, TEXT
    )
    #: (session, name, whether connected, unfinished tasks, oldest of them, its function), those with most tasks first
    clients: tuple[Row, ...] = rows(SESSION, NAME, FLAG, NUMBER, NUMBER, NAME)
    clients_left_out: int = bounded(minimum=0, maximum=U64_MAX)
    storage_address: str = bounded(maximum=limits.TEXT_BYTES)  # as peers are told, "" = there is none
    objects: int = bounded(minimum=0, maximum=U64_MAX)
    objects_memory_bytes: int = bounded(minimum=0, maximum=U64_MAX)
    objects_disk_bytes: int = bounded(minimum=0, maximum=U64_MAX)
    #: (number, seconds ago, kind, of whom, in words), oldest first
    events: tuple[Row, ...] = rows(NUMBER, SECONDS, choice(EventKind), NAME, TEXT)
    is_storage_connected: bool = False


@message(122)
@frozen
class ExplainTask:
    """Why is this task not done yet? ``Explanation`` answers, for each client that has one of that number."""

    request: int = bounded(minimum=0, maximum=U64_MAX)  # the monitor's own, for the answer
    task: int = bounded(minimum=0, maximum=U64_MAX)
    client: str = bounded(maximum=limits.NAME_BYTES, default="")  # its name, or the first digits of its session in hex
