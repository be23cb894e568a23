"""The object index, event by event: who gets room, who waits, what is spilled, what is recycled, when things go."""

from __future__ import annotations

import pytest

from scaler_protocol.ids import ObjectId, SessionId, object_id
from scaler_trio.objects.core import events as e
from scaler_trio.objects.core.holdings import DISK_RETRY_S
from scaler_trio.objects.core.index import (
    ORPHAN_GRACE_S,
    SPILLING_PATIENCE_S,
    WAITING_PER_CONNECTION,
    InternalError,
    ObjectIndex,
)
from scaler_trio.objects.core.room import KEPT_S, PAGE_BYTES, RoomLimits
from scaler_trio.objects.core.states import TRANSITIONS, Act, State, Verb

PAGE = PAGE_BYTES
WRITER, READER, OTHER = 1, 2, 3


def oid(number: int) -> ObjectId:
    return object_id(SessionId(b"s" * 16), number)


class Bench:
    """An index with its shell reduced to: segments can always be made, spills finish when the test says so."""

    def __init__(self, *, memory: int = 10, disk: int = 10, **limits: object) -> None:
        self.index = ObjectIndex(RoomLimits(memory * PAGE, disk * PAGE, kept_share=0.5, **limits))  # type: ignore[arg-type]
        self.now = 100.0
        self.creates = True

    def do(self, event: e.Event) -> list[e.Effect]:
        """Handle an event and what follows from it at once; effects on segments are carried out."""
        done: list[e.Effect] = []
        queue: list[e.Event] = [event]
        while queue:
            effects = self.index.handle(queue.pop(0), self.now)
            self.index.check_invariants()
            for effect in effects:
                done.append(effect)
                if isinstance(effect, e.CreateSegment):
                    made = e.SegmentCreated(effect.object_id)
                    failed = e.SegmentFailed(effect.object_id, "Cannot allocate memory")
                    queue.append(made if self.creates else failed)
        return done

    def reserve(self, number: int, pages: int, patience_s: float = 2.0) -> list[e.Effect]:
        return self.do(e.Reserve(WRITER, oid(number), pages * PAGE, patience_s))

    def put(self, number: int, pages: int) -> list[e.Effect]:
        effects = self.reserve(number, pages) + self.do(e.Seal(WRITER, oid(number)))
        return effects + self.do(e.Adopt((oid(number),)))

    def fetch(self, number: int, connection: int = READER) -> list[e.Effect]:
        return self.do(e.Fetch(connection, oid(number)))

    def end(self, number: int, connection: int = READER) -> list[e.Effect]:
        return self.do(e.EndLeases(connection, (oid(number),)))

    def delete(self, number: int) -> list[e.Effect]:
        return self.do(e.Delete((oid(number),)))

    def after(self, seconds: float) -> list[e.Effect]:
        self.now += seconds
        return self.do(e.TimePassed())


def kinds(effects: list[e.Effect]) -> list[type]:
    return [type(effect) for effect in effects]


def test_the_table_says_what_happens_in_every_state_for_everything() -> None:
    assert TRANSITIONS.keys() == set(State)
    assert all(row.keys() == set(Verb) for row in TRANSITIONS.values())


def test_a_new_object_gets_a_segment_is_granted_sealed_and_served() -> None:
    bench = Bench()
    assert kinds(bench.reserve(1, 2)) == [e.CreateSegment, e.Grant]
    assert bench.do(e.Seal(WRITER, oid(1))) == [e.Acknowledge(WRITER, oid(1))]
    assert bench.fetch(1) == [e.Serve(READER, oid(1), 2 * PAGE, 1)]


def test_an_object_is_missing_until_it_is_sealed_and_after_it_was_deleted() -> None:
    bench = Bench()
    assert bench.fetch(1) == [e.NotThere(READER, oid(1))]
    bench.reserve(1, 1)
    assert bench.fetch(1) == [e.NotThere(READER, oid(1))]
    bench.do(e.Seal(WRITER, oid(1)))
    bench.delete(1)
    assert bench.fetch(1) == [e.NotThere(READER, oid(1))]


