"""Files and folders that get their name when they are complete, so that nobody reads half of one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial"


@contextmanager
def atomic_file(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a path to write to, and rename what was written when the block ends without an error.

    Folders that lead to the file are made. After an error nothing is left but what was there before.

    Args:
        path: of the file; one that exists is replaced.
        shared: whether other processes may write the same file at the same time.

    Raises:
        OSError: it cannot be written.
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
    """Yield an empty folder to write to, and rename it when the block ends without an error.

    Folders that lead to it are made. After an error nothing is left. Where a process was killed, the next one removes
    what it had written.

    Args:
        path: of the folder, which is not there yet, or empty.
        mode: its permissions, of which the umask takes some.

    Raises:
        OSError: it cannot be written, or something is in the folder.
    """
    partial = _nearest_folder(path) / f".{path.name}{PARTIAL}"
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
    """The folder above a path that is there already: on the file system of the path, so that a rename is atomic."""
    return next(parent for parent in path.absolute().parents if parent.is_dir())
