"""Between the object storage server and everybody who stores and fetches."""

from scaler_protocol import limits
from scaler_protocol.fields import (
    OBJECT,
    bounded,
    exactly,
    message,
    segment,
)
from scaler_protocol.frames import Buffer
from scaler_protocol.ids import OBJECT_ID_BYTES, U64_MAX
from scaler_protocol.values import frozen


@message(96)
@frozen
class ObjectServer:
    """The server's first message after the handshake."""

    local_socket: str = bounded(maximum=limits.TEXT_BYTES)  # who can connect there is on the same host, "" = none
    limit_bytes: int = bounded(minimum=0, maximum=U64_MAX)


@message(97)
@frozen
class Reserve:
    """Room for a new object."""

    object: bytes = exactly(OBJECT_ID_BYTES)
    size: int = bounded(minimum=0, maximum=U64_MAX)


@message(98)
@frozen
class Granted:
    """The room is there. On the local socket a writable file of at least that size comes with it."""

    object: bytes = exactly(OBJECT_ID_BYTES)


@message(99)
@frozen
class Refused:
    """No room: the sentence names limit and usage. (While the server waits for room it sends nothing.)"""

    object: bytes = exactly(OBJECT_ID_BYTES)
    text: str = bounded(maximum=limits.TEXT_BYTES)


@message(100)
@frozen
class ObjectChunk:
    """A piece of an object: to the server after ``Granted``, from it after ``Found``; offsets ascend without gaps."""

    object: bytes = exactly(OBJECT_ID_BYTES)
    offset: int = bounded(minimum=0, maximum=U64_MAX)
    data: Buffer = segment()


@message(101)
@frozen
class Seal:
    """The object is written completely; it is immutable from now on."""

    object: bytes = exactly(OBJECT_ID_BYTES)


@message(102)
@frozen
class Sealed:
    """The server has it."""

    object: bytes = exactly(OBJECT_ID_BYTES)


@message(103)
@frozen
class Fetch:
    """Ask for an object. On the local socket the answer ``Found`` carries a read-only file and begins a lease."""

    object: bytes = exactly(OBJECT_ID_BYTES)


@message(104)
@frozen
class Found:
    """The object is there; on TCP its chunks follow."""

    object: bytes = exactly(OBJECT_ID_BYTES)
    size: int = bounded(minimum=0, maximum=U64_MAX)


@message(105)
@frozen
class Missing:
    """There is no such object, or no longer."""

    object: bytes = exactly(OBJECT_ID_BYTES)


@message(106)
@frozen
class EndLease:
    """The peer maps these objects no longer."""

    objects: tuple[bytes, ...] = bounded(item=OBJECT, maximum=limits.BATCH_ROWS)


@message(107)
@frozen
class AdoptObjects:
    """Scheduler only: these objects are referred to; their lives no longer depend on who wrote them."""

    objects: tuple[bytes, ...] = bounded(item=OBJECT, maximum=limits.BATCH_ROWS)


@message(108)
@frozen
class DeleteObjects:
    """Scheduler only: nobody refers to these objects any more."""

    objects: tuple[bytes, ...] = bounded(item=OBJECT, maximum=limits.BATCH_ROWS)


@message(109)
@frozen
class ObjectUsage:
    """The server tells the scheduler how full it is, when that changed, at most once a second."""

    objects: int = bounded(minimum=0, maximum=U64_MAX)
    memory_bytes: int = bounded(minimum=0, maximum=U64_MAX)
    disk_bytes: int = bounded(minimum=0, maximum=U64_MAX)
