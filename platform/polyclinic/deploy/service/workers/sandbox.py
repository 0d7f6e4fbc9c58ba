"""Confinement of the worker processes: resource limits, no output, and a private folder in memory."""

import fcntl
import logging
import os
import resource
import shutil
import signal
import tempfile
import warnings
from pathlib import Path

_PREFIX, _LOCK = "polyclinic-serve-", "lock"


class Scratch:
    """The temporary folder of a service; folders left behind by killed services are removed first.

    Args:
        parent: parent folder; by default /dev/shm if it is writable, else the folder for temporary files.
    """

    def __init__(self, parent: Path | None = None) -> None:
        home = parent or _default_parent()
        _remove_stale(home)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
        self._lock = _try_lock(self.folder / _LOCK)
        assert self._lock is not None, "a new folder is not locked"

    def forget(self, name: str) -> None:
        """Remove the folder of a killed process."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder of the service and release its lock."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _default_parent() -> Path:
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


def _remove_stale(home: Path) -> None:
    """Remove folders of ended services: the kernel released their locks, however they ended."""
    for folder in home.glob(f"{_PREFIX}*"):
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
            continue
        if (lock := _try_lock(folder / _LOCK)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _try_lock(path: Path) -> int | None:
    """Lock a file until this process ends; None if another process holds the lock."""
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


_MAX_OPEN_FILES = 64


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM: they reach every process of the group, but the front process decides when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def quieten() -> None:
    """Discard all output: warnings and messages of decoders may quote a header, and so a patient."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def confine(*, memory: int, largest: int) -> None:
    """Limit the memory, written files, open files and core dumps of this process.

    Args:
        memory: maximum memory in bytes beyond that mapped already.
        largest: maximum size of a written file in bytes.
    """
    _lower_limit(resource.RLIMIT_AS, _mapped_bytes() + memory)
    _lower_limit(resource.RLIMIT_FSIZE, largest)
    _lower_limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    _lower_limit(resource.RLIMIT_CORE, 0)


def allow_seconds(seconds: int) -> None:
    """Limit the CPU time of this process from now on; SIGXCPU ends it afterwards."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


def _lower_limit(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    lowered = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (lowered, lowered))


def _mapped_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123 - read once, no path to build
        return int(stream.read().split()[0]) * resource.getpagesize()
