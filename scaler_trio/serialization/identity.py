"""What both ends must share for a pickle of one to load at the other."""

import sys

import cloudpickle


def python_identity() -> str:
    """This process's Python and cloudpickle, as they stand in the handshake: ``3.11/cloudpickle 3.1``."""
    major, minor = cloudpickle.__version__.split(".")[:2]
    return f"{sys.version_info.major}.{sys.version_info.minor}/cloudpickle {major}.{minor}"
