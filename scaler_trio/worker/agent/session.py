"""Finding the scheduler, and finding it again: dialling with back-off until the death time-out."""

from typing import TYPE_CHECKING, Final

import trio

from scaler_protocol import ErrorCode, Role
from scaler_trio.net import Address, ConnectFailed, PeerRefused, dial
from scaler_trio.worker.errors import WorkerFailed

if TYPE_CHECKING:
    from scaler_trio.worker.agent.agent import Agent

DIAL_S: Final = 5.0
"""One attempt: connecting and the handshake."""

FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 2.0
"""Between attempts, doubling: a scheduler that restarts is found at once, one that is gone is not hammered."""

FINAL: Final = frozenset(
    {ErrorCode.AUTHENTICATION, ErrorCode.VERSION, ErrorCode.BAD_MAGIC, ErrorCode.OUT_OF_ORDER, ErrorCode.BAD_FRAME}
)
"""Refusals that trying again does not change: wrong token, wrong version, not a scheduler at all."""


async def keep_connected(agent: "Agent") -> None:
    """Serve one connection after the other, until the agent leaves.

    Raises:
        WorkerFailed: refused for good, or nobody found within the death time-out.
        AddressError: the address is none.
    """
    settings = agent.settings
    address = Address.parse(settings.scheduler_address)
    wait_s, alone_since = FIRST_WAIT_S, trio.current_time()
    while not agent.is_leaving:
        try:
            link = await dial(address, agent.identity(), token=settings.token, expect=Role.SCHEDULER, timeout_s=DIAL_S)
        except (ConnectFailed, PeerRefused) as error:
            if isinstance(error, PeerRefused) and error.code in FINAL:
                raise WorkerFailed(f"worker {settings.name!r}: {error}") from error
            if trio.current_time() - alone_since > settings.death_timeout_s:
                raise WorkerFailed(
                    f"worker {settings.name!r} found no scheduler for {settings.death_timeout_s:g} s: {error}"
                ) from error
            await trio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            continue
        await agent.serve(link)
        wait_s, alone_since = FIRST_WAIT_S, trio.current_time()
        await trio.sleep(wait_s)  # a scheduler that accepts and closes at once is not hammered either
