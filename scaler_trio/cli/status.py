"""``scaler status`` and ``scaler explain``: what a running scheduler says of itself and of a task."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

from scaler_protocol import messages as m
from scaler_protocol.messages import EventKind
from scaler_trio.cli.asking import NoAnswer, ask
from scaler_trio.cli.flags import Target
from scaler_trio.cli.tokens import known_token
from scaler_trio.net import Address
from scaler_trio.words import counted

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "work": ("python", "capabilities", "queued", "running", "seconds_each", "is_known"),
    "managers": (
        *("id", "kind", "name", "desired", "launching", "connected", "draining", "limit", "slots", "start_s"),
        *("problem", "reason"),
    ),
    "clients": ("session", "name", "is_connected", "unfinished", "oldest_task", "oldest_function"),
    "events": ("number", "seconds_ago", "kind", "subject", "text"),
}
"""Names for the cells of the answer's rows."""

FAILED: Final = 1


def status(
    address: Target,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    events: Annotated[int, Parameter(validator=Number(gte=0))] = 10,
    token_file: Path | None = None,
) -> int:
    """Show a running cluster: capacity by worker manager, work, clients, and what has happened last.

    Parameters
    ----------
    address
        Of the scheduler, or its monitor address: tcp://host:port.
    as_json
        Print one JSON object, with all events that are kept.
    events
        How many of the last events are shown.
    token_file
        File with the scheduler's secret; or set SCALER_TOKEN. That of a local scheduler is found without.
    """
    where = Address.parse(address)
    try:
        answer = ask(where, known_token(where, token_file), m.AskStatus(), m.ClusterStatus)
    except NoAnswer as error:
        sys.stderr.write(f"scaler: {error}\n")
        return FAILED
    if as_json:
        sys.stdout.write(json.dumps(as_dict(answer), indent=2, ensure_ascii=False) + "\n")
    else:
        show(answer, events, Console(highlight=False))
    return 0


def explain(
    address: Target,
    task: Annotated[int, Parameter(validator=Number(gte=0))],
    *,
    client: str = "",
    token_file: Path | None = None,
) -> int:
    """Say why a task is not done yet, and what has happened to it so far.

    Parameters
    ----------
    address
        Of the scheduler, or its monitor address: tcp://host:port.
    task
        Its number: task_id of its future, or the oldest task of a client as `scaler status` shows it.
    client
        Whose task: its name, or the first digits of its session; by default anybody's who has one of that number.
    token_file
        File with the scheduler's secret; or set SCALER_TOKEN. That of a local scheduler is found without.
    """
    where = Address.parse(address)
    try:
        answer = ask(where, known_token(where, token_file), m.ExplainTask(0, task, client), m.Explanation)
    except NoAnswer as error:
        sys.stderr.write(f"scaler: {error}\n")
        return FAILED
    sys.stdout.write(answer.text + "\n")
    return 0


def as_dict(answer: m.ClusterStatus) -> dict[str, Any]:
    """The answer with a name for every value, as JSON takes it."""
    found: dict[str, Any] = {}
    for field in attrs.fields(m.ClusterStatus):
        value = getattr(answer, field.name)
        if names := COLUMNS.get(field.name):
            value = [dict(zip(names, map(_readable, row), strict=True)) for row in value]
        found[field.name] = value
    for event in found["events"]:
        event["kind"] = EventKind(event["kind"]).name.lower()
    return found


def show(answer: m.ClusterStatus, events: int, console: Console) -> None:
    """Print the answer for people."""
    found = as_dict(answer)
    console.print(f"scheduler at {answer.address}, up {_span(answer.up_s)}, policy {answer.policy}", soft_wrap=True)
    console.print(_storage(answer), soft_wrap=True)
    leaving = f", {answer.draining} of them leave" if answer.draining else ""
    console.print(f"{counted(answer.workers, 'worker')} with {counted(answer.slots, 'slot')}{leaving}")
    nested = f", {answer.waiting} wait for tasks of their own" if answer.waiting else ""
    console.print(f"{counted(answer.running, 'task')} running, {answer.queued} queued{nested}")
    if found["managers"]:
        table = _table("Worker managers", "id", "desired", "launching", "connected", "draining", "limit", "start-up")
        for one in found["managers"]:
            limit = "any" if one["limit"] < 0 else str(one["limit"]) if one["limit"] else "fixed"
            start = f"{one['start_s']:.2g} s" if one["id"] else ""
            wanted = "–" if one["desired"] < 0 else str(one["desired"])
            counts = [str(one[key]) for key in ("launching", "connected", "draining")]
            table.add_row(one["id"] or "(none)", wanted, *counts, limit if one["id"] else "", start)
        console.print(table)
        for one in found["managers"]:
            for text in (one["problem"], one["reason"]):
                if text:
                    console.print(f"  {one['id']}: {text}", markup=False, soft_wrap=True)
    if found["work"]:
        table = _table("Work", "capabilities", "python", "queued", "running", "each")
        for one in found["work"]:
            each = f"{one['seconds_each']:.3g} s" if one["is_known"] else "not known"
            table.add_row(one["capabilities"] or "–", one["python"], str(one["queued"]), str(one["running"]), each)
        console.print(table)
    if found["clients"]:
        table = _table("Clients", "name", "session", "unfinished", "oldest task", "function")
        for one in found["clients"]:
            name = one["name"] if one["is_connected"] else f"{one['name']} (away)"
            oldest = str(one["oldest_task"]) if one["oldest_function"] else ""
            table.add_row(name, one["session"][:8], str(one["unfinished"]), oldest, one["oldest_function"])
        console.print(table)
        if answer.clients_left_out:
            console.print(f"  and {answer.clients_left_out} more, those of tasks included")
    if events and found["events"]:
        console.print("Last events")
        for one in found["events"][-events:]:
            ago = f"{_span(one['seconds_ago'])} ago"
            console.print(f"  {ago:>12}  {one['kind']} {one['subject']}: {one['text']}", markup=False, soft_wrap=True)


def _storage(answer: m.ClusterStatus) -> str:
    if not answer.storage_address:
        return "no object storage: values over 64 KiB cannot travel"
    if not answer.is_storage_connected:
        return f"object storage at {answer.storage_address}: the scheduler has no connection to it"
    memory, disk = answer.objects_memory_bytes / 1e6, answer.objects_disk_bytes / 1e6
    held = f"{counted(answer.objects, 'object')}, {memory:.0f} MB in memory, {disk:.0f} MB on disk"
    return f"object storage at {answer.storage_address}: {held}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    return table


def _readable(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
