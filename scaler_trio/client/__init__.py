"""The client: submits tasks, arrays and graphs, and brings their results to the user."""

from scaler_trio.client.async_client import AsyncClient, connect
from scaler_trio.client.calls.future import ScalerFuture
from scaler_trio.client.calls.graph import node
from scaler_trio.client.calls.lazy_map import ResultIterator
from scaler_trio.client.calls.profiling import ProfilingInfo
from scaler_trio.client.client import Client
from scaler_trio.config.enclosing import waiting

__all__ = ["AsyncClient", "Client", "ProfilingInfo", "ResultIterator", "ScalerFuture", "connect", "node", "waiting"]
