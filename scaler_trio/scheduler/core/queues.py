"""What is ready to run: by capability class, then fairly by client, then by priority and age.

Fairness is a heap of lines by what their clients have used. A client's share changes with every item, so an entry may
be out of date: one that is too low is put back when it comes up, one that is too high is superseded by ``refresh``.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush, heapreplace

from attrs import define, field

from scaler_trio.ranges import RangeSet
from scaler_trio.scheduler.core.records import Array, ClassKey, Client, Source, Suspect, Task
from scaler_trio.scheduler.core.states import TaskState

Key = tuple[int, int, int]
"""Of a queue within its line: depth and priority, negated, then the rank of its client. Ascending is first to last."""


@define(eq=False, repr=False)
class Line:
    """The ready work of one root and of the clients below it in one class: deepest, then highest priority first.

    What tasks wait for that wait themselves is deepest; taking it first keeps few of them waiting.
    """

    client: Client  # the root
    key: ClassKey
    keys: list[Key] = field(factory=list)  # ascending
    queues: dict[Key, deque[Source]] = field(factory=dict)  # each of one client, oldest first
    front: deque[Source] = field(factory=deque)  # the queue that `head` found …
    first: Key = (0, 0, 0)  # … and its key
    listed: bool = False  # whether it stands in its class's heap …
    share_s: float = 0.0  # … with this key

    def queue(self, client: Client, priority: int) -> deque[Source]:
        """Where work of this client and priority waits."""
        key = (-client.depth, -priority, client.rank)
        queue = self.queues.get(key)
        if queue is None:
            queue = self.queues[key] = deque()
            insort(self.keys, key)
        return queue

    def head(self) -> deque[Source] | None:
        """The queue whose first source is to be served next; what is no longer ready is dropped on the way."""
        at = 0
        while at < len(self.keys):
            queue = self.queues[self.keys[at]]
            while queue:
                source = queue[0]
                if type(source) is Task:
                    if source.state is TaskState.READY and not source.alone:
                        break
                elif type(source) is Array:
                    if has_unassigned(source):
                        break
                    source.queued = False
                queue.popleft()
            if not queue:
                del self.queues[self.keys.pop(at)]
            elif queue[0].client.blocked:
                at += 1
            else:
                self.first, self.front = self.keys[at], queue
                return queue
        return None

    def take_out(self, client: Client) -> list[tuple[int, deque[Source]]]:
        """Remove the queues of a client: by priority, negated."""
        its = [key for key in self.keys if key[2] == client.rank and key[0] == -client.depth]
        self.keys = [key for key in self.keys if key not in its]
        return [(key[1], self.queues.pop(key)) for key in its]


def has_unassigned(array: Array) -> bool:
    """Whether rows of the array are here that may be given to any worker."""
    return bool(array.redo) or array.next < array.received


@define(eq=False, repr=False)
class ReadyQueues:
    """Every ready task and array."""

    classes: dict[ClassKey, list[tuple[float, int, Line]]] = field(factory=dict)  # heaps of (share, serial, line)
    suspects: dict[ClassKey, deque[Suspect]] = field(factory=dict)
    version: int = 0  # counts the coming of classes
    serial: int = 0

    def line(self, client: Client, key: ClassKey) -> Line:
        """The client's line in a class."""
        line = client.lines.get(key)
        if line is None:
            line = client.root.lines.get(key)
            if line is None:
                line = client.root.lines[key] = Line(client.root, key)
            client.lines[key] = line
        return line

    def move(self, client: Client, root: Client, depth: int, rank: int) -> None:
        """The client's work is on that root's account from now on, at that depth."""
        moved = [(line.key, *entry) for line in client.lines.values() for entry in line.take_out(client)]
        client.root, client.depth, client.rank = root, depth, rank
        client.lines = {}
        for demand in client.demands.values():
            demand.line = self.line(client, demand.class_key)
        for key, priority, sources in moved:
            line = self.line(client, key)
            line.queue(client, -priority).extend(sources)
            self.enlist(line)

    def add(self, source: Source, *, in_front: bool = False) -> None:
        """Queue a source; an array stays queued until it has no unassigned rows."""
        if type(source) is Array:
            if source.queued:
                return
            source.queued = True
        demand, client = source.demand, source.client
        if demand.line.client is not client.root:
            demand.line = self.line(client, demand.class_key)
        queue = demand.line.queue(client, demand.options.priority)
        if in_front:
            queue.appendleft(source)
        else:
            queue.append(source)
        if not demand.line.listed:
            self.enlist(demand.line)

    def enlist(self, line: Line) -> None:
        """Something was put into the line: let it be served."""
        if line.listed:
            return
        line.listed = True
        self._push(line)

    def _push(self, line: Line) -> None:
        line.share_s = line.client.usage_s + line.client.load_s
        self.serial += 1
        heap = self.classes.get(line.key)
        if heap is None:
            heap = self.classes[line.key] = []
            self.version += 1
        heappush(heap, (line.share_s, self.serial, line))

    def refresh(self, client: Client) -> None:
        """The client's share, which is its root's, may have become smaller."""
        root = client.root
        share = root.usage_s + root.load_s
        for line in root.lines.values():
            if line.listed and share < line.share_s:
                self._push(line)

    def unblock(self, client: Client) -> None:
        """Its work is started again."""
        for line in client.lines.values():
            self.enlist(line)

    def first(self, key: ClassKey) -> Line | None:
        """The line to be served next in a class, of the client that has used least."""
        heap = self.classes.get(key)
        if heap is None:
            return None
        while heap:
            share, _, line = heap[0]
            if not line.listed or share != line.share_s:
                heappop(heap)
                continue
            client = line.client
            if line.head() is None:
                heappop(heap)
                line.listed = False
                continue
            actual = client.usage_s + client.load_s
            if actual > share and len(heap) > 1:
                line.share_s = actual
                self.serial += 1
                heapreplace(heap, (actual, self.serial, line))
                continue
            return line
        del self.classes[key]
        return None

    def best(self, keys: Iterable[ClassKey]) -> Line | None:
        """The line to be served next among these classes: of the client that has used least, best priority first."""
        best: Line | None = None
        rank = (0.0, (0, 0, 0))
        for key in keys:
            line = self.first(key)
            if line is not None:
                its = (line.client.usage_s + line.client.load_s, line.first)
                if best is None or its < rank:
                    best, rank = line, its
        return best

    def deep(self, keys: Iterable[ClassKey]) -> Line | None:
        """A line among these classes whose next work is of a client within a task. Rare, so it may look at all."""
        for key in keys:
            for _, _, line in self.classes.get(key, ()):
                if line.listed and line.head() is not None and line.first[0]:
                    return line
        return None

    # ----------------------------------------------------------------------------------------------------- suspects

    def add_suspect(self, source: Source, lo: int, hi: int) -> None:
        """Queue work that must run alone, after other such work of its class."""
        if type(source) is Array:
            source.suspects.add(lo, hi)
        key = source.demand.class_key
        queue = self.suspects.get(key)
        if queue is None:
            queue = self.suspects[key] = deque()
            self.version += 1
        queue.append(Suspect(source, lo, hi))

    def next_suspect(self, key: ClassKey) -> Suspect | None:
        """The first of its class that is still one; it stays queued."""
        queue = self.suspects.get(key)
        while queue:
            suspect = queue[0]
            source = suspect.source
            if type(source) is Task:
                if source.state is TaskState.READY and source.alone:
                    return suspect
            elif type(source) is Array:
                rows = source.suspects.within(suspect.lo, suspect.hi)
                if rows:
                    suspect.lo = rows[0][0]
                    return suspect
            queue.popleft()
        self.suspects.pop(key, None)
        return None

    def drop_client(self, client: Client) -> None:
        """Forget everything of a client that is gone."""
        for line in client.lines.values():
            line.take_out(client)
        for array in client.arrays.values():
            array.queued = False
            array.redo = RangeSet()
            array.suspects = RangeSet()
            array.resting = RangeSet()

    def __bool__(self) -> bool:
        return bool(self.classes)
