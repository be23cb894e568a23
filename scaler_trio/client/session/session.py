"""A client's session, thread-safe: guards the core, sends what the core wants sent, gives results to their owners.

The core is used by the threads that submit and by the link thread, under one lock that is held for microseconds and
never while anything waits. That breaks the rule of one task per core on purpose: a lone call is written to the socket
by the thread that makes it, which saves the wake-up of the loop. Owners get their results outside of the lock.
"""

import atexit
import itertools
import logging
import os
import queue
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from scaler_protocol import LocalProtocolError, Message
from scaler_protocol.fields import Row
from scaler_protocol.messages import ArrayResults, NoticeKind, TaskOptions
from scaler_trio.client.calls.future import ScalerFuture, _call_back, settle
from scaler_trio.client.core import effects as do
from scaler_trio.client.core import events as ev
from scaler_trio.client.core.core import ClientCore
from scaler_trio.client.session.callbacks import CallbackThread
from scaler_trio.client.session.link_thread import LinkThread, Target, client_name
from scaler_trio.client.session.objects import ClientObjects, Reader
from scaler_trio.client.session.pins import Pins
from scaler_trio.client.session.printing import Printer
from scaler_trio.errors import (
    ClientClosed,
    ConnectionFailed,
    ConnectionLost,
    ProtectedError,
    ScalerError,
    TaskCancelled,
)
from scaler_trio.net import Address, Link
from scaler_trio.ranges import Range

if TYPE_CHECKING:
    from scaler_trio.client.event_loop import LoopEvent

BATCH_ROWS: Final = 256
"""Calls that are collected before the calling thread sends them itself: about a millisecond of ``submit``."""

CLOSE_S: Final = 2.0
"""How long ``close`` waits for the link thread; it has nothing to do but to end."""

EXPLAIN_S: Final = 0.2
"""What the explanation in the text of a ``TimeoutError`` may take."""
LATE_S: Final = 1.0
"""The loop keeps to the time-out of the first connection itself; this guards against a loop that cannot run at all."""

NOTICES: Final = 10
"""Notices of one message that are logged singly."""

log = logging.getLogger("scaler_trio")

T = TypeVar("T")


class ArrayOwner(Protocol):
    """Who gets the results of an array; called by the link thread or the thread that submits, and returns at once."""

    def slice_done(self, message: ArrayResults, pieces: Sequence[Range]) -> None: ...
    def progress(self, unsent_bytes: int) -> None: ...
    def done(self) -> None: ...
    def dropped(self, error: ScalerError) -> None: ...


class GraphOwner(Protocol):
    """Who gets the results of a graph."""

    def nodes_done(self, rows: Sequence[Row]) -> None: ...
    def profiled(self, row: Row) -> None: ...
    def dropped(self, error: ScalerError) -> None: ...


