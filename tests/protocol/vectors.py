"""The golden vectors on disk: frames and handshakes as every version of the protocol put them on the wire."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import attrs

from scaler_protocol import MESSAGE_CLASSES, Connection, Identity, Message, Role, Side
from scaler_protocol import messages as m

FOLDER = Path(__file__).parents[2] / "protocol" / "vectors"
MANIFEST = FOLDER / "MANIFEST.json"
CLASSES = {cls.__name__: cls for cls in MESSAGE_CLASSES.values()}


def load() -> dict[str, dict[str, Any]]:
    """The manifest; empty if there is none yet."""
    return json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}


def read(name: str) -> bytes:
    """The bytes of a vector."""
    return (FOLDER / f"{name}.bin").read_bytes()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def readable(value: Any) -> Any:
    """A field's value as JSON: bytes as ``{"bin": hex}``, options as an object of their fields."""
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    if isinstance(value, m.TaskOptions):
        return {a.name: readable(getattr(value, a.name)) for a in attrs.fields(m.TaskOptions)}
    return [readable(item) for item in value] if isinstance(value, tuple) else value


def parsed(value: Any) -> Any:
    """The inverse of ``readable``."""
    if isinstance(value, dict):
        if value.keys() == {"bin"}:
            return bytes.fromhex(value["bin"])
        return m.TaskOptions(**{name: parsed(item) for name, item in value.items()})
    return tuple(parsed(item) for item in value) if isinstance(value, list) else value


def message_of(entry: dict[str, Any]) -> Message:
    """The message that a manifest entry describes."""
    return CLASSES[entry["message"]](**{name: parsed(item) for name, item in entry["fields"].items()})


def end_of(entry: dict[str, Any], side: Side) -> Connection:
    """One end of the handshake that a manifest entry describes."""
    said = {name: parsed(item) for name, item in entry[side.name.lower()].items()}
    said["role"] = Role[said["role"]]
    return Connection(side, Identity(**said), token=parsed(entry["token"]))
