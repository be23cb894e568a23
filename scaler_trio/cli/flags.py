"""Flags that several commands have, and the kinds of their values.

Each class of flags is taken apart by the command line: its fields are flags, keys of the settings file and variables of
the environment, their types and validators decide what is allowed, and the texts below them are the help.
"""

from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from attrs import frozen
from cyclopts import Parameter
from cyclopts.validators import Number

from scaler_trio.net import Address
from scaler_trio.process.logs import DAILY, MOST_BACKUPS, NEVER, LogSettings

Seconds: TypeAlias = Annotated[float, Parameter(validator=Number(gt=0))]
SecondsOrNone: TypeAlias = Annotated[float, Parameter(validator=Number(gte=0))]
Bytes: TypeAlias = Annotated[int, Parameter(validator=Number(gte=1))]
BytesOrNone: TypeAlias = Annotated[int, Parameter(validator=Number(gte=0))]


def _is_address(_: object, value: str | None) -> None:
    if value is not None:
        Address.parse(value)


def _has_port(_: object, value: str | None) -> None:
    if value is not None and not Address.parse(value).port:
        raise ValueError("Port 0 is none to connect to: write the port.")


Place: TypeAlias = Annotated[str, Parameter(validator=_is_address)]
"""An address to listen at, as ``tcp://host:port``; port 0 stands for any."""

Target: TypeAlias = Annotated[str, Parameter(validator=_has_port)]
"""An address that peers connect to."""

Level: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

TURN_BYTES: Final = {"daily": DAILY, "never": NEVER}


def _is_rotation(_: object, value: str) -> None:
    if value not in TURN_BYTES and not (value.isdecimal() and int(value)):
        raise ValueError("It is daily, never, or a number of bytes.")


@Parameter(name="*", group="Logging")
@frozen(kw_only=True)
class LoggingFlags:
    """What every command is told about its logs."""

    logging_level: Level = "INFO"
    """Least level of what is logged."""

    logging_paths: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = ("-",)
    """Where to, one or several: a file, or - for standard error. All processes of the service append to a file."""

    logging_format: Literal["text", "json"] = "text"
    """text for people; json for machines, an object a line."""

    logging_rotation: Annotated[str, Parameter(validator=_is_rotation)] = "daily"
    """When a file is turned over: daily, never, or at a number of bytes."""

    logging_backups: Annotated[int, Parameter(validator=Number(gte=0, lte=MOST_BACKUPS))] = 7
    """Files that are kept besides the present one; the newest ends in .1."""

    logging_config_file: Path | None = None
    """Configuration file of Python's logging, which takes the place of the other flags on logging."""

    def settings(self) -> LogSettings:
        """The same, for processes."""
        return LogSettings(
            self.logging_level,
            tuple(self.logging_paths),
            self.logging_format,
            TURN_BYTES[self.logging_rotation] if self.logging_rotation in TURN_BYTES else int(self.logging_rotation),
            self.logging_backups,
            str(self.logging_config_file.absolute()) if self.logging_config_file is not None else "",
        )


@Parameter(name="*")
@frozen(kw_only=True)
class SourceFlags:
    """Where else a command looks for its settings."""

    config: Annotated[Path | None, Parameter(name=("--config", "-c"))] = None
    """TOML file whose section of this command has what is not said here."""
