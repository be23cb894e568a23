"""What goes wrong in a service."""


class ServiceError(Exception):
    """A service cannot go on, for no fault of ours; its text is for the operator."""
