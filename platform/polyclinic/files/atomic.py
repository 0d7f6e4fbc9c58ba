"""Atomic writes: files and folders get their final name only once they are complete."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial"
_LONGEST_NAME = 60
"""Characters of up to four bytes, of which a file system takes 255."""


@contextmanager
def atomic_file(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path, and rename it to ``path`` when the block ends without an error.

    Missing parent folders are created. After an error, an earlier file at ``path`` is unchanged.

    Args:
        path: file to write; an existing one is replaced.
        shared: whether other processes may write the same file at the same time.

    Raises:
        OSError: the file cannot be written.
    """
    writer = f".{os.getpid()}" if shared else ""
    partial = _nearest_folder(path) / f".{path.name}{writer}{PARTIAL}"
    partial.unlink(missing_ok=True)
    try:
        yield partial
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, mode: int = 0o777) -> Iterator[Path]:
    """Yield an empty temporary folder, and rename it to ``path`` when the block ends without an error.

    Missing parent folders are created. After an error nothing remains; the remains of a killed process are removed by
    the next write to the same path.

    Args:
        path: folder to write, missing or empty.
        mode: permissions of the folder, before the umask.

    Raises:
        OSError: the folder cannot be written, or is not empty.
    """
    nearest = _nearest_folder(path)
    # With the names of missing parents: `a/cohort` and `b/cohort` may be written at the same time.
    missing = ".".join(path.absolute().relative_to(nearest).parts)
    partial = nearest / f".{missing[-_LONGEST_NAME:]}{PARTIAL}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=mode)
    try:
        yield partial
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.rmdir()
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _nearest_folder(path: Path) -> Path:
    """Return the closest existing parent: it is on the file system of the path, so that the rename is atomic."""
    return next(parent for parent in path.absolute().parents if parent.is_dir())
