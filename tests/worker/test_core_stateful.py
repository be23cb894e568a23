"""WorkerCore under everything at once: connections that close at every point, duplicated and late messages, deaths."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scaler_protocol import messages as m
from scaler_protocol.messages import Outcome
from scaler_trio.worker.core import events as e
from tests.worker.simulated_worker import SimulatedWorker, slice_message

SLOT = st.integers(0, 2)


class WorkerMachine(RuleBasedStateMachine):
    """A scheduler that says anything at any time, and processors that do anything at any time."""

    @initialize(slots=st.integers(1, 3))
    def begin(self, slots: int) -> None:
        self.worker = SimulatedWorker(slots)
        self.rows: dict[int, int] = {}
        self.worker.connect()
        self.worker.start(0)

    def _slot(self, number: int) -> int:
        return number % len(self.worker.slots)

    @property
    def _is_known(self) -> bool:
        return self.worker.core.state.is_known and self.worker.left is None

    # ------------------------------------------------------------------------------------------------- connection

    @rule()
    def open(self) -> None:
        self.worker.open()

    @rule(is_new=st.booleans(), data=st.data())
    def answer(self, is_new: bool, data: st.DataObject) -> None:
        worker = self.worker
        if worker.core.state.is_connected and not worker.core.state.is_known:
            held = sorted({(row[0], row[1]) for row in (*worker.held.unfinished, *worker.held.finished)})
            drop = tuple(data.draw(st.lists(st.sampled_from(held), unique=True))) if held else ()
            worker.answer(epoch=worker.epoch + is_new, drop=drop)

    @rule()
    def disconnect(self) -> None:
        self.worker.disconnect()

    @rule(is_new=st.booleans())
    def reconnect(self, is_new: bool) -> None:
        self.worker.connect(epoch=self.worker.epoch + is_new)

    @precondition(lambda self: self._is_known)
    @rule(count=st.integers(1, 3), function=st.integers(1, 2), retries=st.integers(0, 2))
    def assign_tasks(self, count: int, function: int, retries: int) -> None:
        for _ in range(count):
            self.rows[self.worker.task(function, m.TaskOptions(max_retries=retries))] = 1

    @precondition(lambda self: self._is_known)
    @rule(
        rows=st.integers(1, 40),
        page_rows=st.sampled_from([1, 4]),
        expected_s=st.sampled_from([0.0, 1e-6, 1e-3, 1.0]),
        timeout_s=st.sampled_from([0.0, 0.0, 0.5]),
        retries=st.integers(0, 1),
    )
    def assign_slice(self, rows: int, page_rows: int, expected_s: float, timeout_s: float, retries: int) -> None:
        options = m.TaskOptions(timeout_s=timeout_s, max_retries=retries)
        number = self.worker.slice(rows, page_rows=page_rows, expected_s=expected_s, options=options)
        self.rows[number] = rows

    @precondition(lambda self: self._is_known)
    @rule(data=st.data())
    def assign_again(self, data: st.DataObject) -> None:
        here = [
            n
            for (epoch, n) in self.worker.core.state.attempts
            if epoch == self.worker.epoch and n in self.worker.slices
        ]
        if here:
            number = data.draw(st.sampled_from(here))
            self.worker.do(slice_message(number, self.rows[number], 1, 4, 0.0, m.DEFAULT_OPTIONS))

    def _any(self, data: st.DataObject) -> int:
        return data.draw(st.integers(1, self.worker.numbers + 2))  # including ones long gone, or never heard of

    @precondition(lambda self: self._is_known)
    @rule(data=st.data())
    def recall(self, data: st.DataObject) -> None:
        self.worker.do(m.Recall(tuple((self._any(data), data.draw(st.integers(0, 40))) for _ in range(2))))

    @precondition(lambda self: self._is_known)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        lo = data.draw(st.integers(0, 40))
        self.worker.do(m.CancelAttempts(((self._any(data), lo, lo + data.draw(st.integers(0, 40))),)))

    @precondition(lambda self: self._is_known)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        self.worker.settle(self._any(data))

    @precondition(lambda self: self._is_known)
    @rule()
    def forget_and_define_again(self) -> None:
        self.worker.do(m.ForgetFunctions((1,)))
        self.worker.do(m.PutFunction(1, "f", b"new code"))

    @precondition(lambda self: self._is_known and self.worker.numbers > 5)
    @rule(grace_s=st.sampled_from([0.0, 1.0]))
    def drain(self, grace_s: float) -> None:
        self.worker.do(m.Drain(grace_s))

    # ------------------------------------------------------------------------------------------------- processors

    @rule(items=st.integers(1, 10))
    def work(self, items: int) -> None:
        for number in range(len(self.worker.slots)):
            self.worker.start(number)
            self.worker.claim(number, items)
            self.worker.finish(number, items // 2)
            self.worker.look(number)

    @rule(slot=SLOT)
    def start(self, slot: int) -> None:
        self.worker.start(self._slot(slot))

    @rule(slot=SLOT, items=st.integers(1, 10))
    def claim(self, slot: int, items: int) -> None:
        self.worker.claim(self._slot(slot), items)

    @rule(slot=SLOT)
    def unclaim(self, slot: int) -> None:
        self.worker.unclaim(self._slot(slot))

    @rule(slot=SLOT, items=st.integers(1, 10), outcome=st.sampled_from([0, 0, Outcome.ERROR]))
    def finish(self, slot: int, items: int, outcome: int) -> None:
        self.worker.finish(self._slot(slot), items, outcome)

    @rule(slot=st.integers(0, 5))
    def wait_for_tasks(self, slot: int) -> None:
        self.worker.wait(self._slot(slot))
        self.worker.look(self._slot(slot))

    @rule(slot=st.integers(0, 5), asks=st.booleans(), is_seen=st.booleans())
    def want_to_go_on(self, slot: int, asks: bool, is_seen: bool) -> None:
        self.worker.want(self._slot(slot), asks=asks)
        if is_seen:
            self.worker.look(self._slot(slot))

    @rule(slot=st.integers(0, 5))
    def wait_unseen(self, slot: int) -> None:
        self.worker.wait(self._slot(slot))

    @rule(slot=SLOT)
    def look(self, slot: int) -> None:
        self.worker.look(self._slot(slot))

    @rule(slot=SLOT)
    def die(self, slot: int) -> None:
        if self.worker.failed is None:
            self.worker.die(self._slot(slot))

    @rule()
    def lock(self) -> None:
        self.worker.is_locked = True

    @rule()
    def unlock(self) -> None:
        self.worker.retry_truncates()

    @rule(seconds=st.sampled_from([0.001, 0.3, 1.1, 6.0]))
    def wait(self, seconds: float) -> None:
        self.worker.tick(seconds)

    @invariant()
    def records_agree(self) -> None:
        if hasattr(self, "worker"):
            self.worker.core.check_invariants()

    @invariant()
    def the_scheduler_knows_what_waits(self) -> None:
        if hasattr(self, "worker") and self.worker.core.state.is_known:
            state = self.worker.core.state
            blocked = [
                slot.blocked.number for slot in state.slots if slot.blocked is not None and not slot.blocked.is_dropped
            ]
            open_ones = {
                attempt.number for attempt in state.attempts.values() if attempt.open and not attempt.is_dropped
            }
            told = {number: rows for number, rows in self.worker.waiting.items() if rows and number in open_ones}
            assert told == Counter(blocked)

    def teardown(self) -> None:
        """In the end everything that was assigned, and not lost with a connection, was reported or given back."""
        worker = getattr(self, "worker", None)
        if worker is None or worker.failed is not None or worker.left is not None:
            return
        worker.disconnect()
        worker.connect()
        worker.run_everything()
        if worker.failed is None and worker.left is None:
            unanswered = worker.assigned - worker.reported - worker.returned
            assert not unanswered
            for number in range(1, worker.numbers + 1):
                worker.settle(number)
            assert not worker.core.state.attempts
            assert not worker.core.state.queued_rows
            assert not worker.core.state.withdrawals
            worker.do(e.Disconnected())
            worker.core.check_invariants()


WorkerMachine.TestCase.settings = settings(stateful_step_count=60)
TestWorkerMachine = WorkerMachine.TestCase
