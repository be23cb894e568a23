"""The processor's way to the object storage, opened when the first large value comes along."""

import importlib
from collections.abc import Sequence
from typing import Any

from scaler_protocol import Buffer
from scaler_protocol.limits import INLINE_PAYLOAD_BYTES
from scaler_protocol.messages import Role
from scaler_trio.errors import ObjectLost, ObjectStorageFailed
from scaler_trio.objects.errors import ObjectMissing, ObjectStoreError
from scaler_trio.worker.errors import NoObjectStorage


class ObjectStore:
    """A sink and source for serialization; ``configure`` says where it is."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {}
        self._access: Any = None

    def configure(self, settings: dict[str, Any]) -> None:
        """Take ``address``, ``token``, ``session`` and ``access`` (``module:factory``); an open connection closes."""
        if settings != self._settings:
            self.close()
            self._settings = settings

    def write(self, parts: Sequence[Buffer], size_bytes: int, value: object) -> bytes:
        """Store an object; its id.

        Raises:
            NoObjectStorage: the scheduler named no server.
            ObjectStorageFailed: no room, or the server does not answer.
        """
        what = f"a value of {size_bytes} bytes (more than {INLINE_PAYLOAD_BYTES} travel inline)"
        access = self._connected(what)
        try:
            written: bytes = access.write(parts, size_bytes)
        except ObjectStoreError as error:
            raise ObjectStorageFailed(str(error)) from error
        return written

    def read(self, object_id: bytes) -> memoryview:
        """The whole object.

        Raises:
            NoObjectStorage: the scheduler named no server.
            ObjectLost: there is no such object any more.
        """
        access = self._connected("a stored argument")
        try:
            content: memoryview = access.read(object_id)
        except ObjectMissing as error:
            raise ObjectLost(str(error)) from error
        except ObjectStoreError as error:
            raise ObjectStorageFailed(str(error)) from error
        return content

    def close(self) -> None:
        """Close the connection, if there is one."""
        access, self._access = self._access, None
        if access is not None:
            access.close()

    def _connected(self, what: str) -> Any:
        if self._access is None:
            settings = self._settings
            if not settings.get("address"):
                raise NoObjectStorage(f"{what} needs an object storage server, and the scheduler named none")
            module, _, name = settings["access"].partition(":")
            factory = getattr(importlib.import_module(module), name)
            self._access = factory(settings["address"], settings["token"], settings["session"], Role.PROCESSOR)
        return self._access
