from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scaler_protocol import Role, ids, limits
from scaler_protocol import messages as m
from tests.protocol import examples


@given(st.text(st.characters()), st.integers(0, 50))
def test_clipped_text_is_valid_and_within_its_bound(text: str, at_most: int) -> None:
    clipped = limits.clip(text, at_most)
    assert len(clipped.encode()) <= at_most
    assert text.encode(errors="replace").decode().startswith(clipped)


def test_a_character_is_never_cut_in_two() -> None:
    assert limits.clip("aé", 2) == "a"
    assert limits.clip("short", 100) == "short"


def test_the_longest_hello_fits_before_authentication() -> None:
    longest = "é" * (limits.NAME_BYTES // 2)
    hello = m.Hello(ids.U64_MAX, ids.U64_MAX, Role.PROCESSOR, bytes(16), longest, bytes(32), ids.U64_MAX, longest)
    assert len(examples.wire(hello)) < limits.UNAUTHENTICATED_FRAME_BYTES


def test_an_object_id_names_its_writer() -> None:
    session = ids.SessionId(bytes(range(16)))
    object_ = ids.object_id(session, 0x0102)
    assert len(object_) == ids.OBJECT_ID_BYTES
    assert ids.object_session(object_) == session
    assert object_[16:] == b"\0\0\0\0\0\0\1\2"
    assert ids.short(object_) == "00010203"