class Session:
    """One client's connection, from ``start`` to ``close``."""

    def __init__(
        self,
        address: Address,
        find_token: Callable[[], bytes | None],
        *,
        timeout_s: float,
        reconnect_timeout_s: float,
    ) -> None:
        self.identity = identity = secrets.token_bytes(16)
        self.address = address
        self._find_token = find_token
        self.numbers: Iterator[int] = itertools.count(1)
        self.error: ScalerError | None = None  # why it is of no use any more
        self._target = Target(address, find_token, identity, client_name(), timeout_s, reconnect_timeout_s)
        self._lock = threading.Lock()
        self._core = ClientCore()
        self._deadline: float | None = None  # the core's, when last asked
        self._link: Link | None = None
        self._loop = LinkThread(self, self._target)
        self._thread = threading.Thread(target=self._run, name=f"scaler client of {address}", daemon=True)
        self._callbacks = CallbackThread(f"scaler callbacks of {address}", _call_back)
        # Of its own: whoever does not read our output, a pager say, stops that thread and no callbacks.
        self._printing = CallbackThread(f"scaler output of {address}", _call_back)
        self._printer = Printer(self._printing.put)
        self._batch: deque[ev.TaskRow] = deque()  # submitted and not yet with the core
        self._wake_asked = False
        self.on_step: Callable[[], None] | None = None  # called after each step, with the lock held
        self._releases: deque[bytes] = deque()  # dropped by finalizers, which must not take locks
        self._unwanted_numbers: deque[int] = deque()  # tasks, the same
        self._unwanted_futures: deque[Callable[[], object]] = deque()  # their `cancel`, the same
        self._questions: dict[int, queue.SimpleQueue[str]] = {}  # to the scheduler, by request
        self._known: threading.Event | LoopEvent = threading.Event()
        self._shutdown_answered = threading.Event()
        self._shutdown_refusal: str | None = None
        self._unwanted = False  # the client is gone; the session ends when nothing is unfinished
        self.pins = Pins()
        self.source = self.objects = ClientObjects(self, identity)
        _sessions.add(self)

    @property
    def token(self) -> bytes | None:
        """The secret, as it is known now: a service that starts later than we leaves it then."""
        return self._find_token()

    def start(self) -> None:
        """Connect.

        Raises:
            ConnectionFailed: nobody answered in time, or not a scheduler, or it refused.
        """
        known = threading.Event()
        self.begin(known)
        is_known = known.wait(self._target.timeout_s + LATE_S)
        self.check_begun(is_known)

    async def start_in_loop(self) -> None:
        """The same in an event loop.

        Cancellation: the session is of no use then; close it.
        """
        from scaler_trio.client.event_loop import LoopEvent, finish_in_thread

        known = LoopEvent()
        self.begin(known)
        is_known = await known.wait(self._target.timeout_s + LATE_S)
        if not is_known:
            await finish_in_thread(self.close)
        self.check_begun(is_known)

    def begin(self, known: "threading.Event | LoopEvent") -> None:
        """Begin to connect; sets the event when that has come to an end, good or bad."""
        self._known = known
        self._thread.start()

    def check_begun(self, is_known: bool) -> None:
        """What has come of it.

        Raises:
            ConnectionFailed: as ``start``.
        """
        if not is_known:
            self.close()
            raise ConnectionFailed(
                f"the scheduler at {self.address} accepted the connection and said nothing more within "
                f"{self._target.timeout_s:g} s; it may be overloaded"
            )
        if self.error is not None:
            raise self.error

    # --------------------------------------------------------------------------------------------------- submitting

    def submit(
        self, function: ev.Function, payload: bytes, objects: tuple[bytes, ...], options: TaskOptions
    ) -> ScalerFuture[Any]:
        """Send a task, now if nothing is under way, else with those that follow within about a millisecond."""
        number = next(self.numbers)
        future: ScalerFuture[Any] = ScalerFuture(self, number)
        future._name = function.name
        batch = self._batch
        batch.append((number, function, payload, objects, options, future))
        if self.pins.counts:
            self._unpin()
        if self._core.is_idle or len(batch) >= BATCH_ROWS:
            self.flush()
        elif not self._wake_asked:
            self._wake_asked = True
            self._loop.wake()
        if self.error is not None:
            self.check_usable()
        return future

    def flush(self) -> None:
        """Hand over what was submitted, if anything is waiting for that."""
        if self._batch:
            self.handle(None)

    def handle(self, event: ev.Event | None) -> None:
        """Tell the core, after what was submitted before, and do what it wants done."""
        lock = self._lock
        with lock:
            now = time.monotonic()
            effects = self._take_batch(now) if self._batch else []
            if self._releases:
                free, pinned = self.pins.split(_drain(self._releases))
                self._releases.extend(pinned)
                effects += self._core.handle(ev.ObjectsReleased(free), now, None)
            if self._unwanted_numbers:
                effects += self._core.handle(ev.TasksCancelled(_drain(self._unwanted_numbers)), now, None)
            if event is not None:
                effects += self._core.handle(event, now, self._outbox_bytes())
            later = self._send(effects) if effects else effects
            if self.on_step is not None:
                self.on_step()
            deadline = self._core.next_deadline()
            if deadline is not self._deadline:
                self._deadline = deadline
                if threading.current_thread() is self._thread:
                    self._loop.set_timer(deadline)
                elif deadline is not None and deadline < self._loop.ticks_at:
                    self._loop.rearm()
        if self.pins.counts and type(event) in _HANDED_OVER:
            self._unpin()
        if self._unwanted_futures and threading.current_thread() is self._thread:
            for cancel in _drain(self._unwanted_futures):
                cancel()
        if self._unwanted and self._core.is_idle:
            self._loop.stop()
        for effect in later:
            _DELIVER[type(effect)](self, effect)

    def _unpin(self) -> None:
        self.pins.unpin()
        if self._releases:
            self._loop.wake()

    def cancel(self, numbers: Sequence[int]) -> None:
        """Nobody wants these tasks any more."""
        self.handle(ev.TasksCancelled(numbers))

    def explain(self, number: int, timeout_s: float) -> str:
        """Why this task is not done yet, and what has happened to it: a sentence, then a line for each event."""
        answer: queue.SimpleQueue[str] = queue.SimpleQueue()
        request = next(self.numbers)
        self._questions[request] = answer
        self.handle(ev.Asked(request, number))
        try:
            return answer.get(timeout=timeout_s)
        except queue.Empty:
            return f"the scheduler at {self.address} did not say within {timeout_s:g} s"
        finally:
            del self._questions[request]

    def explain_shortly(self, number: int) -> str:
        """The same in one sentence, for the end of an error's text; empty if it cannot be had at once."""
        if self.error is not None:
            return ""
        return f": {self.explain(number, EXPLAIN_S).partition(chr(10))[0]}"

    def cancel_soon(self, number: int) -> None:
        """The same, for a finalizer: takes no lock."""
        if self.error is None:
            self._unwanted_numbers.append(number)
            self._loop.wake()

    def call_soon(self, cancel: Callable[[], object]) -> None:
        """The same for a future, which is to be told as well: its ``cancel``, called by the link thread."""
        if self.error is None:
            self._unwanted_futures.append(cancel)
            self._loop.wake()

    def release(self, objects: Iterable[bytes]) -> None:
        """These objects are not needed any more. May be called by a finalizer: takes no lock."""
        objects = tuple(objects)
        if objects and self.error is None:
            self._releases.extend(objects)
            self._loop.wake()

    def reader(self) -> Reader:
        """A source that remembers what was read."""
        return Reader(self.objects)

    def call_back(self, calls: Iterable[tuple[Callable[[Any], object], Any]]) -> None:
        """Run callbacks on their thread."""
        self._callbacks.put(calls)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is unfinished."""
        return self._core.is_idle and not self._batch

    def check_usable(self) -> None:
        """Raise if nothing can be submitted.

        Raises:
            ScalerError: why.
        """
        if self.error is not None:
            # A new one each time: one that is raised again would show the lines of all who met it before.
            raise type(self.error)(*self.error.args) from self.error.__cause__

    # ------------------------------------------------------------------------------------------------------ closing

    def close(self) -> None:
        """Say goodbye, cancel what is unfinished, end the thread. Idempotent; any thread."""
        if self.error is None or isinstance(self.error, ConnectionLost):
            self._end(ClientClosed("the client was closed"))
        self._loop.stop()
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_S)
        self.objects.close()
        self._callbacks.stop()
        self._printing.stop()

    def clear(self) -> None:
        """Cancel everything unfinished, release everything stored."""
        self.check_usable()
        self.objects.forget()
        self.handle(ev.Cleared())

    def unfinished(self) -> set[int]:
        """The numbers of all that has no result yet."""
        self.flush()
        with self._lock:
            return self._core.unfinished()

    def whereabouts(self, number: int) -> str:
        """Where an unfinished task is, as far as it is known here. Takes no lock, sends and asks nothing."""
        if self.error is not None:
            return str(self.error)
        if self._link is None:
            return f"the connection to {self.address} is lost, and tried again"
        if self._core.is_sent(number):
            return "with the scheduler; explain() asks it what the task waits for"
        return "not sent yet"

    def give_up(self, wanted: Callable[[int], bool], reason: str) -> None:
        """Cancel what is unfinished and has such a number; whoever waits for it gets a ``TaskCancelled``."""
        numbers = [number for number in self.unfinished() if wanted(number)]
        if numbers:
            self.handle(ev.GivenUp(numbers, reason))

    def shut_down(self) -> None:
        """Have the scheduler end the cluster; this session has ended in any case.

        Raises:
            ProtectedError: it refuses.
            ConnectionLost: it did not answer.
            ScalerError: this had ended already.
        """
        self.check_usable()
        try:
            self.clear()
            self.handle(ev.ShutdownAsked())
            if not self._shutdown_answered.wait(self._target.timeout_s):
                raise ConnectionLost(
                    f"the scheduler at {self.address} was asked to shut down and did not answer within "
                    f"{self._target.timeout_s:g} s"
                )
        finally:
            self.close()
        if self._shutdown_refusal is not None:
            raise ProtectedError(f"the scheduler at {self.address} {self._shutdown_refusal}")

    def stop_when_idle(self) -> None:
        """The client was dropped: end once nothing is unfinished. Takes no lock, for the garbage collector."""
        self._unwanted = True
        self._loop.wake()

    def forget_after_fork(self) -> None:
        """In a forked child: the connection belongs to the parent, and its threads do not exist here."""
        self.error = ClientClosed(
            f"this client belongs to process {self._pid}, and this is process {os.getpid()}, forked from it; "
            "make a new Client here"
        )
        self.is_forked = True
        self._loop.forget()
        self._lock = threading.Lock()  # it may have been held by a thread that does not exist here
        if self._link is not None:
            self._link.stream.close()

    _pid = os.getpid()
    is_forked = False  # this process is a child of its own

    def _end(self, error: ScalerError) -> None:
        self.error = error
        self.handle(ev.Abandoned())

    # --------------------------------------------------------------------------------------------- the link's owner

    def connected(self, link: Link, epoch: int) -> None:
        self._link = link
        self.handle(ev.Connected(epoch))

    def received(self, messages: Sequence[Message]) -> None:
        self.handle(ev.Received(messages))

    def tick(self) -> None:
        self._wake_asked = False  # before the batch is taken: who comes later asks again
        self.handle(ev.Tick())

    def arm(self) -> None:
        with self._lock:
            self._deadline = self._core.next_deadline()
            self._loop.set_timer(self._deadline)

    def disconnected(self, reason: str) -> None:
        self._link = None
        if self.error is None:
            log.debug("%s", reason)
            self.handle(ev.Disconnected(reason))
            for answer in list(self._questions.values()):
                answer.put("the connection to the scheduler is lost, and tried again")

    def stopping(self) -> None:
        if self.error is None:
            self._end(ClientClosed("the client was dropped"))

    def failed(self, error: ScalerError) -> None:
        if self.error is None:
            self._end(error)
        self._known.set()

    # ------------------------------------------------------------------------------------------------------- inside

    def _run(self) -> None:
        try:
            self._loop.run()
        except BaseException as error:
            self.failed(ConnectionLost(f"the client's own loop failed: {type(error).__name__}: {error}"))
            raise
        finally:
            if self.error is None:  # stopped by the garbage collector or the interpreter's end
                self.error = ClientClosed("the client was dropped")
                self.objects.close()
                self._callbacks.stop()
                self._printing.stop()

    def _outbox_bytes(self) -> int:
        link = self._link
        return link.outbox_bytes if link is not None else 0

    def _take_batch(self, now: float) -> list[do.Effect]:
        """Called with the lock held."""
        return self._core.handle(ev.Submitted(_drain(self._batch)), now, self._outbox_bytes())

    def _send(self, effects: list[do.Effect]) -> list[do.Effect]:
        """Send in the core's order, with the lock held; returns what is to be delivered without it."""
        later = []
        for effect in effects:
            if type(effect) is do.Send:
                link = self._link
                if link is not None:
                    try:
                        link.send(*effect.messages)
                    except LocalProtocolError:
                        if link.connection.is_open:
                            raise
                        # It is ending; the reader will say so, and what was not sent is sent on the next connection.
            else:
                later.append(effect)
        return later

    def _tasks_done(self, effect: do.TasksDone) -> None:
        settle(effect.results)

    def _profiled(self, effect: do.Profiled) -> None:
        for owner, row in effect.profiles:
            owner.profiled(row)

    def _nodes_done(self, effect: do.NodesDone) -> None:
        effect.owner.nodes_done(effect.rows)

    def _slice_done(self, effect: do.SliceDone) -> None:
        effect.owner.slice_done(effect.message, effect.pieces)

    def _array_progress(self, effect: do.ArrayProgress) -> None:
        effect.owner.progress(effect.unsent_bytes)

    def _array_done(self, effect: do.ArrayDone) -> None:
        effect.owner.done(effect.slices)

    def _dropped(self, effect: do.Dropped) -> None:
        error = self.error or TaskCancelled(effect.reason)
        if isinstance(error, ClientClosed):
            error = TaskCancelled(f"{error} before the task was done")
        for owner in effect.owners:  # each its own: whoever raises it adds his frames to it
            mine = type(error)(*error.args)
            mine.__cause__ = error.__cause__
            owner.dropped(mine)

    def _set_known(self, effect: do.Known) -> None:
        self.objects.set_address(effect.object_address)
        self._known.set()

    def _explained(self, effect: do.Explained) -> None:
        answer = self._questions.get(effect.request)
        if answer is not None:
            answer.put(effect.text)

    def _noticed(self, effect: do.Noticed) -> None:
        for task, row, kind, text in effect.rows[:NOTICES]:
            if kind == NoticeKind.WARNING:
                log.warning("%s", text)
            else:
                log.warning("task %d, item %d: %s", task, row, text)
        if len(effect.rows) > NOTICES:
            log.warning("… and %d more", len(effect.rows) - NOTICES)

    def _shut_down(self, effect: do.ShutDown) -> None:
        self._shutdown_answered.set()
        self._end(ConnectionLost(f"the cluster of {self.address} was shut down{effect.reason and ': '}{effect.reason}"))
        self._loop.stop()

    def _refused(self, effect: do.ShutdownRefused) -> None:
        self._shutdown_refusal = effect.text
        self._shutdown_answered.set()

    def _printed(self, effect: do.Printed) -> None:
        self._printer.put(effect.rows, effect.left_out)

    def _violated(self, effect: do.Violated) -> None:
        self._end(ConnectionLost(f"the scheduler at {self.address} broke the protocol: {effect.reason}"))
        self._loop.stop()


