"""An object storage for tests: a directory, reached through the seam that processors use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaler_protocol import Buffer


class DirectoryStore:
    """Objects are files; ``address`` is the directory."""

    def __init__(self, address: str, token: bytes | None, session: bytes, role: int) -> None:
        self._directory = Path(address)
        self._session = session
        self._count = 0

    def write(self, parts: Sequence[Buffer], size_bytes: int) -> bytes:
        self._count += 1
        object_id = self._session + self._count.to_bytes(8, "big")
        path = self._directory / object_id.hex()
        path.write_bytes(b"".join(map(bytes, parts)))
        assert os.path.getsize(path) == size_bytes
        return object_id

    def read(self, object_id: bytes) -> memoryview:
        return memoryview(bytearray((self._directory / object_id.hex()).read_bytes()))

    def close(self) -> None:
        pass
