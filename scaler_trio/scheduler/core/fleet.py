"""The connected workers, grouped by what they offer, and within a group by how much they want work.

Nothing here looks at all workers: a worker is moved between places when its own load changes, and whoever has work to
give takes the first of a place.
"""

from typing import Final

from attrs import define, field

from scaler_trio.scheduler.core.records import ClassKey, Worker

EMPTY: Final = 0  # has nothing
FREE: Final = 1  # has a free slot
AHEAD: Final = 2  # every slot is busy, but little is queued behind
PASSED: Final = 3  # enough is queued behind, but few single tasks, which pass rows
DEEP: Final = 4  # enough single tasks are queued behind, but with rows of arrays it may be more
NESTED: Final = 5  # so many of its items wait for tasks of their own that it gets nothing but such tasks
TIERS: Final = 6

BLOCKED_PER_SLOT: Final = 64
"""Items that wait for tasks of their own, beyond which a worker gets nothing but such tasks: each holds a process."""

ATTEMPTS_PER_WORKER: Final = 1 << 16
"""Assignments that one worker holds: what is queued there, and what waits to be settled, fits a held-set."""

ROOMS: Final = 16
"""Classes with amounts whose roomy workers a group remembers."""

Places = tuple[dict[Worker, None], ...]


@define(eq=False, repr=False)
class Group:
    """Connected workers with the same Python and the same capabilities."""

    python: str
    capabilities: dict[str, int]
    members: int = 0
    places: Places = field(
        factory=lambda: tuple([{} for _ in range(TIERS)])
    )  # by tier, those that may get more, in turn
    rooms: dict[ClassKey, dict[Worker, None]] = field(factory=dict)  # of those, who may have the amounts that it takes
    known: dict[ClassKey, bool] = field(factory=dict)  # remembered answers of `fits`

    def fits(self, key: ClassKey) -> bool:
        """Whether a worker of the group, when it is empty, could run this class."""
        known = self.known.get(key)
        if known is None:
            python, capabilities = key
            known = (not python or not self.python or python == self.python) and all(
                name in self.capabilities and (amount < 0 or not 0 <= self.capabilities[name] < amount)
                for name, amount in capabilities
            )
            self.known[key] = known
        return known

    def room(self, key: ClassKey) -> dict[Worker, None]:
        """Those that may have the amounts free that this class takes. Who has not is to be taken out."""
        room = self.rooms.get(key)
        if room is None:
            if len(self.rooms) >= ROOMS:
                del self.rooms[next(iter(self.rooms))]
            room = self.rooms[key] = {worker: None for place in self.places[:PASSED] for worker in place}
        return room


@define(eq=False, repr=False)
class Fleet:
    """All groups with connected workers."""

    groups: dict[tuple[str, tuple[tuple[str, int], ...]], Group] = field(factory=dict)
    hungry: tuple[dict[Group, None], ...] = field(factory=lambda: tuple([{} for _ in range(TIERS)]))
    reserved: dict[Worker, None] = field(factory=dict)  # run empty for suspects
    overloaded: dict[Worker, None] = field(factory=dict)  # hold more than they can run at once, and are not recalled
    slots: int = 0
    version: int = 0  # counts changes of what is offered

    def join(self, worker: Worker) -> None:
        """A worker has said what it offers."""
        key = (worker.python, tuple(sorted(worker.capabilities.items())))
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(worker.python, dict(worker.capabilities))
            self.version += 1
        group.members += 1
        worker.group = group
        self.slots += worker.slots

    def leave(self, worker: Worker) -> None:
        """A worker is not connected any more, or about to say anew what it offers; ``worker.ready`` is false."""
        group = worker.group
        if group is None:
            return
        self.update(worker)
        self.release(worker)
        worker.group = None
        self.slots -= worker.slots
        group.members -= 1
        if group.members == 0:
            del self.groups[worker.python, tuple(sorted(group.capabilities.items()))]
            self.version += 1

    def tier(self, worker: Worker) -> int:
        """Where the worker should stand."""
        if not worker.ready or worker.draining:
            return -1
        if worker.waiting:
            if worker.items >= worker.slots:
                return -1  # nothing is fed ahead: who goes first changes with everyone that begins to wait
            if worker.exclusive or worker.reserved is not None or worker.waiting >= BLOCKED_PER_SLOT * worker.slots:
                return NESTED
        elif worker.exclusive:
            return -1
        if worker.items == 0:
            return EMPTY
        if worker.reserved is not None:
            return -1
        if worker.items < worker.slots:
            return FREE
        if len(worker.attempts) >= ATTEMPTS_PER_WORKER:
            return -1
        # Single tasks pass rows that are queued, not rows that run.
        passable = worker.items > worker.slots
        wants_tasks = (worker.load_s - worker.rows_load_s if passable else worker.load_s) < worker.depth_s
        if worker.load_s < worker.rows_depth_s:
            return AHEAD if wants_tasks else DEEP
        return PASSED if wants_tasks else -1

    def update(self, worker: Worker) -> None:
        """Put the worker where it belongs, after anything that changed its load."""
        group = worker.group
        if group is None:
            return
        tier, before = self.tier(worker), worker.tier
        if tier != before:
            worker.tier = tier
            if before >= 0:
                place = group.places[before]
                del place[worker]
                if not place:
                    del self.hungry[before][group]
            if tier >= 0:
                place = group.places[tier]
                if not place:
                    self.hungry[tier][group] = None
                place[worker] = None
        if group.rooms:
            for room in group.rooms.values():
                if 0 <= tier < PASSED:
                    room[worker] = None
                else:
                    room.pop(worker, None)
        if worker.items > worker.slots and worker.ready and not worker.recalls and not worker.exclusive:
            self.overloaded[worker] = None
        elif worker in self.overloaded:
            del self.overloaded[worker]

    def to_the_end(self, worker: Worker) -> None:
        """The worker has had its turn."""
        if worker.tier >= 0 and worker.group is not None:
            place = worker.group.places[worker.tier]
            del place[worker]
            place[worker] = None

    def reserve(self, worker: Worker, key: ClassKey) -> None:
        """Give the worker nothing more until it is empty, and then a suspect of this class."""
        worker.reserved = key
        self.reserved[worker] = None
        self.update(worker)

    def release(self, worker: Worker) -> None:
        """The worker is reserved no longer."""
        if worker.reserved is not None:
            worker.reserved = None
            del self.reserved[worker]
            self.update(worker)

    def someone_fits(self, key: ClassKey) -> bool:
        """Whether a connected worker could run this class."""
        return any(group.fits(key) for group in self.groups.values())
