"""What may be asked for the calls of ``Client.options``, and how it is checked."""

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from attrs import evolve

from scaler_protocol import check_options
from scaler_protocol.messages import TaskOptions
from scaler_trio.serialization import dump_classes


class Options(TypedDict, total=False):
    """The keyword arguments of ``Client.options``."""

    priority: int
    timeout: float
    max_retries: int
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    crash_limit: int
    capabilities: Mapping[str, int]
    profiling: bool
    stream_output: bool
    name: str


_FIELDS: Final = {"timeout": "timeout_s"}
"""Where the message's name is another one."""

_AMOUNT_MAX: Final = (1 << 63) - 1
"""Larger integers do not travel: the connection would break on them."""


def change_options(options: TaskOptions, changes: Mapping[str, Any]) -> TaskOptions:
    """The options with some changed.

    Raises:
        TypeError: there is no such option.
        ValueError: a value is of a wrong type or out of its bounds.
        CannotPickle: an exception class in ``retry_on``.
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
        for name, amount in capabilities.items():
            if isinstance(amount, int) and not -1 <= amount <= _AMOUNT_MAX:
                text = "an amount is at least 0, or -1 for just the name, and below 2 ** 63"
                raise ValueError(f"capabilities asks for {name!r}: {amount}; {text}")
        fields["capabilities"] = tuple(capabilities.items())
    if changes.get("max_retries") == 0 and "retry_on" not in fields:
        fields["retry_on"] = b""  # they are switched off, and what they were about has no meaning any more
    elif "retry_on" in fields:
        fields["retry_on"] = _dump_retry_on(fields["retry_on"])
    try:
        changed = check_options(evolve(options, **fields))
    except ValueError as error:
        raise ValueError(str(error).replace("timeout_s", "timeout")) from None
    if changed.retry_on and not changed.max_retries:
        raise ValueError("retry_on says after what a task is run again, and max_retries, which is 0, how often")
    return changed


def shown_option(options: TaskOptions, name: str) -> str:
    """An option's value, for people."""
    value = getattr(options, _FIELDS.get(name, name))
    if name == "capabilities":
        value = dict(value)
    return "…" if isinstance(value, bytes) and value else repr(value)  # pickled classes


def _dump_retry_on(given: Any) -> bytes:
    classes = given if isinstance(given, tuple) else (given,)
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise ValueError(f"retry_on is {given!r:.100}; it must be an exception class or a tuple of them")
    if not classes:
        raise ValueError("retry_on is empty; without retries leave max_retries at 0")
    return dump_classes(classes)
