"""A future that costs next to nothing until somebody waits for it.

``concurrent.futures.Future`` makes a condition, two lists and a lock for each; of 200,000 futures hardly one is ever
waited for before it is done. Here the condition is made when ``wait`` or ``as_completed`` asks for it, and ``result``
parks on a bare lock. A result stays pickled until somebody wants it, and is loaded by that thread.

Locking: ``_BIRTH`` guards the making of conditions. While it is held no condition can appear, so a future without one
may be settled without it. A future with a condition is settled under it.
"""

import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, LOGGER, PENDING
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from scaler_protocol.fields import Row
from scaler_protocol.messages import Outcome
from scaler_trio.client.calls.outcomes import VALUE, load_failure, load_value
from scaler_trio.client.calls.profiling import ProfilingInfo, profiling_info
from scaler_trio.config.display import duration, table
from scaler_trio.config.enclosing import waiting
from scaler_trio.errors import ObjectStorageFailed, RemoteTraceback, ScalerError

if TYPE_CHECKING:
    from scaler_trio.client.session.session import Session

T = TypeVar("T")

EXPLAINED_FROM_S: Final = 1.0
"""A ``TimeoutError`` after at least so long says why: who polls with shorter ones does not want to know."""

_BIRTH = threading.Lock()
_CANCELLED: Final = int(Outcome.CANCELLED)
_NOTHING: Final[Any] = object()


class Parked(Protocol):
    """Who waits for one future: a thread on a held lock, a task of an event loop on a ``LoopEvent``."""

    def release(self) -> None:
        """The future is settled."""
        ...


