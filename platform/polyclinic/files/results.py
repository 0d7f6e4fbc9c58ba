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
    if path is not None and (reason := _why_unwritable(path)):
        raise ValueError(f"got {path.name!r}, {reason}, expected a file that can be written; set `--json` to another")


def _why_unwritable(path: Path) -> str | None:
    try:
        above = next(parent for parent in path.absolute().parents if parent.exists())
        if not above.is_dir():
            return f"below the file {above.name!r}"
        if path.is_dir():
            return "a folder"
        place = path if path.exists() else above
        return None if os.access(place, os.W_OK, effective_ids=True) else f"without permission to write {place.name!r}"
    except OSError:
        return "below a folder without permission to search it"


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