def test_a_freed_segment_is_used_for_the_next_object_of_half_its_size_or_more() -> None:
    bench = Bench()
    bench.put(1, 4)
    assert bench.delete(1) == []  # kept
    assert bench.reserve(2, 2) == [e.Grant(WRITER, oid(2), 2 * PAGE, 1)]
    bench.do(e.Seal(WRITER, oid(2)))
    bench.delete(2)
    assert kinds(bench.reserve(3, 1)) == [e.CreateSegment, e.Grant]


def test_free_segments_are_kept_up_to_their_share_and_not_for_ever() -> None:
    bench = Bench(memory=10)  # keeps 5 pages
    bench.put(1, 4)
    bench.put(2, 4)
    assert bench.delete(1) == []
    assert kinds(bench.delete(2)) == [e.DestroySegment]
    assert bench.index.usage().kept_bytes == 4 * PAGE
    assert bench.index.next_deadline() == bench.now + KEPT_S
    assert kinds(bench.after(KEPT_S)) == [e.DestroySegment]
    assert bench.index.next_deadline() is None


def test_a_kept_segment_makes_way_for_an_object_that_does_not_fit_into_it() -> None:
    bench = Bench(memory=10)
    bench.put(1, 5)
    bench.delete(1)
    assert kinds(bench.reserve(2, 8)) == [e.DestroySegment, e.CreateSegment, e.Grant]


def test_a_segment_is_not_recycled_while_leased_even_when_its_object_was_deleted() -> None:
    bench = Bench(memory=8)
    bench.put(1, 4)
    bench.fetch(1)
    bench.fetch(1, OTHER)
    assert bench.delete(1) == []
    assert kinds(bench.reserve(2, 4)) == [e.CreateSegment, e.Grant]  # beside it
    bench.end(1)
    assert bench.index.state_of(oid(1)) is State.CONDEMNED
    bench.end(1, OTHER)
    assert bench.index.state_of(oid(1)) is None
    bench.do(e.ConnectionLost(WRITER))
    assert bench.reserve(3, 4) == [e.Grant(WRITER, oid(3), 4 * PAGE, 1)]


def test_each_fetch_is_a_lease_of_its_own() -> None:
    bench = Bench()
    bench.put(1, 4)
    bench.fetch(1)
    bench.fetch(1)
    bench.end(1)
    bench.delete(1)
    assert bench.index.state_of(oid(1)) is State.CONDEMNED
    bench.end(1)
    assert bench.index.state_of(oid(1)) is None
    bench.end(1)  # once too often: nothing happens


def test_a_segment_whose_reader_vanished_is_not_recycled_as_it_may_still_be_mapped() -> None:
    bench = Bench()
    bench.put(1, 4)
    bench.fetch(1)
    bench.do(e.ConnectionLost(READER))
    assert kinds(bench.delete(1)) == [e.DestroySegment]


def test_a_writer_that_is_lost_gives_back_what_it_was_writing_and_waiting_for() -> None:
    bench = Bench(memory=4, disk=0)
    bench.reserve(1, 4)
    bench.reserve(2, 4)
    assert bench.index.usage().waiting == 1
    assert kinds(bench.do(e.ConnectionLost(WRITER))) == [e.DestroySegment]
    assert bench.index.usage().memory_bytes == bench.index.usage().waiting == 0


def test_an_object_that_nobody_adopted_goes_some_time_after_its_writer() -> None:
    bench = Bench()
    for number in (1, 2):
        bench.reserve(number, 1)
        bench.do(e.Seal(WRITER, oid(number)))
    bench.do(e.Adopt((oid(2),)))
    bench.do(e.ConnectionLost(WRITER))
    bench.after(ORPHAN_GRACE_S - 1)
    assert bench.index.state_of(oid(1)) is State.SEALED
    bench.after(1)
    assert bench.index.state_of(oid(1)) is None
    assert bench.index.state_of(oid(2)) is State.SEALED


def test_an_object_adopted_within_the_grace_stays() -> None:
    bench = Bench()
    bench.reserve(1, 1)
    bench.do(e.Seal(WRITER, oid(1)))
    bench.do(e.ConnectionLost(WRITER))
    bench.after(ORPHAN_GRACE_S / 2)
    bench.do(e.Adopt((oid(1),)))
    bench.after(ORPHAN_GRACE_S)
    assert bench.index.state_of(oid(1)) is State.SEALED


