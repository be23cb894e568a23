"""Write the tables of README.md from the code: ``python protocol/generate_spec.py`` (``--check`` only compares).

What stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` is generated; the rest is written by hand.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any, get_args, get_origin

import attrs

from scaler_protocol import MESSAGE_CLASSES, ErrorCode, Role, fields, handshake, ids, legality, limits
from scaler_protocol import messages as m

README = Path(__file__).with_name("README.md")
CONTROL = {m.Hello, m.HelloReply, m.Proof, m.Welcome}
CLASSES = [cls for _, cls in sorted(MESSAGE_CLASSES.items())]


def comments(source: str) -> dict[str, str]:
    """The comment of every assigned name: ``#:`` lines above it, or the comment behind it, or the text below it."""
    found: dict[str, str] = {}
    lines = source.splitlines()
    body = ast.parse(inspect.cleandoc(source) if source.startswith(" ") else source).body
    nodes = body[0].body if len(body) == 1 and isinstance(body[0], ast.ClassDef) else body
    for node, following in zip(nodes, [*nodes[1:], None], strict=True):
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if not isinstance(target, ast.Name):
            continue
        above: list[str] = []
        line = node.lineno - 2
        while line >= 0 and lines[line].strip().startswith("#:"):
            above.insert(0, lines[line].strip()[2:].strip())
            line -= 1
        behind = re.search(r"  # (.*)$", lines[(node.end_lineno or node.lineno) - 1])
        text = " ".join(above) or (behind.group(1) if behind else "")
        if not text and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = " ".join(str(following.value.value).split())
        found[target.id] = text
    return found


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def number(value: float | None) -> str:
    """A bound as people write it."""
    if value is None:
        return "10^300"
    powers = {(1 << power) - 1: f"2^{power}−1" for power in (31, 40, 64)} | {-(1 << 31): "−2^31"}
    return powers.get(int(value), f"{value:,}".replace("-", "−"))


def type_of(attribute: attrs.Attribute[Any]) -> str:
    """The wire type of a field, with its bounds."""
    meta = attribute.metadata
    type_: Any = attribute.type
    low, high, size = meta.get(fields.MIN), meta.get(fields.MAX), meta.get(fields.SIZE)
    if fields.ROW in meta:
        return f"[({', '.join(column.wire for column in meta[fields.ROW])})] ≤ {number(high)}"
    if get_origin(type_) is tuple:
        item = get_args(type_)[0]
        name = "options" if item is m.TaskOptions else (meta[fields.ITEM] or fields.NUMBER).wire
        return f"[{name}] ≤ {number(high)}"
    if type_ is m.TaskOptions:
        return "options"
    if type_ is bytes:
        return f"bin({size})" if size else f"bin ≤ {number(high)} bytes"
    if type_ is str:
        return f"str ≤ {number(high)} bytes"
    if type_ is bool:
        return "bool"
    if type_ is int and (low, high) == (0, ids.U64_MAX):
        return "u64"
    return f"{'int' if type_ is int else 'float'}, {number(low)} … {number(high)}"


def default_of(attribute: attrs.Attribute[Any]) -> str:
    if attribute.default is attrs.NOTHING:
        return "required"
    default: Any = attribute.default
    return {"": '`""`', (): "empty"}.get(default, f"`{str(default).lower()}`")


def field_table(cls: type) -> str:
    """The fields of a class in the order of the body's array."""
    notes = comments(inspect.getsource(cls))
    body = [a for a in attrs.fields(cls) if fields.SEGMENT not in a.metadata]
    rows = [[f"`{a.name}`", type_of(a), default_of(a), notes.get(a.name, "")] for a in body]
    return table(["field", "type", "presence", "meaning"], rows)


def who(cls: type) -> tuple[str, str]:
    """Who sends a message, to whom."""
    if cls in CONTROL:
        return ("dialer", "listener") if cls in (m.Hello, m.Proof) else ("listener", "dialer")
    pairs = [pair for pair, classes in legality.SENDABLE.items() if cls in classes]
    if not pairs:
        return "any", "any"
    senders, receivers = ({role.name.lower(): None for role in side} for side in zip(*pairs, strict=True))
    return ", ".join(senders), ", ".join(receivers)


