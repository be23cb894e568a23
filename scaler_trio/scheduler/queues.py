"""What is ready to run: by capability class, then fairly by client, then by priority and age."""

from bisect import insort
from collections import deque
from collections.abc import Iterable

from attrs import define, field

from scaler_trio.scheduler.records import Array, ClassKey, Client, Task
from scaler_trio.scheduler.states import TaskState

Source = Task | Array


@define(eq=False)
class _Line:
    """One client's ready work in one class, highest priority first, then oldest first."""

    priorities: list[int] = field(factory=list)  # negated, ascending
    queues: dict[int, deque[Source]] = field(factory=dict)

    def add(self, source: Source, *, in_front: bool) -> None:
        priority = -source.options.priority
        queue = self.queues.get(priority)
        if queue is None:
            queue = self.queues[priority] = deque()
            insort(self.priorities, priority)
        if in_front:
            queue.appendleft(source)
        else:
            queue.append(source)

    def head(self) -> Source | None:
        """The next source that is still ready; what is no longer so is dropped on the way."""
        while self.priorities:
            queue = self.queues[self.priorities[0]]
            while queue:
                source = queue[0]
                if type(source) is Task:
                    if source.state is TaskState.READY:
                        return source
                elif type(source) is Array:
                    if has_unassigned(source):
                        return source
                    source.queued = False
                queue.popleft()
            del self.queues[self.priorities.pop(0)]
        return None

    def pop(self) -> None:
        self.queues[self.priorities[0]].popleft()


def has_unassigned(array: Array) -> bool:
    """Whether rows of the array are here that no worker has been given."""
    return bool(array.redo) or array.next < array.received


@define(eq=False)
class ReadyQueues:
    """Every ready task and array."""

    classes: dict[ClassKey, dict[Client, _Line]] = field(factory=dict)

    def add(self, source: Source, *, in_front: bool = False) -> bool:
        """Queue a source (an array stays queued until it has no unassigned rows); whether its class was empty."""
        if type(source) is Array:
            if source.queued:
                return False
            source.queued = True
        lines = self.classes.get(source.class_key)
        new = lines is None
        if lines is None:
            lines = self.classes[source.class_key] = {}
        line = lines.get(source.client)
        if line is None:
            line = lines[source.client] = _Line()
        line.add(source, in_front=in_front)
        return new

    def head(self, keys: Iterable[ClassKey], blocked: set[Client]) -> Source | None:
        """The source to be served next among these classes: of the client that has used least, best priority first."""
        best: Source | None = None
        for key in keys:
            lines = self.classes.get(key)
            if lines is None:
                continue
            empty = []
            for client, line in lines.items():
                if client in blocked or (best is not None and client.usage_s > best.client.usage_s):
                    continue
                head = line.head()
                if head is None:
                    empty.append(client)
                elif best is None or (client.usage_s, -head.options.priority) < (
                    best.client.usage_s,
                    -best.options.priority,
                ):
                    best = head
            for client in empty:
                del lines[client]
            if not lines:
                del self.classes[key]
        return best

    def pop(self, task: Task) -> None:
        """Take out the task that ``head`` has just given."""
        self.classes[task.class_key][task.client].pop()

    def drop_client(self, client: Client) -> None:
        """Forget everything of a client that is gone."""
        for key in list(self.classes):
            self.classes[key].pop(client, None)
            if not self.classes[key]:
                del self.classes[key]

    def __bool__(self) -> bool:
        return bool(self.classes)
