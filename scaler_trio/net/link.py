"""An open connection between two peers: messages in, messages out, heartbeats, and a bounded outbox.

A message that meets an empty outbox is written to the socket in the step, and by the thread, that sends it; only what
the socket does not take waits for the writer task. Each read brings all complete messages at once, as one list.
"""

import threading
from collections import deque

import trio
from attrs import frozen

from scaler_protocol import Buffer, Connection, ErrorCode, Message, ProtocolError, RemoteProtocolError, State
from scaler_protocol import messages as m
from scaler_trio.net.errors import ConnectionClosed, PeerRefused
from scaler_trio.net.stream import Stream

OUTBOX_BYTES = 8 * 1024 * 1024
"""What may wait for a peer that does not read; beyond it the peer is closed. Two reads of an array's results."""


@frozen
class LinkStatistics:
    """What a link has done so far."""

    peer: str
    outbox_bytes: int
    sent_bytes: int
    received_bytes: int


class Link:
    """One connection after its handshake.

    Ownership: whoever called ``open`` must call ``close`` and run ``run`` in a nursery of its own.
    """

    def __init__(self, stream: Stream, connection: Connection, *, outbox_bytes: int = OUTBOX_BYTES) -> None:
        self.stream = stream
        self.connection = connection
        self.judges_silence = True  # whether silence past the deadline closes the link (not for clients)
        self._outbox_limit = outbox_bytes
        self._outbox: deque[memoryview] = deque()
        self._outbox_bytes = 0
        self._lock = threading.Lock()  # a client's threads send beside the loop
        self._writable_work = trio.Event()
        self._drained = False  # whether the last read left nothing behind
        self._runs = False  # whether the writer task is there
        self._taken: trio.Event | None = None  # only while somebody waits for the outbox to shrink
        self._loop: trio.lowlevel.TrioToken | None = None
        self._loop_thread = 0
        self._early: list[Message] = []
        self._closed: ConnectionClosed | None = None
        self._last_received = 0.0
        self._sent_bytes = 0
        self._received_bytes = 0
        self._ping = 0

    async def open(self, *, timeout_s: float) -> None:
        """Shake hands.

        Raises:
            PeerRefused: the peer is no peer of ours, or refused; the text is its sentence.
            ConnectionClosed: it went away meanwhile, or did not finish within ``timeout_s``.
        """
        self._loop = trio.lowlevel.current_trio_token()
        self._loop_thread = threading.get_ident()
        with trio.move_on_after(timeout_s) as scope:
            try:
                await self._flush_protocol()
                while not self.connection.is_open:
                    self._early += await self._read()
                    await self._flush_protocol()
            except RemoteProtocolError as error:
                await self._last_words()
                raise PeerRefused(f"{self.stream.peer}: {error.message}", error.code) from error
        if scope.cancelled_caught:
            self.close("the handshake took too long")
            raise ConnectionClosed(
                f"{self.stream.peer} did not complete the handshake within {timeout_s:.2g} s: "
                "it is overloaded, or not a scaler-trio service",
                ErrorCode.SILENT_PEER,
            )
        self._last_received = trio.current_time()

    async def receive(self) -> list[Message]:
        """The next messages, as many as have come; at least one.

        Raises:
            ConnectionClosed: the connection ended; the text says how.
        """
        if self._early:
            early, self._early = self._early, []
            return early
        while True:
            try:
                messages = await self._read()
            except RemoteProtocolError as error:
                await self._last_words()
                raise self.close(error.message, error.code) from error
            if self.connection.has_outgoing:  # pongs
                self._write(self.connection.take_outgoing())
            heard = [message for message in messages if type(message) is not m.Pong]
            if heard:
                return heard

    def send(self, *messages: Message) -> None:
        """Write, or queue, these messages, in order; never waits. Any thread may call it.

        A link that is closed, or whose outbox is over its limit (it closes), swallows them: the reader learns of it.

        Raises:
            LocalProtocolError: a message over its limits; none of ``messages`` is sent.
        """
        if self._closed is not None:
            return
        encode = self.connection.encode
        if len(messages) == 1:
            self._write(encode(messages[0]))
        else:
            self._write([buffer for message in messages for buffer in encode(message)])

    @property
    def outbox_bytes(self) -> int:
        """What the peer has not taken yet."""
        return self._outbox_bytes

    @property
    def closed(self) -> ConnectionClosed | None:
        """Why the link is closed, or None."""
        return self._closed

    def close(self, reason: str, code: ErrorCode = ErrorCode.UNSPECIFIED, *, by_us: bool = False) -> ConnectionClosed:
        """End it at once, and wake who reads or writes; the first reason stays."""
        if self._closed is None:
            whom = f"the connection to {self.stream.peer} ended: {reason}"
            self._closed = ConnectionClosed(whom, code)
            if by_us:
                self.connection.fail(ProtocolError(code, reason))
                self._write_last(self.connection.take_outgoing())
            self.connection.state = State.CLOSED
            self.stream.close()
            self._wake_writer()
            self._in_loop(self._note_taken)
        return self._closed

    async def run(self) -> None:
        """Write what waits and keep the heartbeat; returns when the link is closed."""
        self._runs = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heartbeat, nursery.cancel_scope)
                await self._writer()
                nursery.cancel_scope.cancel()
        finally:
            self._runs = False

    async def wait_outbox(self, at_most_bytes: int) -> None:
        """Wait until no more than this waits for the peer, or the link is closed; ``run`` must be running.

        Cancellation: nothing is lost; bound it from outside, as a peer may never read.
        """
        while self._outbox_bytes > at_most_bytes and self._closed is None:
            if self._taken is None:
                self._taken = trio.Event()
            await self._taken.wait()

    def statistics(self) -> LinkStatistics:
        """A snapshot."""
        return LinkStatistics(self.stream.peer, self._outbox_bytes, self._sent_bytes, self._received_bytes)

    # ------------------------------------------------------------------------------------------------------ reading

    async def _read(self) -> list[Message]:
        buffer = self.connection.get_buffer()
        count = -1
        while count < 0:
            if self._closed is not None:
                raise self._closed
            if self._drained:  # do not pay a system call and an exception to hear that there is nothing yet
                self._drained = False
                try:
                    await self.stream.wait_readable()
                except trio.ClosedResourceError:
                    raise self.close("closed by this side") from None
            try:
                count = self.stream.recv_into(buffer)
            except BlockingIOError:
                self._drained = True
            except OSError as error:
                raise self.close(f"{error.strerror or error}") from error
        if count == 0:
            was_open = self.connection.is_open
            try:
                self.connection.received_eof()
            except RemoteProtocolError as error:
                if was_open:
                    raise
                # As likely a network's doing, or that of a service which restarts, as a stranger's: no verdict.
                raise self.close(error.message) from error
            raise self.close("the peer closed it")
        self._received_bytes += count
        self._drained = count < len(buffer)
        self._last_received = trio.current_time()
        return self.connection.received(count)

    # ------------------------------------------------------------------------------------------------------ writing

    def _write(self, buffers: list[Buffer]) -> None:
        with self._lock:
            if self._closed is not None:
                return
            size = sum(map(len, buffers))
            self._sent_bytes += size
            if not self._outbox:
                try:
                    taken = self.stream.send(buffers)
                except BlockingIOError:
                    taken = 0
                except OSError:
                    taken = size  # broken: the reader finds out, with the reason
                if taken == size:
                    return
                size -= taken
                for buffer in buffers:
                    if taken >= len(buffer):
                        taken -= len(buffer)
                    else:
                        self._outbox.append(memoryview(buffer)[taken:])
                        taken = 0
            else:
                self._outbox.extend(map(memoryview, buffers))
            self._outbox_bytes += size
            full = self._outbox_bytes > self._outbox_limit
        if full:
            reason = f"it did not read: {self._outbox_bytes} bytes wait, limit {self._outbox_limit}"
            self._in_loop(lambda: self.close(reason, ErrorCode.SLOW_PEER))
        else:
            self._in_loop(self._writable_work.set)

    def _push(self) -> None:
        """Write what the socket takes of the outbox."""
        self._push_some()
        self._note_taken()

    def _note_taken(self) -> None:
        if self._taken is not None:
            self._taken.set()
            self._taken = None

    def _push_some(self) -> None:
        with self._lock:
            outbox = self._outbox
            while outbox:
                some = [outbox[i] for i in range(min(len(outbox), 64))]
                try:
                    taken = self.stream.send(some)
                except BlockingIOError:
                    return
                except OSError:
                    outbox.clear()
                    self._outbox_bytes = 0
                    return
                self._outbox_bytes -= taken
                while outbox and taken >= len(outbox[0]):
                    taken -= len(outbox.popleft())
                if taken:
                    outbox[0] = outbox[0][taken:]

    async def _writer(self) -> None:
        while self._closed is None:
            if not self._outbox:
                self._writable_work = trio.Event()
                if not self._outbox:
                    await self._writable_work.wait()
                continue
            try:
                await self.stream.wait_writable()
            except trio.ClosedResourceError:
                return
            self._push()

    async def _flush_protocol(self) -> None:
        """What the handshake wants said, before the writer task runs."""
        self._write(self.connection.take_outgoing())
        while self._outbox_bytes and self._closed is None:
            try:
                await self.stream.wait_writable()
            except trio.ClosedResourceError:
                return
            self._push()

    async def _last_words(self) -> None:
        """Tell the peer why, if it listens: a short try, as the connection is of no use any more."""
        with trio.move_on_after(0.5) as scope:
            scope.shield = True
            if self._runs:
                self._write(self.connection.take_outgoing())
                await self.wait_outbox(0)
            else:
                await self._flush_protocol()
        self.stream.close()

    def _write_last(self, buffers: list[Buffer]) -> None:
        if not self._outbox and buffers:
            try:
                self.stream.send(buffers)
            except OSError:
                pass  # it was a courtesy

    def _in_loop(self, action: object) -> None:
        assert callable(action)
        if threading.get_ident() == self._loop_thread:
            action()
        elif self._loop is not None:
            try:
                self._loop.run_sync_soon(action)
            except trio.RunFinishedError:
                pass  # the loop has ended, and the connection with it

    def _wake_writer(self) -> None:
        self._in_loop(self._writable_work.set)

    # ---------------------------------------------------------------------------------------------------- heartbeat

    async def _heartbeat(self, scope: trio.CancelScope) -> None:
        timing = self.connection.timing
        while True:
            sent_before = self._sent_bytes
            await trio.sleep(timing.heartbeat_s)
            if self._sent_bytes == sent_before:
                self._ping += 1
                self.send(m.Ping(self._ping))
            if not self.judges_silence or trio.current_time() - self._last_received <= timing.deadline_s:
                continue
            # It may have been us who stood still: give the reader one heartbeat to take what has come meanwhile.
            before = self._received_bytes
            await trio.sleep(timing.heartbeat_s)
            if self._received_bytes == before:
                silent_s = trio.current_time() - self._last_received
                self.close(f"it was silent for {silent_s:.1f} s", ErrorCode.SILENT_PEER)
                scope.cancel()
                return
