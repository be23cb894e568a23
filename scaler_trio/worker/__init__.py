"""A worker: an agent on Trio, a template process that forks, and processors that run user code.

Light on purpose: the template and the processors import this package and must not pay for Trio. ``agent`` has the
shell, ``entry`` the process around it.
"""

from scaler_trio.worker.settings import WorkerSettings

__all__ = ["WorkerSettings"]
