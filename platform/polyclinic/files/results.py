"""The file that ``--json`` names: whether it can be written is asked before hours of work, not after."""

import json
import os
from pathlib import Path
from typing import Any

from polyclinic.files.atomic import atomic_file


def refuse_unwritable(path: Path | None) -> None:
    """Stop where a result could not be written.

    Raises:
        ValueError: it is a folder, lies below a file, or may not be written.
    """
    if path is not None and not _can_be_written(path):
        raise ValueError(f"got {path.name!r}, expected a file that can be written; set `--json` to another")


def _can_be_written(path: Path) -> bool:
    try:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        place = path if path.exists() else folder
        return folder.is_dir() and not path.is_dir() and os.access(place, os.W_OK, effective_ids=True)
    except OSError:  # a folder that may not even be looked into
        return False


def write_result(path: Path, content: Any) -> None:
    """Write a result, whole or not at all, with the folders that lead to it.

    Raises:
        ValueError: the disk is full, or the folder was taken away meanwhile.
    """
    try:
        with atomic_file(path) as partial:
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path.name} could not be written ({error.strerror}); the command itself is done") from None
