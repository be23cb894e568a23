"""Any order of events: the accounts of the index agree after each, and in the end nothing is left."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scaler_protocol.ids import ObjectId, SessionId, object_id
from scaler_trio.objects.core import events as e
from scaler_trio.objects.core.index import ORPHAN_GRACE_S, ObjectIndex
from scaler_trio.objects.core.room import PAGE_BYTES, RoomLimits
from scaler_trio.objects.core.states import State

CONNECTIONS = st.integers(1, 4)
NUMBERS = st.integers(0, 9)


def oid(number: int) -> ObjectId:
    return object_id(SessionId(b"r" * 16), number)


class AnyOrder(RuleBasedStateMachine):
    """The shell's side is played by sets: segments that exist, files that exist, work that was asked for."""

    @initialize(drops=st.booleans(), segments=st.integers(2, 8))
    def start(self, drops: bool, segments: int) -> None:
        disk = 0 if drops else 12 * PAGE_BYTES
        self.index = ObjectIndex(RoomLimits(10 * PAGE_BYTES, disk, segments=segments, drops=drops, kept_share=0.5))
        self.now = 0.0
        self.segments: set[int] = set()
        self.files: set[ObjectId] = set()
        self.creating: dict[ObjectId, int] = {}
        self.spilling: set[ObjectId] = set()
        self.served: dict[tuple[int, ObjectId], int] = {}  # leases: (connection, object) to count
        self.waiting: set[ObjectId] = set()

    def tell(self, event: e.Event) -> None:
        for effect in self.index.handle(event, self.now):
            match effect:
                case e.CreateSegment():
                    assert effect.segment not in self.segments
                    self.creating[effect.object_id] = effect.segment
                case e.DestroySegment():
                    self.segments.discard(effect.segment)
                case e.Grant():
                    assert effect.segment in self.segments
                    self.waiting.discard(effect.object_id)
                case e.Refuse():
                    self.waiting.discard(effect.object_id)
                case e.Serve():
                    if effect.segment is None:
                        assert effect.object_id in self.files
                    else:
                        assert effect.segment in self.segments
                    key = (effect.connection, effect.object_id)
                    self.served[key] = self.served.get(key, 0) + 1
                case e.Spill():
                    assert effect.segment in self.segments
                    assert not any(leased == effect.object_id for _, leased in self.served)
                    self.spilling.add(effect.object_id)
                case e.DeleteFile():
                    assert not any(o == effect.object_id for _, o in self.served) or effect.object_id in self.files
                    self.files.discard(effect.object_id)

    @rule(
        connection=CONNECTIONS, number=NUMBERS, pages=st.integers(0, 11), patience_s=st.sampled_from([0.0, 2.0, 60.0])
    )
    def reserve(self, connection: int, number: int, pages: int, patience_s: float) -> None:
        if self.index.state_of(oid(number)) is None:
            self.waiting.add(oid(number))
        self.tell(e.Reserve(connection, oid(number), pages * PAGE_BYTES, patience_s))

    @precondition(lambda self: self.creating)
    @rule(works=st.booleans())
    def segment_is_made(self, works: bool) -> None:
        object_, segment = self.creating.popitem()
        if works:
            self.segments.add(segment)
        self.tell(e.SegmentCreated(object_) if works else e.SegmentFailed(object_, "no memory"))

    @rule(connection=CONNECTIONS, number=NUMBERS)
    def seal(self, connection: int, number: int) -> None:
        self.tell(e.Seal(connection, oid(number)))

    @rule(connection=CONNECTIONS, number=NUMBERS)
    def fetch(self, connection: int, number: int) -> None:
        self.tell(e.Fetch(connection, oid(number)))

    @rule(connection=CONNECTIONS, numbers=st.lists(NUMBERS, max_size=3))
    def end_leases(self, connection: int, numbers: list[int]) -> None:
        for number in numbers:
            key = (connection, oid(number))
            if key in self.served:
                self.served[key] -= 1
                if not self.served[key]:
                    del self.served[key]
        self.tell(e.EndLeases(connection, tuple(map(oid, numbers))))

    @rule(numbers=st.lists(NUMBERS, max_size=3))
    def adopt(self, numbers: list[int]) -> None:
        self.tell(e.Adopt(tuple(map(oid, numbers))))

    @rule(numbers=st.lists(NUMBERS, max_size=3))
    def delete(self, numbers: list[int]) -> None:
        self.tell(e.Delete(tuple(map(oid, numbers))))

    @rule(connection=CONNECTIONS)
    def lose(self, connection: int) -> None:
        self.served = {key: count for key, count in self.served.items() if key[0] != connection}
        self.tell(e.ConnectionLost(connection))

    @precondition(lambda self: self.spilling)
    @rule(works=st.booleans())
    def spill_ends(self, works: bool) -> None:
        object_ = self.spilling.pop()
        if works:
            self.files.add(object_)
        self.tell(e.SpillDone(object_) if works else e.SpillFailed(object_, "disk full"))

    @rule(seconds=st.sampled_from([0.1, 2.0, 30.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tell(e.TimePassed())
        due = self.index.next_deadline()
        assert due is None or due > self.now

    @invariant()
    def the_accounts_agree(self) -> None:
        self.index.check_invariants()
        assert self.segments | set(self.creating.values()) == set(self.index._held.room.segments)
        usage = self.index.usage()
        assert usage.leases == sum(self.served.values())
        assert usage.memory_bytes + usage.kept_bytes <= 10 * PAGE_BYTES

    @invariant()
    def what_is_leased_is_there(self) -> None:
        states = {State.SEALED, State.SPILLING, State.SPILLED, State.CONDEMNED}
        assert all(self.index.state_of(leased) in states for _, leased in self.served)

    def teardown(self) -> None:
        if not hasattr(self, "index"):
            return
        self.delete(list(range(10)))
        for connection in (1, 2, 3, 4):
            self.lose(connection)
        while self.creating:
            self.segment_is_made(True)
        while self.spilling:
            self.spill_ends(True)
        for _ in range(3):
            self.time_passes(max(60.0, ORPHAN_GRACE_S))
        while self.creating:
            self.segment_is_made(True)
        while self.spilling:
            self.spill_ends(True)
        self.delete(list(range(10)))
        self.time_passes(60.0)
        usage = self.index.usage()
        assert (usage.objects, usage.memory_bytes, usage.kept_bytes, usage.disk_bytes) == (0, 0, 0, 0)
        assert not self.segments
        assert not self.files


TestAnyOrder = AnyOrder.TestCase
