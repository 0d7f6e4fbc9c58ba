"""Result files of ``--json``: checked before hours of work, and written atomically after it."""

import json
import os
from pathlib import Path
from typing import Any

from polyclinic.files.atomic import atomic_file


def refuse_unwritable(path: Path | None) -> None:
    """Refuse a path at which no result can be written.

    Args:
        path: file that ``--json`` names; None when it is not set.

    Raises:
        ValueError: the path is a folder, is below a file, or is not writable.
    """
    if path is not None and not _can_be_written(path):
        raise ValueError(f"got {path.name!r}, expected a file that can be written; set `--json` to another")


def _can_be_written(path: Path) -> bool:
    try:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        place = path if path.exists() else folder
        return folder.is_dir() and not path.is_dir() and os.access(place, os.W_OK, effective_ids=True)
    except OSError:  # a parent folder without permission to search it
        return False


def write_result(path: Path, content: Any) -> None:
    """Write a result as JSON, atomically, and create missing parent folders.

    Raises:
        ValueError: the disk is full, or the folder was removed or made read-only meanwhile.
    """
    try:
        with atomic_file(path) as partial:
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except OSError as error:
        raise ValueError(
            f"{path.name} could not be written ({error.strerror}); the command itself is complete"
        ) from None
