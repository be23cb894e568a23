"""The functions that a processor has been given."""

from collections.abc import Callable
from typing import Any

from scaler_protocol.messages import Outcome
from scaler_trio.errors import CannotUnpickle
from scaler_trio.serialization import load_classes, load_function
from scaler_trio.worker.channel import Manner
from scaler_trio.worker.control_page import HAS_PROFILE
from scaler_trio.worker.processor.marker import Marker
from scaler_trio.worker.processor.profile import Meter
from scaler_trio.worker.processor.results import dump_failure


class Functions(dict[int, Callable[[Any], Any]]):
    """Loaded functions by key. Loading is the first call's work, within its item's window: it may run user code."""

    def __init__(self, marker: Marker) -> None:
        super().__init__()
        self._marker = marker
        self.payloads: dict[int, memoryview] = {}
        self.manners: dict[int, Manner] = {}  # of those that are not called plainly
        self._meter = Meter()
        self._failure: BaseException | None = None  # what was raised last, of those that allow another run

    def __missing__(self, key: int) -> Callable[[Any], Any]:
        try:
            function = load_function(self.payloads[key])
            manner = self.manners.get(key)
            if manner is not None:
                function = self._in_manner(function, manner)
        except CannotUnpickle as error:
            text = str(error)

            def function(row: Any) -> Any:
                raise CannotUnpickle(text)

        self[key] = function
        return function

    def forget(self, key: int) -> None:
        """No item will name it again."""
        self.payloads.pop(key, None)
        self.manners.pop(key, None)
        self.pop(key, None)

    def failed(self, error: BaseException) -> tuple[bytes, int]:
        """Payload and outcome, with flags, of an item that raised."""
        failure, self._failure = self._failure, None
        outcome = int(Outcome.RETRY if failure is error else Outcome.ERROR)
        profile = self._meter.take_failed(error)
        if profile:
            outcome |= HAS_PROFILE
        return dump_failure(error) + profile, outcome

    def _in_manner(self, function: Callable[[Any], Any], manner: Manner) -> Callable[[Any], Any]:
        if manner.retry_on is not None:
            function = self._retried(function, load_classes(manner.retry_on))
        if manner.profiled:
            function = self._meter.measured(function)
        if manner.streamed:
            function = self._marker.marked(function)
        return function

    def _retried(
        self, function: Callable[[Any], Any], classes: tuple[type[BaseException], ...]
    ) -> Callable[[Any], Any]:
        def call(row: Any) -> Any:
            try:
                return function(row)
            except classes as error:
                self._failure = error
                raise

        return call