_HANDED_OVER: Final = frozenset({ev.BlockAdded, ev.NodesAdded})
"""Events after which the core knows the rows that a thread has pickled."""

_DELIVER: Final[dict[type, Callable[[Session, Any], None]]] = {
    do.TasksDone: Session._tasks_done,
    do.Profiled: Session._profiled,
    do.NodesDone: Session._nodes_done,
    do.SliceDone: Session._slice_done,
    do.ArrayProgress: Session._array_progress,
    do.ArrayDone: Session._array_done,
    do.Dropped: Session._dropped,
    do.Known: Session._set_known,
    do.Noticed: Session._noticed,
    do.Explained: Session._explained,
    do.Printed: Session._printed,
    do.Violated: Session._violated,
    do.ShutDown: Session._shut_down,
    do.ShutdownRefused: Session._refused,
}


def _drain(queue: deque[T]) -> list[T]:
    """What is in it now; others may add meanwhile."""
    return [queue.popleft() for _ in range(len(queue))]


_sessions: "weakref.WeakSet[Session]" = weakref.WeakSet()


def _after_fork() -> None:
    for session in list(_sessions):
        session.forget_after_fork()


def close_all() -> None:
    """Close every session: at the end of the interpreter, so that schedulers need no grace period to find out."""
    for session in list(_sessions):
        session.close()


atexit.register(close_all)
os.register_at_fork(after_in_child=_after_fork)