def messages() -> str:
    rows = []
    for cls in CLASSES:
        first = (inspect.getdoc(cls) or "").splitlines()[0]
        rows.append([f"[`{cls.__name__}`](#{cls.__name__.lower()})", str(fields.kind_of(cls)), *who(cls), first])
    return table(["message", "kind", "sent by", "to", "meaning"], rows)


def blocks() -> str:
    parts = []
    for cls in CLASSES:
        parts += [
            f"#### {cls.__name__}",
            f"Kind {fields.kind_of(cls)}. " + " ".join((inspect.getdoc(cls) or "").split()),
        ]
        parts.append(field_table(cls))
        notes = comments(inspect.getsource(cls))
        segments = [a.name for a in attrs.fields(cls) if fields.SEGMENT in a.metadata]
        described = [f"`{name}`" + (f" ({notes[name]})" if notes[name] else "") for name in segments]
        if segments:
            parts.append(f"Segments, in order: {', '.join(described)}.")
    return "\n\n".join(parts)


def options() -> str:
    return field_table(m.TaskOptions)


def enumeration(enum: type[IntEnum]) -> str:
    notes = comments(inspect.getsource(enum))
    return table([enum.__name__, "", ""], [[str(int(x)), f"`{x.name}`", notes.get(x.name, "")] for x in enum])


def enums() -> str:
    return "\n\n".join(enumeration(enum) for enum in (Role, m.Outcome, m.ReturnReason, m.NoticeKind))


def legal() -> str:
    rows = []
    for (sender, receiver), classes in sorted(legality.SENDABLE.items()):
        names = ", ".join(f"`{cls.__name__}`" for cls in sorted(classes, key=fields.kind_of))
        rows.append([sender.name.lower(), receiver.name.lower(), names])
    return table(["sender", "receiver", "messages"], rows)


def bounds() -> str:
    notes = comments(inspect.getsource(limits))
    rows = [
        [f"`{name}`", f"{getattr(limits, name):,}", text] for name, text in notes.items() if name not in ("KIB", "MIB")
    ]
    return table(["limit", "value", "reason"], rows)


def errors() -> str:
    return enumeration(ErrorCode)


def states() -> str:
    after = {
        "AWAIT_HELLO": ("listener", "send `HelloReply`, go to `AWAIT_PROOF`"),
        "AWAIT_REPLY": ("dialer", "send `Proof`, go to `AWAIT_WELCOME`"),
        "AWAIT_PROOF": ("listener", "verify, send `Welcome`, go to `OPEN`"),
        "AWAIT_WELCOME": ("dialer", "verify, go to `OPEN`"),
    }
    rows = [
        [f"`{state.name}`", after[state.name][0], f"`{expected.__name__}`", after[state.name][1]]
        for state, expected in handshake.EXPECTED.items()
    ]
    rows.append(["`OPEN`", "both", "see [Legality](#legality)", "`Ping` is answered by `Pong`; the rest is delivered"])
    rows.append(["`CLOSED`", "both", "nothing: bytes are dropped", ""])
    return table(["state", "side", "legal besides `Error`", "reaction"], rows)


SECTIONS: dict[str, Callable[[], str]] = {
    function.__name__: function for function in (states, messages, options, enums, blocks, legal, bounds, errors)
}


def generated(text: str) -> str:
    """``text`` with every marked section written anew."""
    for name, section in SECTIONS.items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        text, count = pattern.subn(lambda match, s=section: f"{match[1]}\n{s().replace('``', '`')}\n\n{match[2]}", text)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"{README.name} needs the markers of {name!r} exactly once")
    return text


if __name__ == "__main__":
    old = README.read_text()
    new = generated(old)
    if "--check" in sys.argv[1:]:
        raise SystemExit(0 if new == old else "protocol/README.md is not what the code says: run this without --check")
    README.write_text(new)
