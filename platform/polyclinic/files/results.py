"""Outputs of commands: refused before hours of work where they cannot be written, and written atomically after it."""

import json
import os
from pathlib import Path
from typing import Any

from polyclinic.files.atomic import atomic_file


def refuse_unwritable(path: Path | None, setting: str = "--json") -> None:
    """Refuse a path at which no result can be written.

    Args:
        path: file that the setting names; None when it is not set.
        setting: option or argument with the path.

    Raises:
        ValueError: the path is a folder, is below a file, or is not writable.
    """
    if path is not None and (reason := "a folder" if _is_folder(path) else _why_unwritable(path)):
        raise ValueError(
            f"got {path.name!r}, {reason}, expected a file that can be written; set `{setting}` to another"
        )


def refuse_used_folder(folder: Path, setting: str = "--out") -> None:
    """Refuse a folder that a command cannot fill.

    Args:
        folder: folder that the setting names.
        setting: option or argument with the folder.

    Raises:
        ValueError: the folder is not empty, is a file or below one, or is not writable.
    """
    if _is_folder(folder) and os.access(folder, os.R_OK, effective_ids=True) and any(folder.iterdir()):
        raise ValueError(f"got folder {folder.name!r}, which is not empty; set `{setting}` to a new folder")
    if reason := "a file" if folder.is_file() else _why_unwritable(folder):
        raise ValueError(
            f"got folder {folder.name!r}, {reason}, expected a folder that can be written; set `{setting}` to another"
        )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _why_unwritable(path: Path) -> str | None:
    try:
        above = next(parent for parent in path.absolute().parents if parent.exists())
        if not above.is_dir():
            return f"below the file {above.name!r}"
        place = path if path.exists() else above
        # A file is replaced, and a folder is made, by writing to the folder above.
        places = [place, above]
        refused = [each for each in places if not os.access(each, os.W_OK, effective_ids=True)]
        return f"without permission to write {refused[0].name!r}" if refused else None
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
