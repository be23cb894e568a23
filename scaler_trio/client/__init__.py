"""The client: submits tasks, arrays and graphs, and brings their results to the user."""

from scaler_trio.client.async_client import AsyncClient, connect
from scaler_trio.client.client import Client
from scaler_trio.client.future import ScalerFuture

__all__ = ["AsyncClient", "Client", "ScalerFuture", "connect"]
