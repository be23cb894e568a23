"""The agent: a Trio shell around WorkerCore, with one template, some processors, and a connection to the scheduler."""

import logging
import math
import os
import signal
from collections import deque
from typing import Any, Final

import trio

from scaler_protocol import Identity, Role
from scaler_protocol import messages as m
from scaler_protocol.limits import BATCH_ROWS, MIB
from scaler_trio.net import ConnectionClosed, Link
from scaler_trio.serialization.identity import python_identity
from scaler_trio.worker import channel
from scaler_trio.worker.agent import obituary
from scaler_trio.worker.agent.memory import Scales
from scaler_trio.worker.agent.output import Forwarder
from scaler_trio.worker.agent.processor_handle import ProcessorHandle
from scaler_trio.worker.agent.session import keep_connected
from scaler_trio.worker.agent.status import StatusMeter
from scaler_trio.worker.agent.template_handle import TemplateHandle
from scaler_trio.worker.control_page import TAKEN_ITEMS
from scaler_trio.worker.core import events as e
from scaler_trio.worker.core.core import WorkerCore
from scaler_trio.worker.core.state import Offer
from scaler_trio.worker.errors import PeerFault, WorkerFailed
from scaler_trio.worker.processor.process import INTERRUPT
from scaler_trio.worker.settings import WorkerSettings

POLL_S: Final = 0.200
"""A busy processor that was not heard of for so long is looked at unasked: a result waits at most this long for an item
that takes longer than expected. Longer than what processors take between signals, which makes it a rare event."""

RETRY_S: Final = 0.020
"""Between two looks around: until the next try when a page was locked, when results have to wait for the scheduler to
read, or when what is due cannot happen yet."""

OUTBOX_BYTES: Final = 4 * MIB
"""Results that the scheduler has not read; beyond it the rings fill, then processors wait. Half of a link's limit."""

OUTPUT_BYTES: Final = 1 * MIB
"""The same, beyond which what tasks print is left out: results come first."""

FAREWELL_S: Final = 1.0
"""What the last results and the goodbye may take."""


log = logging.getLogger("scaler_trio.worker")


