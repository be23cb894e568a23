"""``scaler``: a whole cluster from one TOML file; writing and checking such files."""

import logging
import sys
from pathlib import Path
from typing import Any, Final

from cyclopts import App, CycloptsError

from scaler_trio.cli import object_storage, scheduler, worker_manager
from scaler_trio.cli.bench import bench
from scaler_trio.cli.command import PARENT, make_app, run, sentence
from scaler_trio.cli.flags import LoggingFlags
from scaler_trio.cli.settings_file import Section, SettingsError, read_sections
from scaler_trio.cli.status import explain, status
from scaler_trio.cluster.leftovers import sweep_leftovers
from scaler_trio.cluster.supervision import Job, Supervision
from scaler_trio.process.forking import be_init
from scaler_trio.process.lineage import set_title
from scaler_trio.process.logs import configure_logging
from scaler_trio.process.running import run_service
from scaler_trio.scheduler.policy.loading import DEFAULT_CONTENT, DEFAULT_ENGINE, load_policy

HELP = """Run a whole cluster from one TOML file: object storage server, scheduler, and worker managers.

Example: scaler cluster.toml
"""

TEMPLATE: Final = """\
# A cluster on one machine; run it with `scaler FILE`. Each key is a flag of the section's command: see
# scaler_object_storage_server --help, scaler_scheduler --help, scaler_worker_manager baremetal_native --help.

[object_storage_server]
bind_address = "tcp://127.0.0.1:2346"
# memory_bytes = 8_000_000_000

[scheduler]
bind_address = "tcp://127.0.0.1:2345"
object_storage_address = "tcp://127.0.0.1:2346"
# worker_timeout_seconds = 10
# policy_engine_type = "simple"
# policy_content = "allocate=even_load; scaling=vanilla"

[[worker_manager]]
type = "baremetal_native"
scheduler_address = "tcp://127.0.0.1:2345"
worker_manager_id = "native"
# mode = "dynamic"  # or "fixed"
# max_task_concurrency = 8
# per_worker_capabilities = "linux,gpu=1"
"""

COMMANDS: Final[dict[str, tuple[str, App]]] = {
    "object_storage_server": ("object_storage", object_storage.app),
    "scheduler": ("scheduler", scheduler.app),
    "worker_manager": ("worker_manager", worker_manager.app),
}
"""Of each section that is started, in the order of their start: module and app of its command."""

LISTENING: Final = ("object_storage_server", "scheduler")

_PROGRAM: Final = "import sys; sys.argv[0] = {name!r}; from scaler_trio.cli.{module} import main; main()"

log = logging.getLogger("scaler_trio.service")

app = make_app("scaler", HELP, epilogue="")


@app.default
def start(file: Path, *, logs: LoggingFlags = LoggingFlags()) -> int:
    """Run the services of a file until SIGTERM, SIGINT or SIGHUP.

    They are started in the order in which they need each other. One that fails is started again, at most five times a
    minute; past that all of them are stopped, and the exit code is that of the one that failed.

    Parameters
    ----------
    file
        TOML, with the sections object_storage_server, scheduler, and any number of worker_manager.
    """
    sections = checked(file)
    be_init()
    configure_logging(logs.settings(), "scaler")
    set_title("scaler")
    jobs = [job(section) for name in COMMANDS for section in sections if section.name == name]
    if not jobs:
        raise SettingsError(f"{file} has no section to start; write [{'], ['.join(COMMANDS)}]")
    for section in sections:
        if section.name not in COMMANDS:
            log.info("[%s] is not started by this command", section.name)
    result: list[Supervision] = []

    async def main() -> None:
        result.append(Supervision(jobs, PARENT, as_json=logs.logging_format == "json"))
        await result[0].run()

    code = run_service(main) or result[0].code
    sweep_leftovers()  # of services that were killed
    return code


app.command(status)
app.command(explain)
app.command(bench)


@app.command
def init(file: Path | None = None) -> int:
    """Write a commented file to begin with.

    Parameters
    ----------
    file
        Where to; it must not exist. By default it is printed.
    """
    if file is None:
        sys.stdout.write(TEMPLATE)
        return 0
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(TEMPLATE)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}") from error
    sys.stdout.write(f"{file} is written; run it with: scaler {file}\n")
    return 0


@app.command
def check(file: Path) -> int:
    """Say whether a file can be run, without starting anything.

    Parameters
    ----------
    file
        As for scaler FILE.
    """
    sections = checked(file)
    sys.stdout.write(f"{file}: {len(sections)} sections, no mistake found\n")
    return 0


def checked(file: Path) -> list[Section]:
    """The sections of a file, each as its command would take it.

    Raises:
        SettingsError: the first mistake, with its line.
    """
    sections = read_sections(file)
    ids: set[object] = set()
    for section in sections:
        if section.name not in COMMANDS:
            continue
        if section.name == "worker_manager":
            kinds = [name for name in worker_manager.app if not name.startswith("-")]
            if (kind := section.values.get("type")) not in kinds:
                has = f"type is {kind!r}" if kind is not None else "there is no type"
                raise SettingsError(f"{section.where('type')}: {has}; it is one of {', '.join(kinds)}")
            name = section.values.get("worker_manager_id", "native")
            if name in ids:
                raise SettingsError(f"{section.where('worker_manager_id')}: there is a worker manager {name!r} already")
            ids.add(name)
        _check(section)
    return sections


def job(section: Section) -> Job:
    """How the service of a section is started."""
    module, command = COMMANDS[section.name]
    program = _PROGRAM.format(name=command.name[0], module=module)
    name = str(section.values.get("worker_manager_id", "native")) if section.name == "worker_manager" else section.name
    return Job(name, [sys.executable, "-c", program, *_arguments(section)], section.name in LISTENING)


def _arguments(section: Section) -> list[str]:
    arguments = ["--config", str(section.path)]
    if section.name == "worker_manager":
        arguments = [str(section.values["type"]), *arguments]
        if "worker_manager_id" in section.values:
            arguments += ["--worker-manager-id", str(section.values["worker_manager_id"])]
    return arguments


def _check(section: Section) -> None:
    command = COMMANDS[section.name][1]

    def values(app: App, commands: tuple[str, ...], arguments: Any) -> None:
        section.apply(arguments, ignore=("type",))

    command.config = (values,)
    tokens = [str(section.values["type"])] if section.name == "worker_manager" else []
    try:
        command.parse_args(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise SettingsError(f"{section.where()}, [{section.name}]: {sentence(error)}") from error
    if section.name == "scheduler":
        engine, content = section.values.get("policy_engine_type"), section.values.get("policy_content")
        try:
            load_policy(str(engine or DEFAULT_ENGINE), str(content or DEFAULT_CONTENT))
        except ValueError as error:
            raise SettingsError(f"{section.where('policy_content')}: {error}") from error


def main() -> None:
    """The command's entry point."""
    run(app, "")
