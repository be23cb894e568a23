"""What one message costs: run as `.venv/bin/python tests/actors/measure_tell.py` (best of 7 rounds, one core)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from scaler_trio.actors import Actor, ActorRef, ChildSpec, ReactiveActor, Reply, Supervisor, open_actor_tree

COUNT = 50_000
ROUNDS = 7


class Plain(Actor[Any]):
    async def handle(self, batch: list[Any]) -> None:
        for message in batch:
            if isinstance(message, Reply):
                message.send(None)


class Reacting(ReactiveActor[Any]):
    def react(self, batch: Sequence[Any]) -> None:
        for message in batch:
            if isinstance(message, Reply):
                message.send(None)


class WithDeadline(Reacting):
    """Moves its deadline with every message: each later than the one armed, as heartbeats do."""

    def __init__(self) -> None:
        self.deadline = trio.current_time() + 1000

    def react(self, batch: Sequence[Any]) -> None:
        self.deadline += 1

    def next_deadline(self) -> float:
        return self.deadline


async def best(what: str, per_round: int, measured: Callable[[], Awaitable[None]]) -> None:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        await measured()
        times.append(time.perf_counter() - start)
    print(f"{what:55}{min(times) / per_round * 1e6:8.2f} µs")


async def main() -> None:
    root = Supervisor(
        [
            ChildSpec("plain", Plain, mailbox_capacity=COUNT),
            ChildSpec("reactive", Reacting),
            ChildSpec("deadline", WithDeadline),
        ]
    )

    async def tell_nowait(ref: ActorRef[Any]) -> None:
        tell = ref.tell_nowait
        for number in range(COUNT):
            tell(number)
        await trio.lowlevel.checkpoint()

    async def drain(ref: ActorRef[Any]) -> None:
        await tell_nowait(ref)
        await ref.ask(lambda reply: reply, timeout_s=10)

    async def tell(ref: ActorRef[Any]) -> None:
        for number in range(COUNT // 10):
            await ref.tell(number)

    async def ask(ref: ActorRef[Any]) -> None:
        for _ in range(COUNT // 10):
            await ref.ask(lambda reply: reply, timeout_s=10)

    async with open_actor_tree(lambda: root):
        plain, reactive, deadline = (root.ref_of(name) for name in ("plain", "reactive", "deadline"))
        await best("plain: tell_nowait in a burst, handled", COUNT, lambda: drain(plain))
        await best("plain: await tell", COUNT // 10, lambda: tell(plain))
        await best("plain: await ask", COUNT // 10, lambda: ask(plain))
        await best("reactive: tell_nowait, handled", COUNT, lambda: tell_nowait(reactive))
        await best("reactive: tell_nowait, handled, deadline moves later", COUNT, lambda: tell_nowait(deadline))
        await best("reactive: await ask", COUNT // 10, lambda: ask(reactive))


if __name__ == "__main__":
    trio.run(main)
