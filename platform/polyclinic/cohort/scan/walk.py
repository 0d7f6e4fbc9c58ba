"""List the files of a folder in a fixed order, without following links."""

import os
import stat
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from polyclinic.cohort.files import is_hidden
from polyclinic.cohort.scan.left_out import LeftOut


class Entry(NamedTuple):
    """A file: its path relative to the folder, with slashes, and its size in bytes."""

    path: str
    size: int


def stem_of(path: str) -> str:
    """Return a file name without its suffix; digits after a dot belong to the name, as in UIDs."""
    pure = PurePosixPath(path)
    return pure.name if pure.suffix[1:].isdigit() else pure.stem


def walk(folder: Path, left_out: LeftOut) -> list[Entry]:
    """Return the regular files below a folder, ordered by path, and add all others to ``left_out``."""
    entries: list[Entry] = []
    root, waiting = folder.resolve(), [""]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(folder / place) as found:
                children = sorted(found, key=lambda child: child.name)
        except OSError:
            left_out.add("unreadable-folder", _shown(place))
            continue
        for child in children:
            path = f"{place}/{child.name}" if place else child.name
            try:
                reason = _reason(child, root)
            except OSError:
                reason = "unreadable"
            if reason:
                left_out.add(reason, _shown(path))
            elif child.is_dir(follow_symlinks=False):
                waiting.append(path)
            else:
                entries.append(Entry(path, child.stat(follow_symlinks=False).st_size))
    return sorted(entries)


def _reason(child: os.DirEntry[str], root: Path) -> str:
    """Return the reason to leave an entry of a folder out; empty for a folder or a file to read."""
    mode = child.stat(follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        try:
            target = Path(child.path).resolve(strict=True)
        except (OSError, RuntimeError):  # it leads nowhere, or to itself
            return "link-leaves-folder"
        return "link" if target.is_relative_to(root) else "link-leaves-folder"
    if is_hidden(child.name):
        return "hidden"
    if child.name != child.name.strip() or not child.name.isprintable():
        return "unusable-name"
    if stat.S_ISDIR(mode):
        return ""
    if not stat.S_ISREG(mode):
        return "not-a-file"
    return "" if child.stat(follow_symlinks=False).st_size else "empty"


def _shown(path: str) -> str:
    """Return a path as text, where bytes that are not UTF-8 are escaped."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
