"""Confinement of the worker processes: memory limits, no network, and a private folder in memory."""

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


_FILES = 64


def ignore_signals() -> None:
    """Ctrl-C and a service manager's SIGTERM reach every process of the group; only the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def quieten() -> None:
    """Warnings of decoders, and what C libraries print, may hold what a header holds: a patient."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def confine(*, memory: int, largest: int) -> None:
    """Limit this process.

    Args:
        memory: bytes that it may map beyond what it shares with the others.
        largest: bytes of a file that it writes.
    """
    _lower(resource.RLIMIT_AS, _mapped() + memory)
    _lower(resource.RLIMIT_FSIZE, largest)
    _lower(resource.RLIMIT_NOFILE, _FILES)
    _lower(resource.RLIMIT_CORE, 0)


def allow_seconds(seconds: int) -> None:
    """Let this process compute for so long from now on; then it is ended by SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    lowered = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (lowered, lowered))


def _mapped() -> int:
    with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123 - read once, no path to build
        return int(stream.read().split()[0]) * resource.getpagesize()
