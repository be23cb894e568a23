"""What may be asked for the calls of ``Client.options``, and how it is checked."""

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from attrs import evolve

from scaler_protocol import check_options
from scaler_protocol.messages import TaskOptions


class Options(TypedDict, total=False):
    """The keyword arguments of ``Client.options``."""

    priority: int
    timeout: float
    crash_limit: int
    capabilities: Mapping[str, int]


_FIELDS: Final = {"timeout": "timeout_s"}
"""Where the message's name is another one."""


def change_options(options: TaskOptions, changes: Mapping[str, Any]) -> TaskOptions:
    """The options with some changed.

    Raises:
        TypeError: there is no such option.
        ValueError: a value is of a wrong type or out of its bounds.
    """
    if unknown := sorted(changes.keys() - Options.__annotations__.keys()):
        raise TypeError(
            f"there is no option {', '.join(unknown)}; the options are {', '.join(sorted(Options.__annotations__))}"
        )
    fields = {_FIELDS.get(name, name): value for name, value in changes.items()}
    if "capabilities" in fields:
        capabilities = fields["capabilities"]
        if not isinstance(capabilities, Mapping):
            raise ValueError(f"capabilities is {capabilities!r}; it must be a mapping of names to amounts")
        fields["capabilities"] = tuple(capabilities.items())
    try:
        return check_options(evolve(options, **fields))
    except ValueError as error:
        raise ValueError(str(error).replace("timeout_s", "timeout")) from None
