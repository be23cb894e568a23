"""What goes wrong in a worker manager."""

from scaler_trio.process.errors import ServiceError


class ManagerFailed(ServiceError):
    """The manager cannot go on: it is refused for good, or its settings make no sense. The text says what to do."""
