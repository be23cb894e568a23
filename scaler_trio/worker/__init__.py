"""A worker: an agent on Trio, a template process that forks, and processors that run user code.

Light on purpose: the template and the processors import this package and must not pay for Trio. ``entry`` is the
worker's process, ``agent`` what it does on Trio, ``core`` what it decides, ``processor`` the processes that it has.
``control_page``, ``channel`` and ``streams`` are what passes between agent and processors.
"""

from scaler_trio.worker.settings import WorkerSettings

__all__ = ["WorkerSettings"]
