from __future__ import annotations

import itertools
from typing import Any

import pytest

from scaler_protocol import MESSAGE_CLASSES, FrameDecoder, Side, State, decode, encode
from scaler_protocol import messages as m
from tests.protocol import pair, vectors

MANIFEST = vectors.load()
MESSAGES = {name: entry for name, entry in MANIFEST.items() if "message" in entry}
HANDSHAKES = {name: entry for name, entry in MANIFEST.items() if "steps" in entry}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_vector_decodes_to_its_message(name: str) -> None:
    [frame] = FrameDecoder().feed(vectors.read(name))
    assert decode(frame) == vectors.message_of(MESSAGES[name])


@pytest.mark.parametrize("name", [name for name, entry in MESSAGES.items() if entry["protocol"] == m.PROTOCOL_MAX])
def test_a_message_encodes_to_its_vector(name: str) -> None:
    assert b"".join(encode(vectors.message_of(MESSAGES[name]))) == vectors.read(name)


def test_every_message_class_has_typical_and_extreme_vectors() -> None:
    wanted = {
        f"{cls.__name__}.{variant}" for cls in MESSAGE_CLASSES.values() for variant in ("typical", "least", "greatest")
    }
    assert wanted - MESSAGES.keys() == set()


def test_manifest_and_files_are_the_same_set_with_the_same_digests() -> None:
    listed = {name: entry["sha256"] for name, entry in MESSAGES.items()}
    for entry in HANDSHAKES.values():
        listed |= entry["steps"]
    found = {path.stem: vectors.digest(path.read_bytes()) for path in vectors.FOLDER.glob("*.bin")}
    assert found == listed


@pytest.mark.parametrize("entry", HANDSHAKES.values(), ids=list(HANDSHAKES))
@pytest.mark.parametrize("chop", [1, 7, 1 << 20])
def test_a_handshake_gives_its_transcript_byte_by_byte(entry: dict[str, Any], chop: int) -> None:
    ends = itertools.cycle([vectors.end_of(entry, Side.DIALER), vectors.end_of(entry, Side.LISTENER)])
    sender, receiver = next(ends), next(ends)
    for step in entry["steps"]:
        data = vectors.read(step)
        assert pair.outgoing(sender) == data
        pair.feed(receiver, data, chop)
        sender, receiver = receiver, next(ends)
    assert sender.state is receiver.state is State.OPEN
