"""The TOML file: which section a command reads, and where each of its keys stands, so that a mistake can be shown.

Its values take the way of flags through the same conversions and checks, so that nothing is allowed in one and not in
the other; flags and the environment come first.
"""

import re
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen
from cyclopts import App, Token
from cyclopts.argument import ArgumentCollection

SECTIONS: Final = ("object_storage_server", "scheduler", "worker_manager", "top", "gui")

RETIRED: Final = {
    "event_loop": "there is one event loop",
    "io_threads": "there are no I/O threads",
    "worker_io_threads": "there are no I/O threads",
    "network_backend": "there is one transport",
    "load_balance_seconds": "work moves to idle workers at once",
    "load_balance_trigger_times": "work moves to idle workers at once",
    "object_retention_seconds": "objects live as long as somebody refers to them",
    "max_number_of_tasks_waiting": "clients are slowed down by credit, and no task is refused",
    "per_worker_task_queue_size": "workers are fed by time",
    "hard_processor_suspend": "tasks of higher priority do not suspend running ones",
    "heartbeat_interval_seconds": "it follows worker_timeout_seconds of the scheduler",
    "worker_type": "workers are named after worker_manager_id",
    "status_report_interval_seconds": "monitors ask when they want to know",
    "tls_cert": "there is no TLS yet; between hosts whose network you do not trust, use a tunnel",
    "tls_key": "there is no TLS yet; between hosts whose network you do not trust, use a tunnel",
}
"""Keys that users of OpenGRIS Scaler have in their files, and why there is nothing to set here."""

_HEADER = re.compile(r"^\s*\[\[?\s*([\w.-]+)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*["']?([\w-]+)["']?\s*=""")


class SettingsError(ValueError):
    """The file cannot be used; the text names file and line."""


@frozen
class Section:
    """One table of the file."""

    path: Path
    name: str
    line: int
    values: dict[str, Any]
    """By key, with ``_`` for ``-``; sub-tables are taken as part of it."""

    lines: dict[str, int] = field(repr=False)

    def where(self, key: str = "") -> str:
        """For errors."""
        return f"{self.path}, line {self.lines.get(key, self.line)}"

    def apply(self, arguments: ArgumentCollection, ignore: Iterable[str] = ()) -> None:
        """Give the values to arguments that have none yet.

        Raises:
            SettingsError: a key that the command does not know.
        """
        known = {name.lstrip("-").replace("-", "_"): argument for argument in arguments for name in argument.names}
        for key, value in self.values.items():
            if key in ignore:
                continue
            argument = known.get(key)
            if argument is None or key in ("config", "help", "version"):
                raise SettingsError(f"{self.where(key)}: {self._unknown(key, known)}")
            if argument.tokens:
                continue
            for index, item in enumerate(value if isinstance(value, list) else [value]):
                text = str(item).lower() if isinstance(item, bool) else str(item)
                option = f"--{key.replace('_', '-')}"
                argument.append(Token(keyword=option, value=text, source=self.where(key), index=index))

    def _unknown(self, key: str, known: Iterable[str]) -> str:
        if key in RETIRED:
            return f"{key} is not needed: {RETIRED[key]}; remove it"
        near = get_close_matches(key, [name for name in known if name.isidentifier()], 1)
        return f"[{self.name}] has no key {key!r}" + (f"; did you mean {near[0]}?" if near else "")


def read_sections(path: Path) -> list[Section]:
    """All sections of a file, in its order.

    Raises:
        SettingsError: it cannot be read, is no TOML, or has a section that nobody knows.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"the settings file {path} cannot be read: {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML: {error}") from error
    found = _places(text)
    sections: list[Section] = []
    for name, content in tables.items():
        tables_of_it = content if isinstance(content, list) else [content]
        places = found.get(name, [(1, {})])
        if name not in SECTIONS or not all(isinstance(table, dict) for table in tables_of_it):
            near = get_close_matches(name, SECTIONS, 1)
            hint = f"; did you mean [{near[0]}]?" if near else f"; there are {', '.join(SECTIONS)}"
            raise SettingsError(f"{path}, line {places[0][0]}: there is no section [{name}]{hint}")
        if len(tables_of_it) > 1 and name != "worker_manager":
            raise SettingsError(f"{path}, line {places[1][0]}: there can be one [{name}] only")
        for number, table in enumerate(tables_of_it):
            line, lines = places[min(number, len(places) - 1)]
            sections.append(Section(path, name, line, _flat(table), lines))
    return sorted(sections, key=lambda section: section.line)


def choose(sections: list[Section], name: str, kind: str = "", manager: str = "") -> Section | None:
    """The section of a command; None if the file has none.

    Raises:
        SettingsError: there are several worker managers of that kind, and it was not said which.
    """
    its = [section for section in sections if section.name == name]
    if kind:
        its = [section for section in its if section.values.get("type") == kind]
        if manager:
            its = [section for section in its if section.values.get("worker_manager_id") == manager] or its[:0]
    if len(its) > 1:
        ids = ", ".join(str(section.values.get("worker_manager_id", "(none)")) for section in its)
        raise SettingsError(
            f"{its[0].path} has {len(its)} worker managers of type {kind}: {ids}; say which with --worker-manager-id"
        )
    return its[0] if its else None


def source(path: Path, name: str) -> Any:
    """What cyclopts asks for the values of a command: those of the section ``name`` in the file."""

    def apply(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        kind = commands[0] if commands else ""
        told = next((a for a in arguments if "--worker-manager-id" in a.names and a.tokens), None)
        section = choose(read_sections(path), name, kind, told.tokens[0].value if told is not None else "")
        if section is None:
            what = f"[[{name}]] of type {kind}" if kind else f"[{name}]"
            raise SettingsError(f"{path} has no {what}")
        section.apply(arguments, ignore=("type",))

    return apply


def _places(text: str) -> dict[str, list[tuple[int, dict[str, int]]]]:
    """For each section and each table of it, the lines of its header and of its keys."""
    found: dict[str, list[tuple[int, dict[str, int]]]] = {}
    keys: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            top, dot, _ = header[1].partition(".")
            if dot and top in found:
                keys = found[top][-1][1]  # a sub-table: part of it
            else:
                keys = {}
                found.setdefault(top, []).append((number, keys))
        elif key := _KEY.match(line):
            keys.setdefault(key[1].replace("-", "_"), number)
    return found


def _flat(table: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in table.items():
        values |= _flat(value) if isinstance(value, dict) else {key.replace("-", "_"): value}
    return values
