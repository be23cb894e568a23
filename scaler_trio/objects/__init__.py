"""Object storage: the server that holds what is too large for a message, and the side of those who use it."""

from scaler_trio.objects.errors import ObjectMissing, ObjectStoreError, ObjectStoreFull

__all__ = ["ObjectMissing", "ObjectStoreError", "ObjectStoreFull"]
