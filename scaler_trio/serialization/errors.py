"""What cannot be pickled, or not unpickled, named by its place in the call."""

from scaler_trio.errors import ScalerError


class SerializationError(ScalerError):
    """A value cannot travel; raised only as one of its subclasses."""


class CannotPickle(SerializationError):
    """A function, an argument or a result cannot be pickled; the text names it and the cause."""


class CannotUnpickle(SerializationError):
    """What arrived cannot be unpickled here: most often a module that this machine lacks; the text names it."""


class RemoteTraceback(Exception):
    """The ``__cause__`` of an exception that a task raised: its traceback, as text, from where it happened."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class RemoteError(Exception):
    """Stands for an exception which could not be pickled.

    Attributes:
        type_name: the qualified name of the original's type.
        traceback_text: its traceback where it was raised.
    """

    def __init__(self, message: str, type_name: str = "", traceback_text: str = "") -> None:
        super().__init__(message, type_name, traceback_text)
        self.type_name = type_name
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        return str(self.args[0])
