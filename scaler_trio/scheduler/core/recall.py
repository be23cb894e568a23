"""Taking queued work back from busy workers for idle ones, when a prediction was wrong or the end is near."""

from heapq import nlargest
from itertools import islice

from attrs import define

from scaler_protocol import messages as m
from scaler_protocol.limits import BATCH_ROWS
from scaler_trio.scheduler.core.fleet import EMPTY, Group
from scaler_trio.scheduler.core.records import Worker
from scaler_trio.scheduler.core.state import SchedulerState

LOOK = 64
"""Idle and overloaded workers that one step looks at; the next step looks at others."""


@define(eq=False, repr=False)
class Recall:
    """Asks for work back; ``Returned`` answers, and only then is it given to somebody else."""

    state: SchedulerState
    due_at: float = 0.0  # when to look again; 0 = only when something else happens

    def recall(self) -> None:
        """If workers are idle, which after feeding means that nothing is ready for them, look for queued work."""
        state = self.state
        fleet = state.fleet
        self.due_at = 0.0
        if not fleet.overloaded or not fleet.hungry[EMPTY]:
            return
        groups = list(islice(fleet.hungry[EMPTY], LOOK))
        idle = min(LOOK, sum([len(group.places[EMPTY]) for group in groups]))
        looked = list(islice(fleet.overloaded, LOOK))
        for worker in nlargest(idle, looked, key=_load):
            at = self._worth_asking_at(worker)
            if at > state.now:
                self.due_at = min(at, self.due_at or at)
            elif self._recall_from(worker, 1 + idle, groups):
                fleet.update(worker)
            else:
                # What it holds is for none of the idle ones; that changes with their number, not with time.
                worker.recall_again_at = state.now + state.tuning.recall_after_s
        if len(fleet.overloaded) > LOOK:
            for worker in looked:  # to the end of the line
                if fleet.overloaded.pop(worker, 0) is None:
                    fleet.overloaded[worker] = None

    def _worth_asking_at(self, worker: Worker) -> float:
        """When the worker should be asked: now, if much is queued there, or it was silent for longer than expected."""
        tuning, now = self.state.tuning, self.state.now
        queued_s = worker.load_s * (worker.items - worker.slots) / worker.items - (now - worker.last_report_at)
        at = now if queued_s >= tuning.recall_least_s else worker.last_report_at + tuning.recall_after_s
        return max(at, worker.recall_again_at)

    def _recall_from(self, worker: Worker, share: int, groups: list[Group]) -> bool:
        """Ask for the last part of what a worker has open, all but a fair share of it; False if there is none."""
        give = worker.items - max(worker.slots, -(-worker.items // share))
        rows: list[tuple[int, int]] = []
        for attempt in reversed(worker.attempts.values()):
            if give <= 0 or len(rows) >= BATCH_ROWS:
                break
            if attempt.recalled or attempt.lost or attempt.number in worker.waits:
                continue
            if not any(group.fits(attempt.source.demand.class_key) for group in groups):
                continue
            count = len(attempt.open)
            lo = attempt.open.first[0] if count <= give else attempt.open.last[1] - give
            give -= count
            attempt.recalled = True
            rows.append((attempt.number, lo))
        if rows:
            worker.recalls += len(rows)
            self.state.effects.send(worker.session, m.Recall(tuple(rows)))
        return bool(rows)

    def answered(self, worker: Worker, returned: int) -> None:
        """A row of a recall was answered: so many items came back."""
        tuning = self.state.tuning
        worker.recalls = max(0, worker.recalls - 1)
        worker.recalled += returned
        if worker.recalls:
            return
        returned, worker.recalled = worker.recalled, 0
        if returned:
            worker.recall_pause_s = 0.0
        else:  # it runs all that it has: asking again at once would only cost messages
            worker.recall_pause_s = min(tuning.recall_pause_s, max(tuning.recall_after_s, 2 * worker.recall_pause_s))
            worker.recall_again_at = self.state.now + worker.recall_pause_s


def _load(worker: Worker) -> float:
    return worker.load_s
