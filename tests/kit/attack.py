"""A process that attacks a cluster's sockets until its standard input ends: `python -m tests.kit.attack`.

A process of its own, so that what it costs the map is what it costs the services and not this interpreter's lock. Its
orders come as one line of JSON; it says `holding` when everything that is held open is open.
"""

from __future__ import annotations

import json
import os
import random
import select
import sys
from contextlib import ExitStack

from scaler_protocol import Role
from scaler_protocol import messages as m
from scaler_trio.objects.access import ObjectAccess
from scaler_trio.serialization.functions import Style, dump_function
from tests.chaos.work import blob
from tests.kit import hostile

PAUSE_S = 0.01
"""Between two bad connections to each socket: about a hundred a second."""

INLINE_BYTES = 60_000
STORED_BYTES = 4 * 1024 * 1024


def main() -> None:
    """Hold what is to be held, then send rubbish and half frames until told to stop."""
    order = json.loads(sys.stdin.readline())
    token = order["token"].encode()
    scheduler, objects = hostile.tcp(order["scheduler"]), hostile.tcp(order["objects"])
    with hostile.Peer(objects, Role.CLIENT, token=token, expect=Role.OBJECTS) as peer:
        (hello,) = [message for message in peer.read() if isinstance(message, m.ObjectServer)]
    local = hostile.unix(hello.local_socket)
    everywhere = (scheduler, objects, local)
    chance = random.Random(order["seed"])
    with ExitStack() as stack:
        for where in everywhere:
            stack.enter_context(hostile.idle_connections(where, order["idle"]))
        stack.enter_context(
            hostile.greedy_client(
                scheduler, dump_function(blob, Style.ONE), token=token, tasks=order["tasks"], argument=INLINE_BYTES
            )
        )
        store = ObjectAccess(order["objects"], token, os.urandom(16), Role.CLIENT)
        stack.callback(store.close)
        stored = store.write([bytes(STORED_BYTES)], STORED_BYTES)
        for where in (objects, local):
            stack.enter_context(hostile.greedy_reader(where, stored, token=token, fetches=order["fetches"]))
        print("holding", flush=True)
        bad = 0
        while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
            for where in everywhere:
                hostile.send_rubbish(where, 1, chance)
                hostile.send_half_frames(where, 1, chance, token=token)
                bad += 2
        print(bad, flush=True)


if __name__ == "__main__":
    main()
