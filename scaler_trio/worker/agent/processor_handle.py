"""The agent's end of one processor: control page, socket pair with an outbox, output pipes."""

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio

from scaler_protocol import Buffer
from scaler_protocol.limits import MIB
from scaler_trio.worker import channel
from scaler_trio.worker.agent.output import Forwarder, Output
from scaler_trio.worker.agent.template_handle import TemplateHandle
from scaler_trio.worker.control_page import CANCEL, GENERATION, LIMIT, RESUMED, STUCK, TAKEN_ITEMS, ControlPage
from scaler_trio.worker.core.events import Feed, Progress

SOCKET_BYTES: Final = 4 * MIB
"""Asked of the kernel for the socket pair, which may give less: a whole feed should go out in one system call."""

_MAX_BUFFERS: Final = 512
"""Buffers in one ``sendmsg``; the kernel takes up to 1024."""


class ProcessorHandle:
    """One processor from its request to its death. Ownership: whoever made it runs ``write`` and calls ``close``."""

    def __init__(
        self,
        number: int,
        slot: int,
        forwarders: tuple[Forwarder, Forwarder],
        on_printed: Callable[["ProcessorHandle"], None],
    ) -> None:
        self.number = number
        self.slot = slot
        self.pid = 0
        self.is_ready = False
        self.looked_at = 0.0  # by the agent, on its clock
        self.scope = trio.CancelScope()  # of the tasks that serve it
        self.page = ControlPage.create()
        self.socket, self._its_socket = socket.socketpair()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        output, self._its_output = os.pipe2(os.O_CLOEXEC)
        errors, self._its_errors = os.pipe2(os.O_CLOEXEC)
        self.output = Output((output, errors), forwarders, lambda: on_printed(self))
        self._outbox: deque[Buffer] = deque()  # not yet taken by the socket
        self._batch: list[Buffer] = []  # of this step
        self._work = trio.Event()

    def start(self, template: TemplateHandle, *, is_nested: bool) -> None:
        """Ask for the process and give it its ends."""
        try:
            descriptors = [self._its_socket.fileno(), self.page.fd, self._its_output, self._its_errors]
            template.start(self.number, descriptors, is_nested=is_nested)
        finally:
            self._its_socket.close()
            os.close(self._its_output)
            os.close(self._its_errors)

    def close(self) -> None:
        """Give everything back and end the tasks that serve it."""
        self.scope.cancel()
        trio.lowlevel.notify_closing(self.socket)
        self.socket.close()
        self.output.close()
        self.page.close()

    # --------------------------------------------------------------------------------------------------- the page

    def look(self) -> Progress:
        """What has happened since the last look; wakes a processor that waited for it."""
        page = self.page
        taken = page.take()
        sight = page.sight()
        if page.cells[STUCK]:
            self.send(channel.wake())
        # What finished between the two reads stays for the next look: the core counts by what was taken.
        running = sight.running if sight.running == page.cells[TAKEN_ITEMS] else None
        seconds = sight.running_ns * 1e-9
        if not sight.waiting or sight.done != page.cells[TAKEN_ITEMS]:
            return Progress(self.slot, taken, sight.claimed, running, seconds)
        return Progress(self.slot, taken, sight.claimed, running, seconds, sight.waiting, sight.request, page.session())

    @property
    def has_unfinished(self) -> bool:
        """Whether tasks that its items have submitted are unfinished."""
        return self.page.has_unfinished

    @property
    def is_idle(self) -> bool:
        """Whether the results of all that it was fed have been read."""
        return self.page.cells[TAKEN_ITEMS] == self.page.cells[LIMIT]

    def feed(self, effect: Feed) -> None:
        """Hand over functions and items."""
        if effect.streams:
            self.output.stream(effect.streams)
        if effect.forget:
            self.send(channel.forget(effect.forget))
        for key, how in effect.manners:
            self.send(channel.manner(key, how))
        for key, payload in effect.functions:
            self.send(channel.function(key, payload))
        for part in effect.parts:
            self.send(channel.pages(part) if isinstance(part, channel.Pages) else channel.tasks(part))
        self.page.feed(effect.limit, effect.wake_at)

    def truncate(self, item: int) -> int | None:
        """Take back what is not claimed, from ``item`` on: the limit that holds now; None = try again."""
        limit = self.page.recall(item)
        if limit is not None:
            self.send(channel.truncate(limit, self.page.cells[GENERATION]))
            if self.output.streams is not None:
                self.output.streams.truncate(limit)
        return limit

    def resume(self, request: int) -> None:
        """Let the item go on that has waited."""
        self.page.cells[RESUMED] = request
        self.send(channel.wake())

    def aim(self, item: int) -> None:
        """Say which item the next interrupt is meant for."""
        self.page.cells[CANCEL] = item

    # ------------------------------------------------------------------------------------------------- the socket

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Add to what ``flush`` writes."""
        self._batch += buffers

    def flush(self) -> None:
        """Write what the socket takes; the rest is ``write``'s."""
        if self._batch:
            is_first = not self._outbox
            self._outbox += self._batch
            self._batch.clear()
            if is_first:
                self._push()
                if self._outbox:
                    self._work.set()

    async def write(self) -> None:
        """Write what did not go at once, until ``close``."""
        while True:
            if not self._outbox:
                self._work = trio.Event()
                await self._work.wait()
            try:
                await trio.lowlevel.wait_writable(self.socket)
            except trio.ClosedResourceError:
                return
            self._push()

    def _push(self) -> None:
        outbox = self._outbox
        while outbox:
            some = [outbox[i] for i in range(min(len(outbox), _MAX_BUFFERS))]
            try:
                taken = self.socket.sendmsg(some)
            except BlockingIOError:
                return
            except OSError:
                outbox.clear()  # it is dying; the template will say how
                return
            while outbox and taken >= len(outbox[0]):
                taken -= len(outbox.popleft())
            if taken:
                outbox[0] = memoryview(outbox[0])[taken:]
