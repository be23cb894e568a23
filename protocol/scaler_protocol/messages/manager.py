"""Between worker managers and the scheduler."""

from scaler_protocol import limits
from scaler_protocol.fields import (
    INTEGER,
    NAME,
    Row,
    bounded,
    message,
    rows,
)
from scaler_protocol.values import frozen


@message(84)
@frozen
class ManagerStatus:
    """What a worker manager could provide and has: its first message, then whenever that changes."""

    manager: str = bounded(minimum=1, maximum=limits.NAME_BYTES)  # its id; of two at one time the second is refused
    kind: str = bounded(minimum=1, maximum=limits.NAME_BYTES)
    limit: int = bounded(minimum=-1, maximum=1 << 20)  # units that it may run, -1 = any number
    slots: int = bounded(minimum=1, maximum=1 << 16)  # of each unit
    start_s: float = bounded(minimum=0, maximum=36000)  # from the wish for a unit until it has connected, as measured
    capabilities: tuple[Row, ...] = rows(NAME, INTEGER, at_most=limits.CAPABILITIES)
    launching: int = bounded(minimum=0, maximum=1 << 20)  # units that were started and have not connected
    problem: str = bounded(maximum=limits.TEXT_BYTES)  # why it cannot start units at present, "" = it can
    wanted: int = bounded(minimum=0, maximum=1 << 20)  # units that it tries to have: as asked, or a number of its own


@message(85)
@frozen
class DesiredUnits:
    """What a worker manager should run, launching units included, those that drain not. After ``ManagerStatus``."""

    units: int = bounded(minimum=0, maximum=1 << 20)
    drained: tuple[str, ...] = bounded(item=NAME, maximum=limits.BATCH_ROWS)  # they were told to leave
    grace_s: float = bounded(minimum=0, maximum=36000)  # which those have; who stays longer is ended
    reason: str = bounded(maximum=limits.TEXT_BYTES)


@message(86)
@frozen
class Units:
    """Units of a worker manager that have connected, or have gone: all connected ones at first, then changes."""

    connected: tuple[str, ...] = bounded(item=NAME, maximum=limits.BATCH_ROWS)
    gone: tuple[str, ...] = bounded(item=NAME, maximum=limits.BATCH_ROWS)
