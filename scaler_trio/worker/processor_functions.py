"""The functions that a processor has been given."""

from collections.abc import Callable
from typing import Any

from scaler_trio.errors import CannotUnpickle
from scaler_trio.serialization import load_function


class Functions(dict[int, Callable[[Any], Any]]):
    """Loaded functions by key. Loading is the first call's work, within its item's window: it may run user code."""

    def __init__(self) -> None:
        super().__init__()
        self.payloads: dict[int, memoryview] = {}

    def __missing__(self, key: int) -> Callable[[Any], Any]:
        try:
            function = load_function(self.payloads[key])
        except CannotUnpickle as error:
            text = str(error)

            def function(row: Any) -> Any:
                raise CannotUnpickle(text)

        self[key] = function
        return function

    def forget(self, key: int) -> None:
        """No item will name it again."""
        self.payloads.pop(key, None)
        self.pop(key, None)
