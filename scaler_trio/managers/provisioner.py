"""The seam between a worker manager and what it starts units with: processes here, a cloud, a batch system."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, TypeAlias

from scaler_trio.managers.core.events import Ended, Failed, Found

Tell: TypeAlias = Callable[[Found | Ended | Failed], None]


class Provisioner(ABC):
    """Starts and ends units, and knows which there are. All calls come from one Trio task at a time."""

    kind: ClassVar[str]
    """As in ``scaler_worker_manager <kind>``."""

    @abstractmethod
    async def run(self, tell: Tell) -> None:
        """Work until cancelled. The first that it tells is ``Found``, which includes units of an earlier manager.

        Raises:
            ServiceError: it will never work; the text says what to do.
        """

    @abstractmethod
    def start(self, unit: str) -> None:
        """Start a unit; must not wait. If that fails, or when the unit ends, ``Ended`` is told."""

    @abstractmethod
    def end(self, unit: str) -> None:
        """End a unit, busy or not; must not wait. ``Ended`` is told when it is gone."""

    @abstractmethod
    async def close(self) -> None:
        """End everything that it has started, and wait until that is gone; called once, after ``run``."""