class ScalerFuture(Future[T]):
    """The result of one task, later. A ``concurrent.futures.Future``, usable with ``wait`` and ``as_completed``.

    Ownership: large results are stored until they are loaded or the future is dropped.
    """

    # Defaults live in the class, so that making a future sets two attributes.
    _state = PENDING
    _own_condition: threading.Condition | None = None
    _own_waiters: list[Any] | None = None
    _parked: tuple[Parked, ...] = ()  # released when it is settled
    _done_callbacks: list[Callable[[Any], object]] = []  # noqa: RUF012 - never changed, replaced by the first callback
    _outcome = VALUE
    _name = ""  # of its function, or of its node
    _payload: Any = b""
    _seconds = 0.0
    _profile: Row | None = None
    _loaded: Any = _NOTHING  # (value, exception) once somebody asked
    _finalizer: "weakref.finalize[Any, Any] | None" = None
    _explain: Callable[[BaseException], BaseException] | None = None
    _unpack: Callable[[Any], Any] | None = None

    def __init__(self, session: "Session", number: int) -> None:
        self._session = session
        self.task_id = number

    # ------------------------------------------------------------------------------------------------------- asking

    def result(self, timeout: float | None = None) -> T:
        """The value; waits for it.

        Raises:
            TimeoutError: it has not come within ``timeout`` seconds.
            TaskCancelled: the task was cancelled.
            ScalerError: the task could not be run to its end, or the connection is lost.
            Exception: whatever the task raised, with the remote traceback as its cause.
        """
        loaded = self._loaded
        if loaded is _NOTHING:
            loaded = self._load(timeout)
        value: T
        value, error = loaded
        if error is None:
            return value
        try:
            raise error
        finally:
            del self, error, loaded  # the traceback would keep them alive in a cycle

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, or None; waits for it.

        Raises:
            TimeoutError: it has not come within ``timeout`` seconds.
            TaskCancelled: the task was cancelled.
        """
        loaded = self._loaded
        if loaded is _NOTHING:
            loaded = self._load(timeout)
        error: BaseException | None = loaded[1]
        if self._state == CANCELLED_AND_NOTIFIED and error is not None:
            raise error
        return error

    def cancel(self) -> bool:
        """Cancel the task, also if it runs; False if its result is here already. Never waits.

        The future is cancelled at once. The worker stops the task as soon as it hears of it; if the task ended before
        that, its result is dropped.
        """
        if self._state == CANCELLED_AND_NOTIFIED:
            return True
        if not settle(((self, (self.task_id, _CANCELLED, b"", (), 0.0)),)):
            return False
        self._session.cancel((self.task_id,))
        return True

    def cancelled(self) -> bool:
        """Whether it ended by a cancel."""
        return self._state == CANCELLED_AND_NOTIFIED

    def running(self) -> bool:
        """Always False: a client does not follow where its tasks are. One that runs can be cancelled nevertheless."""
        return False

    def done(self) -> bool:
        """Whether ``result`` would not wait."""
        if self._state != PENDING:
            return True
        self._session.flush()
        return False

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call ``fn(future)`` when it is done: on the client's callback thread, or here and now if it already is."""
        with self._condition:
            if self._state == PENDING:
                self._done_callbacks = [*self._done_callbacks, fn]
                return
        _call_back(fn, self)

    @property
    def traceback(self) -> str | None:
        """The remote traceback of what the task raised, as text; None as long as it is not done, and of a value."""
        if self._state == PENDING or (self._outcome == VALUE and self._loaded is _NOTHING):
            return None
        loaded = self._load(None) if self._loaded is _NOTHING else self._loaded
        cause = loaded[1].__cause__ if loaded[1] is not None else None
        return cause.text if isinstance(cause, RemoteTraceback) else None

    def explain(self, timeout: float = 5.0) -> str:
        """Why it is not done yet: a sentence, then a line for each thing that has happened to the task.

        Asks the scheduler, and waits at most ``timeout`` seconds for its answer. For people: the words may change.
        """
        if self.done():
            return f"task {self.task_id} is done: {self!r}"
        return f"task {self.task_id}, {self._session.explain(self.task_id, timeout)}"

    @property
    def duration_s(self) -> float:
        """Seconds that the task ran; 0 until it is done."""
        return self._seconds

    def profiling_info(self) -> ProfilingInfo:
        """What the task used.

        Raises:
            ValueError: it has not ended.
        """
        if not self.done():
            raise ValueError(f"task {self.task_id} has not ended: what it uses is not known yet")
        return profiling_info(self._seconds, self._profile)

    def __repr__(self) -> str:
        name = f", {self._name}" if self._name else ""
        return f"<ScalerFuture of task {self.task_id}{name}: {self._standing()}>"

    def _repr_html_(self) -> str:
        """For notebooks. Asks nobody: why it waits is told only as far as the client knows it."""
        return table(
            "ScalerFuture",
            {
                "function": self._name,
                "task": self.task_id,
                "state": self._standing(),
                "where": self._session.whereabouts(self.task_id) if self._state == PENDING else None,
                "error": self._shown_error(),
                "ran for": duration(self._seconds) if self._seconds else None,
            },
        )

    def __await__(self) -> Generator[Any, Any, T]:
        """Wait within an asyncio or Trio event loop.

        A result that is stored is loaded in a thread. A cancellation of the wait cancels the task.
        """
        return self._wait_in_loop().__await__()

    def _standing(self) -> str:
        if self._state == PENDING:
            return "pending"
        if self._state == CANCELLED_AND_NOTIFIED:
            return "cancelled"
        loaded = self._loaded
        failed = self._outcome != VALUE or (loaded is not _NOTHING and loaded[1] is not None)
        return "failed" if failed else "finished"

    def _shown_error(self) -> str | None:
        """What it raised, if anybody has asked for that before: to load it here would run what a task has sent."""
        error = self._loaded[1] if self._loaded is not _NOTHING else None
        return None if error is None else f"{type(error).__name__}: {_text_of(error)}"

    # ------------------------------------------------------------------------------------------------------ waiting

    def _make_condition(self) -> threading.Condition:
        condition = self._own_condition
        if condition is None:
            with _BIRTH:
                condition = self._own_condition
                if condition is None:
                    condition = self._own_condition = threading.Condition()
            if self._state == PENDING:
                self._session.flush()  # somebody is about to wait
        return condition

    def _make_waiters(self) -> list[Any]:
        # Only ever called with the condition held.
        if self._own_waiters is None:
            self._own_waiters = _Waiters()
        return self._own_waiters

    if not TYPE_CHECKING:  # a checker sees the attributes of `Future`: `as_completed` is typed for what could be set
        _condition = property(_make_condition)
        _waiters = property(_make_waiters)

    def _load(self, timeout: float | None) -> tuple[Any, BaseException | None]:
        if self._state == PENDING:
            self._park(timeout)
        if self._outcome == VALUE:
            if self._finalizer is not None:
                loaded = self._load_objects()
            else:
                loaded = load_value(self._payload, self._session.source)
            if isinstance(loaded[1], ObjectStorageFailed):
                return loaded  # it is stored still, and may be had later: not kept as the outcome
        else:
            loaded = None, load_failure(self._outcome, self._payload)
        if self._unpack is not None and loaded[1] is None:
            try:
                loaded = self._unpack(loaded[0]), None
            except ScalerError as error:
                loaded = None, error
        if loaded[1] is not None and self._explain is not None:
            loaded = None, self._explain(loaded[1])
        with _BIRTH:  # two threads that load at the same time get the same value
            if self._loaded is _NOTHING:
                self._loaded = loaded
                self._payload = b""
            return self._loaded  # type: ignore[no-any-return]

    def _load_objects(self) -> tuple[Any, BaseException | None]:
        """Load a value that names objects: what was read is in memory, what is only named lives with the future."""
        reader = self._session.reader()
        loaded = load_value(self._payload, reader)
        finalizer = self._finalizer
        if loaded[1] is None and finalizer is not None and (held := finalizer.detach()) is not None:
            objects: tuple[bytes, ...] = held[2][0]
            self._session.release([object_ for object_ in objects if object_ in reader.ids])
            if rest := tuple([object_ for object_ in objects if object_ not in reader.ids]):
                self._finalizer = _release_with(self, rest)
        return loaded

    def _park(self, timeout: float | None) -> None:
        """Wait on a bare lock: a condition would cost five times as much, on both sides."""
        lock = threading.Lock()
        lock.acquire()
        if not self._park_as(lock):
            return
        with waiting():
            is_settled = lock.acquire(timeout=-1 if timeout is None else max(0.0, min(timeout, threading.TIMEOUT_MAX)))
        if not is_settled:
            self._unpark(lock)
            why = self._session.explain_shortly(self.task_id) if timeout and timeout >= EXPLAINED_FROM_S else ""
            raise TimeoutError(f"task {self.task_id} has no result after {timeout:g} s{why}")

    def _park_as(self, parked: Parked) -> bool:
        """Have it released when this is settled; False if it is settled already."""
        with _BIRTH:
            if self._state != PENDING:
                return False
            self._parked = (*self._parked, parked)
        session = self._session
        session.flush()
        if session.is_forked and session.error is not None:
            self._fail(session.error)  # the thread that would settle it is the parent's
        return True

    def _unpark(self, parked: Parked) -> None:
        """It waits no longer."""
        with _BIRTH:
            self._parked = tuple([other for other in self._parked if other is not parked])

    async def _wait_in_loop(self) -> T:
        from scaler_trio.client.event_loop import LoopEvent, run_in_thread

        event = LoopEvent()
        if not self._park_as(event):
            event.set()
        try:
            await event.wait()
            if self._finalizer is not None and self._loaded is _NOTHING:
                await run_in_thread(self._load, None)
        except (GeneratorExit, RuntimeError):  # the latter by Trio, where no loop runs any more
            # Perhaps by the garbage collector, in a thread that holds one of our locks: none is taken here.
            self._session.call_soon(self.cancel)
            raise
        except BaseException:
            self._unpark(event)
            self.cancel()
            raise
        return self.result()

    def _settle(self, row: Row) -> None:
        _, self._outcome, self._payload, objects, self._seconds = row
        if objects:
            self._finalizer = _release_with(self, objects)
        # Last: who sees this state reads the rest.
        self._state = CANCELLED_AND_NOTIFIED if row[1] == _CANCELLED else FINISHED

    def unpack_with(self, unpack: Callable[[Any], Any]) -> None:
        """Pass the value through this before anybody sees it."""
        self._unpack = unpack
        if self._loaded is not _NOTHING:
            self._loaded = unpack(self._loaded[0]), self._loaded[1]

    def preset(self, value: Any) -> None:
        """Settle it with a value that needs no task."""
        self._loaded = value, None
        self._state = FINISHED

    def profiled(self, row: Row) -> None:
        """What it used; called before it is settled."""
        self._profile = row

    def dropped(self, error: BaseException) -> None:
        """The client gives up on it."""
        self._fail(error)

    def _fail(self, error: BaseException) -> bool:
        """Settle with an exception of the client's own; False if it is settled."""
        with _BIRTH:
            if self._state != PENDING:
                return False
            self._loaded = None, error
        cancelled = _CANCELLED if isinstance(error, CancelledError) else int(Outcome.ERROR)
        return settle(((self, (self.task_id, cancelled, b"", (), 0.0)),))