def test_least_recently_used_objects_are_spilled_to_make_room() -> None:
    bench = Bench(memory=8)
    for number in (1, 2, 3, 4):
        bench.put(number, 2)
    bench.fetch(1)
    bench.end(1)
    assert bench.reserve(5, 4) == [e.Spill(oid(2), 2, 2 * PAGE), e.Spill(oid(3), 3, 2 * PAGE)]
    assert kinds(bench.do(e.SpillDone(oid(2)))) == [e.DestroySegment]  # too small to be recycled
    assert kinds(bench.do(e.SpillDone(oid(3)))) == [e.DestroySegment, e.CreateSegment, e.Grant]


def test_a_spilled_object_is_served_from_disk_and_takes_disk_until_it_is_deleted() -> None:
    bench = Bench(memory=4)
    bench.put(1, 4)
    bench.reserve(2, 4)
    bench.do(e.SpillDone(oid(1)))
    assert bench.fetch(1) == [e.Serve(READER, oid(1), 4 * PAGE, None)]
    assert bench.index.usage().disk_bytes == 4 * PAGE
    assert bench.delete(1) == []  # still read
    assert bench.end(1) == [e.DeleteFile(oid(1))]
    assert bench.index.usage().disk_bytes == 0


def test_an_object_that_is_fetched_while_it_is_spilled_stays_in_memory() -> None:
    bench = Bench(memory=4)
    bench.put(1, 4)
    bench.reserve(2, 4)
    assert bench.fetch(1) == [e.Serve(READER, oid(1), 4 * PAGE, 1)]
    assert bench.do(e.SpillDone(oid(1))) == [e.DeleteFile(oid(1))]
    assert bench.index.state_of(oid(1)) is State.SEALED
    assert kinds(bench.end(1)) == [e.Spill]  # the other one still waits


def test_an_object_that_is_deleted_while_it_is_spilled_leaves_nothing() -> None:
    bench = Bench(memory=4)
    bench.put(1, 4)
    bench.reserve(2, 4)
    assert bench.delete(1) == []
    effects = bench.do(e.SpillDone(oid(1)))
    assert kinds(effects) == [e.DeleteFile, e.DestroySegment, e.CreateSegment, e.Grant]
    assert bench.index.state_of(oid(1)) is None


@pytest.mark.parametrize("patience_s", [2.0, 60.0])
def test_who_waits_in_vain_is_refused_with_usage_and_limits_and_nothing_stored_is_lost(patience_s: float) -> None:
    bench = Bench(memory=512, disk=256, disk_name="disk (/somewhere)")
    bench.put(1, 256)
    bench.put(2, 256)
    bench.reserve(3, 256)
    bench.do(e.SpillDone(oid(1)))
    bench.do(e.Seal(WRITER, oid(3)))
    bench.do(e.Adopt((oid(3),)))
    bench.fetch(2)
    assert bench.reserve(4, 256, patience_s) == []
    assert bench.index.next_deadline() == bench.now + patience_s
    (refusal,) = bench.after(patience_s)
    assert isinstance(refusal, e.Refuse)
    assert refusal.text == (
        f"object 73737373 of 1.0 MiB: no room within {patience_s:.0f} s: memory holds 2.0 MiB of 2.0 MiB "
        "(1.0 MiB being read or written), disk (/somewhere) 1.0 MiB of 1.0 MiB; release futures and references that "
        "are no longer needed, or raise memory_bytes or spill_bytes of the object storage server"
    )
    for number in (1, 2, 3):
        assert kinds(bench.fetch(number)) == [e.Serve]


def test_who_waits_is_served_when_something_is_deleted_first_come_first_served() -> None:
    bench = Bench(memory=4, disk=0)
    bench.put(1, 2)
    bench.put(2, 2)
    bench.reserve(3, 4)
    bench.reserve(4, 1)  # would fit earlier, but does not overtake
    assert kinds(bench.delete(1)) == [e.DestroySegment]
    assert kinds(bench.delete(2)) == [e.DestroySegment, e.CreateSegment, e.Grant]
    assert bench.index.state_of(oid(4)) is State.WAITING


def test_who_waits_is_not_refused_while_room_is_about_to_come() -> None:
    bench = Bench(memory=4)
    bench.put(1, 4)
    bench.reserve(2, 4, patience_s=2.0)
    assert bench.after(2.0) == []
    assert bench.after(SPILLING_PATIENCE_S - 3.0) == []
    assert kinds(bench.after(1.0)) == [e.Refuse]


