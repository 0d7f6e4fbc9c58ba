"""A private folder in memory, for plugins that read files; nothing of it outlives the service."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX, _LOCK = "polyclinic-serve-", "lock"


class Scratch:
    """The folder of one running service. What services that were killed left behind is removed first.

    Args:
        parent: where; memory where this system has a folder there, else the folder for temporary files.
    """

    def __init__(self, parent: Path | None = None) -> None:
        home = parent or _memory()
        _sweep(home)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
        self._lock = _locked(self.folder / _LOCK)
        assert self._lock is not None, "a new folder is nobody else's"

    def forget(self, name: str) -> None:
        """Remove what a killed process left in its folder."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _memory() -> Path:
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


def _sweep(home: Path) -> None:
    """The lock of a folder is free where its service has ended, however it ended."""
    for folder in home.glob(f"{_PREFIX}*"):
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
            continue
        if (lock := _locked(folder / _LOCK)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked(path: Path) -> int | None:
    """A lock that this process holds until it ends; None where another holds it."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
