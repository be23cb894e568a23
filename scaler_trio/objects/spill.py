"""Objects on disk: one file each, in a directory of this process's own, written once and then only read."""

import errno
import os
import shutil
import tempfile
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

from scaler_protocol.ids import ObjectId
from scaler_trio.objects.directories import ClaimedDirectory, claim_directory

DISK_SHARE: Final = 0.8
"""Of what the disk has free at the start: a full disk hurts others than us."""
_COPY_BYTES: Final = 8 * 1024 * 1024
"""Copied between two looks at whether we are to stop: some 10 ms on a disk that is not slow."""


class SpillStore(ABC):
    """Where spilled objects go: the seam at which tests put a disk that is full."""

    @abstractmethod
    def write(self, object_id: ObjectId, source: int, size_bytes: int) -> None:
        """Copy the first bytes of the file ``source`` to disk; blocks, for a thread.

        Raises:
            OSError: it is not on disk; nothing is left of it.
        """

    @abstractmethod
    def open_for_reading(self, object_id: ObjectId) -> int:
        """A read-only descriptor, which outlives ``delete``; the caller closes it. Raises ``OSError``."""

    @abstractmethod
    def delete(self, object_id: ObjectId) -> None:
        """Remove the file; who has it open may go on reading."""


class SpillFiles(SpillStore):
    """Files in a private directory, which a later start sweeps when this process did not."""

    def __init__(self, parent: Path | None = None) -> None:
        """Claim a directory in ``parent`` (default: ``/var/tmp``, which is a disk where ``/tmp`` may be memory).

        Raises:
            OSError: it cannot be made.
        """
        self._claim: ClaimedDirectory = claim_directory(parent or default_parent(), "spill-")
        self._stopping = threading.Event()

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._claim.path

    def free_bytes(self) -> int:
        """The share of the disk's free space that we allow ourselves."""
        return int(DISK_SHARE * shutil.disk_usage(self.directory).free)

    def write(self, object_id: ObjectId, source: int, size_bytes: int) -> None:
        path = self._path(object_id)
        try:
            with open(path, "xb", buffering=0, opener=_private) as file:
                self._copy(source, file.fileno(), size_bytes)
        except OSError:  # also from close: some file systems tell only then that the disk is full
            path.unlink(missing_ok=True)
            raise

    def open_for_reading(self, object_id: ObjectId) -> int:
        return os.open(self._path(object_id), os.O_RDONLY | os.O_CLOEXEC)

    def delete(self, object_id: ObjectId) -> None:
        self._path(object_id).unlink(missing_ok=True)

    def stop_writing(self) -> None:
        """Let a write that is going on in a thread fail soon."""
        self._stopping.set()

    def close(self) -> None:
        """Remove the directory; idempotent."""
        self._claim.close()

    def _copy(self, source: int, destination: int, size_bytes: int) -> None:
        offset = 0
        while offset < size_bytes:
            if self._stopping.is_set():
                raise OSError(errno.ECANCELED, "the server is stopping")
            copied = os.sendfile(destination, source, offset, min(_COPY_BYTES, size_bytes - offset))
            if not copied:
                raise OSError(errno.EIO, "the segment is shorter than its object")
            offset += copied

    def _path(self, object_id: ObjectId) -> Path:
        return self.directory / object_id.hex()


def default_parent() -> Path:
    """Where spilled objects go unless a server is told otherwise; need not exist."""
    root = Path("/var/tmp")
    if not os.access(root, os.W_OK | os.X_OK):
        root = Path(tempfile.gettempdir())
    return root / f"scaler-trio-{os.getuid()}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