def settle(results: Iterable[tuple[ScalerFuture[Any], Row]]) -> bool:
    """Give futures their results, wake who waits, queue their callbacks; False if any was settled already."""
    awaited: list[tuple[ScalerFuture[Any], Row]] = []
    parked: list[Parked] = []
    fresh = True
    with _BIRTH:
        for future, row in results:
            if future._own_condition is not None:
                awaited.append((future, row))
            elif future._state == PENDING:
                future._settle(row)
                if future._parked:
                    parked += future._parked
            else:
                fresh = False
                future._session.release(row[3])  # nobody will ask for what it names
    for lock in parked:
        lock.release()
    for future, row in awaited:
        condition = future._own_condition
        assert condition is not None
        with condition:
            if future._state != PENDING:
                fresh = False
                future._session.release(row[3])
                continue
            future._settle(row)
            for waiter in future._own_waiters or ():
                if future._state == CANCELLED_AND_NOTIFIED:
                    waiter.add_cancelled(future)
                elif future._outcome == VALUE:
                    waiter.add_result(future)
                else:
                    waiter.add_exception(future)
            condition.notify_all()
            callbacks = future._done_callbacks
            with _BIRTH:
                parked = list(future._parked)
        for lock in parked:
            lock.release()
        if callbacks:
            future._session.call_back([(callback, future) for callback in callbacks])
    return fresh