def test_a_disk_that_turns_out_full_is_named_in_the_refusal_and_tried_again_later() -> None:
    bench = Bench(memory=4)
    bench.put(1, 4)
    bench.reserve(2, 4, patience_s=60.0)
    assert bench.do(e.SpillFailed(oid(1), "No space left on device")) == []
    assert bench.index.usage().disk_bytes == 0
    assert kinds(bench.after(DISK_RETRY_S)) == [e.Spill]
    bench.do(e.SpillFailed(oid(1), "No space left on device"))
    bench.reserve(3, 1, patience_s=1.0)
    bench.do(e.ConnectionLost(OTHER))
    bench.now += 60.0 - DISK_RETRY_S
    refused = [effect for effect in bench.do(e.TimePassed()) if isinstance(effect, e.Refuse)]
    assert {effect.object_id for effect in refused} == {oid(2), oid(3)}
    assert "writing to it failed: No space left on device" in refused[0].text


def test_an_object_larger_than_the_memory_is_refused_at_once() -> None:
    (refusal,) = Bench(memory=2).reserve(1, 3)
    assert isinstance(refusal, e.Refuse)
    assert "larger than the memory for objects" in refusal.text


def test_a_segment_that_cannot_be_made_refuses_its_object_and_counts_nothing() -> None:
    bench = Bench()
    bench.creates = False
    effects = bench.reserve(1, 1)
    assert kinds(effects) == [e.CreateSegment, e.Refuse, e.DestroySegment]
    assert "Cannot allocate memory" in effects[1].text  # type: ignore[union-attr]
    assert bench.index.usage().memory_bytes == 0


def test_the_number_of_segments_is_bounded_like_memory() -> None:
    bench = Bench(memory=100, segments=2)
    bench.put(1, 1)
    bench.put(2, 1)
    assert bench.reserve(3, 1) == [e.Spill(oid(1), 1, PAGE)]
    assert kinds(bench.do(e.SpillDone(oid(1)))) == [e.Grant]


def test_a_cache_drops_its_oldest_objects_instead() -> None:
    bench = Bench(memory=4, disk=0, drops=True)
    bench.put(1, 2)
    bench.put(2, 2)
    bench.fetch(1)
    bench.end(1)
    assert bench.reserve(3, 2) == [e.Grant(WRITER, oid(3), 2 * PAGE, 2)]
    assert bench.index.state_of(oid(2)) is None


@pytest.mark.parametrize(
    "offence",
    [e.Seal(WRITER, oid(1)), e.Seal(OTHER, oid(2)), e.Reserve(WRITER, oid(2), PAGE, 1.0), e.Seal(WRITER, oid(3))],
    ids=["seal of nothing", "seal of another's", "reserve twice", "seal twice"],
)
def test_a_peer_that_does_what_it_must_not_is_closed_and_nothing_changes(offence: e.Event) -> None:
    bench = Bench()
    bench.reserve(2, 1)
    bench.put(3, 1)
    before = bench.index.usage()
    assert kinds(bench.do(offence)) == [e.Offend]
    assert bench.index.usage() == before


def test_a_peer_may_not_let_more_than_a_bounded_number_of_reservations_wait() -> None:
    bench = Bench(memory=1, disk=0)
    bench.put(1, 1)
    for number in range(WAITING_PER_CONNECTION):
        assert bench.reserve(2 + number, 1) == []
    assert kinds(bench.reserve(9999, 1)) == [e.Offend]


def test_what_cannot_happen_raises_with_the_objects_story() -> None:
    bench = Bench()
    bench.put(1, 1)
    with pytest.raises(InternalError, match=r"(?s)SpillDone.*reserve 4096 bytes.*seal while being written"):
        bench.do(e.SpillDone(oid(1)))


def test_every_impossible_event_is_marked_so_in_the_table() -> None:
    of_the_shell = {Verb.CREATED, Verb.FAILED, Verb.SPILL_DONE, Verb.SPILL_FAILED, Verb.OVERDUE}
    of_peers = set(Verb) - of_the_shell
    assert all(row[verb] is not Act.BUG for row in TRANSITIONS.values() for verb in of_peers)
