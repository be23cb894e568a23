"""Directories that belong to one process, and that any later start sweeps away when that process is gone.

A process holds a lock on its directory as long as it lives, however it ends. Making and sweeping are done under a lock
on the directory above, so that nobody sweeps one between its creation and its lock.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from attrs import define

from scaler_trio.config.runtime import runtime_path


@define
class ClaimedDirectory:
    """A private directory (0700); ``close`` removes it with all it holds."""

    path: Path
    _lock: int  # the directory itself, opened

    def close(self) -> None:
        """Remove it; idempotent."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def runtime_directory() -> Path:
    """Where this user's services keep sockets: below ``XDG_RUNTIME_DIR`` or the temporary directory, 0700.

    Raises:
        OSError: it cannot be made, or belongs to somebody else.
    """
    return private_directory(runtime_path())


def private_directory(path: Path) -> Path:
    """Make ``path`` unless it is there, for this user only.

    Raises:
        OSError: it cannot be made, or belongs to somebody else, who could then exchange what is in it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat(follow_symlinks=False)
    if status.st_uid != os.getuid() or not path.is_dir() or path.is_symlink():
        raise PermissionError(f"{path} belongs to somebody else: remove it, or choose another directory")
    if status.st_mode & 0o077:
        path.chmod(0o700)
    return path


def claim_directory(parent: Path, prefix: str) -> ClaimedDirectory:
    """Make a directory in ``parent`` for this process, after removing those whose processes are gone.

    Raises:
        OSError: it cannot be made.
    """
    private_directory(parent)
    gate = _open(parent)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        _sweep(parent, prefix)
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _open(path)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return ClaimedDirectory(path, lock)
    finally:
        os.close(gate)


def sweep_directory(parent: Path, prefix: str) -> None:
    """Remove from ``parent`` the directories whose processes are gone; nothing happens if there is no ``parent``."""
    try:
        gate = _open(parent)
    except OSError:
        return
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        _sweep(parent, prefix)
    finally:
        os.close(gate)


def _sweep(parent: Path, prefix: str) -> None:
    for path in parent.glob(f"{prefix}*"):
        try:
            lock = _open(path)
        except OSError:
            continue  # not a directory of ours, or just removed by its process
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # its process lives
        else:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _open(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
