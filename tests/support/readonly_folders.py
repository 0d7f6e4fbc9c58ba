"""Folders that cannot be written, for root as well."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder unwritable; root, whom no mode stops, becomes another user meanwhile."""
    below, above = [folder, *folder.rglob("*")], [path for path in folder.parents if path != Path(path.anchor)]
    modes = {path: path.stat().st_mode for path in [*below, *above]}
    for path in below:
        path.chmod(0o555 if path.is_dir() else 0o444)
    user = os.geteuid()
    if not user:
        for path in above:
            path.chmod(modes[path] | 0o055)
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        for path, mode in modes.items():
            path.chmod(mode)
