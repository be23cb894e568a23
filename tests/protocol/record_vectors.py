"""Append the vectors that are missing: ``python -m tests.protocol.record_vectors``.

A vector that exists is never changed; ``--replace NAME …`` is for a protocol version that nobody has released yet.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import attrs

from scaler_protocol import Role, Side
from scaler_protocol import messages as m
from tests.protocol import examples, pair, vectors

HANDSHAKES: dict[str, dict[str, Any]] = {
    "token": {
        "token": pair.TOKEN,
        "dialer": pair.identity(Role.CLIENT, 1),
        "listener": pair.identity(Role.SCHEDULER, 2),
    },
    "insecure": {"token": None, "dialer": pair.identity(Role.PROCESSOR, 3), "listener": pair.identity(Role.OBJECTS, 4)},
    "epochs": {
        "token": pair.OTHER_TOKEN,
        "dialer": pair.identity(Role.WORKER, 5, epoch=6, python="3.11/cloudpickle 3.1"),
        "listener": pair.identity(Role.SCHEDULER, 7, epoch=8),
    },
}
STEPS = ("1-Hello", "2-HelloReply", "3-Proof", "4-Welcome")


def handshake(name: str, parts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A manifest entry, and its four steps as bytes."""
    entry: dict[str, Any] = {"protocol": m.PROTOCOL_MAX, "token": vectors.readable(parts["token"])}
    for side in ("dialer", "listener"):
        said = {a.name: vectors.readable(getattr(parts[side], a.name)) for a in attrs.fields(type(parts[side]))}
        entry[side] = said | {"role": parts[side].role.name}
    both = pair.Pair(vectors.end_of(entry, Side.DIALER), vectors.end_of(entry, Side.LISTENER)).shake_hands()
    steps = {f"handshake-{name}.{step}": data for step, (_, data) in zip(STEPS, both.sent, strict=True)}
    return entry | {"steps": {step: vectors.digest(data) for step, data in steps.items()}}, steps


def main(replaced: set[str]) -> None:
    manifest = vectors.load()
    files: dict[str, bytes] = {}
    for name, message in examples.examples().items():
        if name not in manifest or name in replaced:
            data = files[name] = examples.wire(message)
            manifest[name] = {
                "protocol": m.PROTOCOL_MAX,
                "message": type(message).__name__,
                "fields": {a.name: vectors.readable(getattr(message, a.name)) for a in attrs.fields(type(message))},
                "sha256": vectors.digest(data),
            }
    for name, parts in HANDSHAKES.items():
        if f"handshake-{name}" not in manifest or f"handshake-{name}" in replaced:
            manifest[f"handshake-{name}"], steps = handshake(name, parts)
            files |= steps
    for name, data in files.items():
        (vectors.FOLDER / f"{name}.bin").write_bytes(data)
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}" for name, entry in manifest.items()
    )
    vectors.MANIFEST.write_text("{\n" + lines + "\n}\n")
    print(f"{len(files)} files written; {len(manifest)} vectors in all")


if __name__ == "__main__":
    main(set(sys.argv[2:]) if "--replace" in sys.argv[1:2] else set())