class _WaitingEvent(threading.Event):
    """What ``concurrent.futures.wait`` and ``as_completed`` wait for: a wait within a task like any other."""

    def wait(self, timeout: float | None = None) -> bool:
        with waiting():
            return super().wait(timeout)


class _Waiters(list[Any]):
    """Those of one future. It sees to it that they wait by the event above: it has their fields, and nobody else's."""

    def append(self, waiter: Any) -> None:
        if type(event := getattr(waiter, "event", None)) is threading.Event:
            event.__class__ = _WaitingEvent
        super().append(waiter)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # of a class of the user's
        return f"(its text cannot be had: {type(failure).__name__})"


def _call_back(callback: Callable[[Any], object], future: ScalerFuture[Any]) -> None:
    try:
        callback(future)
    except Exception:
        LOGGER.exception("exception calling callback for %r", future)


def _release_with(future: ScalerFuture[Any], objects: tuple[bytes, ...]) -> "weakref.finalize[Any, Any]":
    finalizer = weakref.finalize(future, future._session.release, objects)
    finalizer.atexit = False  # the scheduler releases everything of a client that is gone
    return finalizer


def _after_fork() -> None:
    global _BIRTH
    _BIRTH = threading.Lock()  # a thread that does not exist here may have held it


os.register_at_fork(after_in_child=_after_fork)