class Agent:
    """One worker. ``run`` it once."""

    def __init__(self, settings: WorkerSettings, template: TemplateHandle | None = None) -> None:
        self.settings = settings
        self.session = os.urandom(16)
        self.core = WorkerCore(
            Offer(settings.slots, settings.capabilities, settings.manager, settings.latency_s, settings.unit),
            task_timeout_s=settings.task_timeout_s,
        )
        self.processors: dict[int, ProcessorHandle] = {}  # by slot
        self._template = template
        self._last_number = 0  # processors are numbered through, so that late news of one does not meet its successor
        self._forwarders = (Forwarder(1), Forwarder(2))
        self._meter = StatusMeter()
        self._scales = Scales(settings.memory_bytes)
        self._link: Link | None = None
        self._outgoing: list[Any] = []
        self._resend: deque[Any] = deque()
        self._more_to_resend = trio.Event()
        self._untruncated: dict[int, int] = {}  # slot to item: recalls that found the page locked
        self._is_put_off = False  # a look: what was finished waits until the scheduler reads
        self._alarm = trio.CancelScope()  # its deadline is when the time keeper looks around
        self._looked_around_at = -math.inf
        self._nursery: trio.Nursery | None = None
        self._template_ready = trio.Event()  # its preload has ended
        self._failure: WorkerFailed | None = None
        self._is_leaving = False
        self._is_told_to_end = False
        self._was_shut_down = False

    async def run(self) -> bool:
        """Work until the scheduler or a failure ends it; then nothing of it is left.

        True if the whole cluster was shut down: no worker shall take its place.

        Raises:
            WorkerFailed: no scheduler was found, or it refused for good, or processors do not start.

        Cancellation: kills the processors.
        """
        if self._template is None:
            self._template = TemplateHandle.begin(self.settings)
        try:
            async with trio.open_nursery() as outside:
                outside.start_soon(self._hear_cancel)
                async with trio.open_nursery() as self._nursery:
                    for forwarder in self._forwarders:
                        self._nursery.start_soon(forwarder.run)
                    self._nursery.start_soon(self._hear_template, self._template)
                    self._nursery.start_soon(self._keep_time)
                    self.apply(e.Tick())
                    try:
                        if self.settings.preload:
                            await self._template_ready.wait()  # work goes to others until this one can do it
                        await keep_connected(self)
                    except WorkerFailed as error:
                        self._fail(error)
                    self._nursery.cancel_scope.cancel()
                outside.cancel_scope.cancel()
        finally:
            for processor in self.processors.values():
                processor.close()  # an idle one ends by itself
            with trio.CancelScope(shield=True):  # bounded by the template's own limits
                await self._template.stop()
                with trio.move_on_after(FAREWELL_S):
                    for forwarder in self._forwarders:
                        await forwarder.flush()
        if self._failure is not None:
            raise self._failure
        return self._was_shut_down

    @property
    def is_leaving(self) -> bool:
        """Whether it has done what it came for."""
        return self._is_leaving

    def identity(self) -> Identity:
        """For one connection."""
        return Identity(
            Role.WORKER, self.session, self.settings.name, os.urandom(32), self.core.state.epoch, python_identity()
        )

    # ------------------------------------------------------------------------------------------------- event, effect

    def apply(self, *events: e.Event) -> None:
        """Hand events to the core and do what it says, all in this step; one write for each peer."""
        queue = deque(events)
        now = trio.current_time()
        try:
            while queue:
                for effect in self.core.handle(queue.popleft(), now):
                    self._perform(effect, queue)
        finally:
            self._flush()
        self._alarm.deadline = self._due_at()

    def _perform(self, effect: Any, queue: deque[e.Event]) -> None:
        kind = type(effect)
        if kind is e.Send:
            self._outgoing.append(effect.message)
        elif kind is e.Feed:
            processor = self.processors[effect.slot]
            if processor.is_idle:
                processor.looked_at = trio.current_time()  # there was nothing to be heard of until now
            processor.feed(effect)
        elif kind is e.Truncate:
            self._truncate(effect.slot, effect.item, queue)
        elif kind is e.Start:
            self._start(effect.slot)
        elif kind is e.Resume:
            self.processors[effect.slot].resume(effect.request)
        elif kind is e.Interrupt:
            processor = self.processors[effect.slot]
            processor.aim(effect.item)
            self._signal(processor, INTERRUPT)
        elif kind is e.Kill:
            self._signal(self.processors[effect.slot], signal.SIGKILL)
        elif kind is e.EndSpare:
            processor = self.processors[effect.slot]
            if processor.has_unfinished:
                queue.append(e.SpareKept(effect.slot))
            else:
                self._signal(processor, signal.SIGKILL)
        elif kind is e.Resend:
            self._resend.extend(effect.messages)
            self._more_to_resend.set()
        elif kind is e.Configure:
            for processor in self.processors.values():
                self._configure(processor)
        elif kind is e.Leave:
            self._leave()
        elif kind is e.Fail:
            self._fail(WorkerFailed(f"worker {self.settings.name!r}: {effect.text}"))
        else:
            raise AssertionError(f"unknown effect {effect!r}")

    def _truncate(self, slot: int, item: int, queue: deque[e.Event]) -> None:
        processor = self.processors[slot]
        limit = processor.truncate(item)
        if limit is None:
            self._untruncated[slot] = item
            return
        self._untruncated.pop(slot, None)
        queue.appendleft(e.Truncated(slot, limit))
        queue.appendleft(self._look(processor))

    def _look(self, processor: ProcessorHandle) -> e.Progress:
        processor.looked_at = trio.current_time()
        progress = processor.look()
        if processor.output.streams is not None:
            self._take_output(processor)
        return progress

    def _take_output(self, processor: ProcessorHandle) -> None:
        """What streamed items printed leaves before their results, or not at all while the scheduler does not read."""
        output = processor.output
        output.drain()
        streams, link = output.streams, self._link
        assert streams is not None
        if link is None or link.outbox_bytes > OUTPUT_BYTES:
            streams.leave_out()
        elif printed := streams.take():
            rows = [tuple(one) for one in printed]
            parts = [rows[at : at + BATCH_ROWS] for at in range(0, len(rows), BATCH_ROWS)]
            self._outgoing += [m.AttemptOutput(tuple(part)) for part in parts]
        streams.forget(processor.page.cells[TAKEN_ITEMS])

    def _on_printed(self, processor: ProcessorHandle) -> None:
        self._take_output(processor)
        self._flush()

    def _signal(self, processor: ProcessorHandle, which: signal.Signals) -> None:
        assert self._template is not None
        self._template.signal(processor.number, which)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if outgoing and self._link is not None:
            self._link.send(*outgoing)
        for processor in self.processors.values():
            processor.flush()

    def _leave(self) -> None:
        self._is_leaving = True
        if self._link is None:
            self._end()
            return
        self._outgoing.append(m.Goodbye("the worker is done"))
        assert self._nursery is not None
        self._nursery.start_soon(self._say_goodbye, self._link)

    async def _say_goodbye(self, link: Link) -> None:
        with trio.move_on_after(FAREWELL_S):
            await link.wait_outbox(0)
        link.close("this worker is done")
        self._end()

    def _fail(self, error: WorkerFailed) -> None:
        self._failure = self._failure or error
        self._is_leaving = True
        self._end()

    def _end(self) -> None:
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()

    # ---------------------------------------------------------------------------------------------- the scheduler

    async def serve(self, link: Link) -> None:
        """One connection, from its handshake to its end."""
        link_scope = trio.CancelScope(shield=True)  # a cancellation from outside leaves it the goodbye to write
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_run_until, link, link_scope)
                nursery.start_soon(self._send_again, link)
                nursery.start_soon(self._report_status, link)
                self._link = link
                self.apply(e.Connected())
                try:
                    while True:
                        messages = await link.receive()
                        if m.Shutdown in map(type, messages):
                            self._was_shut_down = self._is_leaving = True
                            self._end()
                            break
                        self.apply(*messages)
                except PeerFault as error:
                    link.close(str(error), by_us=True)
                except ConnectionClosed:
                    pass  # the link remembers why
                except trio.Cancelled:
                    await trio.lowlevel.cancel_shielded_checkpoint()  # `_hear_cancel` has run then
                    if self._is_told_to_end and not self._is_leaving:
                        link.send(m.Goodbye("the worker was told to end"))
                        with trio.move_on_after(FAREWELL_S, shield=True):
                            await link.wait_outbox(0)
                    raise
                finally:
                    link_scope.cancel()
                nursery.cancel_scope.cancel()
        finally:
            self._link = None
            link.close("the worker ended")
            self._resend.clear()
            self.apply(e.Disconnected())

    async def _hear_cancel(self) -> None:
        """Tell a cancellation from outside from one that a failure within causes: only the former is no crash."""
        try:
            await trio.sleep_forever()
        finally:
            self._is_told_to_end = True

    async def _send_again(self, link: Link) -> None:
        while True:
            self._more_to_resend = trio.Event()
            while self._resend:
                await link.wait_outbox(OUTBOX_BYTES)
                link.send(self._resend.popleft())
            await self._more_to_resend.wait()

    async def _report_status(self, link: Link) -> None:
        while True:
            await trio.sleep(link.connection.timing.heartbeat_s)
            self._weigh()
            pids = [processor.pid for processor in self.processors.values() if processor.pid]
            cpu_percent, memory_bytes = self._meter.measure([os.getpid(), *pids], trio.current_time())
            link.send(m.WorkerStatus(self.core.state.queued_rows, self.core.state.running, cpu_percent, memory_bytes))

    # ---------------------------------------------------------------------------------------------- the processors

    def _start(self, slot: int) -> None:
        assert self._template is not None
        assert self._nursery is not None
        self._last_number += 1
        processor = ProcessorHandle(self._last_number, slot, self._forwarders, self._on_printed)
        self.processors[slot] = processor
        processor.start(self._template, is_nested=self.core.state.is_nested)
        self._nursery.start_soon(self._serve_processor, processor)

    async def _serve_processor(self, processor: ProcessorHandle) -> None:
        with processor.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(processor.write)
                nursery.start_soon(processor.output.run)
                await self._hear_processor(processor)

    async def _hear_processor(self, processor: ProcessorHandle) -> None:
        sock = processor.socket
        while True:
            try:
                data = sock.recv(4096)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(sock)
                continue
            except OSError:
                data = b""
            if not data:
                # It is ending, or user code has closed its descriptors: it is of no use any more. How it ended, the
                # template tells; one that has begun to exit does so with its own status.
                self._signal(processor, signal.SIGKILL)
                return
            if not processor.is_ready and channel.READY in data:
                processor.is_ready = True
                self._configure(processor)
                self.apply(e.SlotReady(processor.slot))
            if self._may_look:
                self.apply(self._look(processor))
                self._weigh()
            else:
                self._is_put_off = True
                self._alarm.deadline = self._due_at()

    def _weigh(self) -> None:
        if over := self._scales.weigh(self.processors.values(), trio.current_time()):
            self.apply(self._look(self.processors[over.slot]), over)

    @property
    def _may_look(self) -> bool:
        return self._link is None or self._link.outbox_bytes <= OUTBOX_BYTES

    def _configure(self, processor: ProcessorHandle) -> None:
        if processor.is_ready:
            # A session of its own for each start: what a dead one has written goes with it.
            settings = {
                "address": self.settings.object_address or self.core.state.object_address,
                "token": self.settings.token,
                "session": self.session[:8] + processor.number.to_bytes(8, "big"),
                "access": self.settings.object_access,
                "secret": processor.output.secret,
                "scheduler": self.settings.scheduler_address,
                "collect_s": self.settings.collect_s,
                "trim_bytes": self.settings.trim_bytes,
            }
            processor.send(channel.configure(settings))
            processor.flush()

    async def _hear_template(self, template: TemplateHandle) -> None:
        while notices := await template.notices():
            for notice in notices:
                self._on_notice(notice)
        if not self._is_leaving:
            self._fail(WorkerFailed(f"worker {self.settings.name!r}: its template process ended; was it killed?"))

    def _on_notice(self, notice: dict[str, Any]) -> None:
        if "exited" in notice:
            self._on_death(notice)
        elif "started" in notice:
            for processor in self.processors.values():
                if processor.number == notice["started"]:
                    processor.pid = notice["pid"]
        elif "ready" in notice:
            self._template_ready.set()
        elif "failed" in notice:
            self._fail(WorkerFailed(f"worker {self.settings.name!r}: {notice['failed']}"))
        elif "warning" in notice:
            log.warning("%s", notice["warning"])

    def _on_death(self, notice: dict[str, Any]) -> None:
        processor = next((p for p in self.processors.values() if p.number == notice["exited"]), None)
        if processor is None:
            return
        progress = processor.look()._replace(session=processor.page.session())
        text = obituary.write(notice, processor.pid, self.settings.name, processor.output.tail())
        if processor.output.streams is not None:
            self._take_output(processor)
        self._untruncated.pop(processor.slot, None)
        del self.processors[processor.slot]
        processor.close()
        self.apply(e.SlotDied(progress, text))

    # ---------------------------------------------------------------------------------------------------------- time

    async def _keep_time(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._due_at()) as self._alarm:
                await trio.sleep_forever()
            self._look_around()

    def _due_at(self) -> float:
        """When to look around next, if nothing happens before; however often that is asked, not before ``RETRY_S``."""
        at = self.core.next_deadline()
        due_at = math.inf if at is None else at
        if self._untruncated or self._is_put_off:
            due_at = -math.inf
        elif self.core.state.running:
            slots = self.core.state.slots
            # An item that waits for others has told of it, and tells when it goes on.
            busy = [
                p.looked_at
                for p in self.processors.values()
                if (slot := slots[p.slot]).limit > slot.done and slot.blocked is None
            ]
            due_at = min(due_at, min(busy, default=math.inf) + POLL_S)
        return max(due_at, self._looked_around_at + RETRY_S)

    def _look_around(self) -> None:
        self._looked_around_at = trio.current_time()
        for slot, item in list(self._untruncated.items()):
            queue: deque[e.Event] = deque()
            self._truncate(slot, item, queue)
            self.apply(*queue)
        deadline = self.core.next_deadline()
        is_due = deadline is not None and deadline <= trio.current_time()
        self._is_put_off = not self._may_look
        if not self._is_put_off or is_due:
            self.apply(*[self._look(p) for p in self.processors.values() if p.is_ready])
            self._weigh()
        if is_due:
            self.apply(e.Tick())


async def _run_until(link: Link, scope: trio.CancelScope) -> None:
    with scope:
        await link.run()


async def run_worker(settings: WorkerSettings, template: TemplateHandle | None = None) -> bool:
    """Run a worker until its scheduler or a cancellation ends it; True if the whole cluster was shut down.

    Args:
        settings: what it is told.
        template: made by ``TemplateHandle.begin`` before Trio ran, which saves 0.2 s and shares memory; owned by this
            call from now on. None: one is spawned.

    Raises:
        WorkerFailed: it cannot go on; the text says why.
        AddressError: the scheduler's address is none.

    Cancellation: kills the processors, so that no process is left; up to a few seconds.
    """
    return await Agent(settings, template).run()
