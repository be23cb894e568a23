"""The client: submits tasks, arrays and graphs, and brings their results to the user."""

from scaler_trio.client.async_client import AsyncClient, connect
from scaler_trio.client.client import Client
from scaler_trio.client.future import ScalerFuture
from scaler_trio.client.graph import node
from scaler_trio.client.lazy_map import ResultIterator
from scaler_trio.client.profiling import ProfilingInfo

__all__ = ["AsyncClient", "Client", "ProfilingInfo", "ResultIterator", "ScalerFuture", "connect", "node"]
