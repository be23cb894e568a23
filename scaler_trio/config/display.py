"""What notebooks show of our objects: a name and a small table, in plain HTML."""

from collections.abc import Mapping
from typing import Final

VALUE_CHARACTERS: Final = 500
"""Of longer values the rest is left out: who wants to read it asks for it."""

_UNITS: Final = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def table(title: str, rows: Mapping[str, object]) -> str:
    """HTML for ``_repr_html_``: everything is escaped, and rows whose value is None or empty are left out."""
    from html import escape  # 2 ms, which who never looks need not spend

    shown = [
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left;white-space:pre-wrap'>{escape(_shorten(str(value)))}</td></tr>"
        for name, value in rows.items()
        if value is not None and value != ""
    ]
    return f"<div><b>{escape(title)}</b><table>{''.join(shown)}</table></div>"


def amount(size_bytes: int) -> str:
    """A number of bytes, for people: ``1.5 MiB``."""
    for unit, bytes_ in _UNITS:
        if size_bytes >= bytes_:
            return f"{size_bytes / bytes_:.1f} {unit}"
    return f"{size_bytes} bytes"


def duration(seconds: float) -> str:
    """A time span, for people: ``12 ms``."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _shorten(text: str) -> str:
    return text if len(text) <= VALUE_CHARACTERS else f"{text[: VALUE_CHARACTERS - 2]} …"
