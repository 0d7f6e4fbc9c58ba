"""Find the files that a cohort's table refers to, by path or by template."""

import fnmatch
import glob
import os
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

_WILDCARD = re.compile(r"[*?\[]")
_EXTENSION = re.compile(r"(?:\.[^.]*)?(?:\.(?:gz|bz2|xz|zst))?$", re.IGNORECASE)
_DESKTOP_FILES = frozenset({"thumbs.db", "desktop.ini", ".ds_store"})

_Form = Callable[[str], str]
"""Normal form of a name: two names match when their forms are equal."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """Path with columns in braces, such as ``images/{id}.*``.

    Attributes:
        pieces: pairs of literal text and the column that follows it, None at the end.
    """

    pieces: tuple[tuple[str, str | None], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order of the template."""
        return tuple(column for _, column in self.pieces if column is not None)

    @property
    def has_wildcard(self) -> bool:
        """Whether the literal text has a wildcard; wildcard characters in cells are taken literally."""
        return any(_WILDCARD.search(literal) for literal, _ in self.pieces)

    def fill(self, row: Mapping[str, str]) -> str | None:
        """Fill the template from a row, escaping cells if it has a wildcard; return None where a cell is empty."""
        if not all(row[column] for column in self.columns):
            return None
        escape = glob.escape if self.has_wildcard else str
        return "".join(literal + (escape(row[column]) if column else "") for literal, column in self.pieces)


def read_template(text: str, setting: str) -> Template:
    """Parse the template of a setting.

    Raises:
        ValueError: unbalanced braces, a field without a column, or a field with a format.
    """
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(
            f"got unbalanced braces in `{setting}` ({error}); write columns as {{name}}, and double a literal brace of "
            "the path"
        ) from None
    for _, column, form, conversion in parsed:
        if column is not None and (not column or column.isdecimal()):
            raise ValueError(f"got {{{column}}} in `{setting}`, expected the name of a column between the braces")
        if form or conversion:
            raise ValueError(
                f"got a format after {column!r} in `{setting}`, expected {{{column}}}: cells are text, which has no "
                "number format; write the cells as the files are named, including leading zeros"
            )
    return Template(pieces=tuple((literal, column) for literal, column, _, _ in parsed))


class Ambiguous(Exception):
    """Raised where several files match; the argument is their number."""


class FileFinder:
    """Find files below a folder, listing each folder once.

    A name is matched exactly, else in another Unicode form, else with its extension in another case. Wildcards match
    neither hidden files nor those that desktops leave behind (``Thumbs.db``, ``._x``).

    Args:
        root: base folder of relative paths.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listings: dict[Path, _Listing] = {}

    def find(self, path: str, *, pattern: bool) -> Path | None:
        """Return the only file that matches a path; None where no file does.

        Args:
            path: path relative to the root, or absolute.
            pattern: whether ``*``, ``?``, ``[...]`` and ``**`` in the path are wildcards.

        Raises:
            Ambiguous: several files match.
        """
        exact = self._root / path
        if not pattern and _is_file(exact):
            return exact
        for same in (_exact, _composed, _extension_folded):
            if matches := sorted(self._walk(path, same, pattern=pattern)):
                if len(matches) > 1:
                    raise Ambiguous(len(matches))
                return matches[0]
        return None

    def near(self, path: str, *, pattern: bool) -> list[Path]:
        """Return the files that match when the case of letters is ignored."""
        return sorted(self._walk(path, _folded, pattern=pattern))

    def _walk(self, path: str, same: _Form, *, pattern: bool) -> Iterator[Path]:
        start = Path("/") if path.startswith("/") else self._root
        parts = [part for part in path.split("/") if part not in ("", ".")]
        return self._below(start, parts, same, pattern=pattern) if parts else iter(())

    def _below(self, folder: Path, parts: Sequence[str], same: _Form, *, pattern: bool) -> Iterator[Path]:
        part, rest = parts[0], parts[1:]
        if pattern and part == "**" and rest:
            for below in self._tree(folder):
                yield from self._below(below, rest, same, pattern=pattern)
            return
        if part == ".." and rest:
            yield from self._below(folder / part, rest, same, pattern=pattern)
            return
        listing = self._listing(folder)
        names = listing.folders if rest else listing.files
        for name in names.matching(part, same, pattern=pattern and glob.has_magic(part)):
            if rest:
                yield from self._below(folder / name, rest, same, pattern=pattern)
            else:
                yield folder / name

    def _tree(self, folder: Path) -> Iterator[Path]:
        """Yield the folder and all visible folders below it, without following links."""
        yield folder
        for name in self._listing(folder).folders.visible():
            if not (folder / name).is_symlink():
                yield from self._tree(folder / name)

    def _listing(self, folder: Path) -> "_Listing":
        if folder not in self._listings:
            self._listings[folder] = _Listing(folder)
        return self._listings[folder]


class _Listing:
    """Names of the files and folders in one folder; both empty where it cannot be read."""

    def __init__(self, folder: Path) -> None:
        files: list[str] = []
        folders: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    (folders if entry.is_dir() else files).append(entry.name)
        except (OSError, ValueError):
            pass
        self.files, self.folders = _Names(files), _Names(folders)


class _Names:
    """Names for lookup in several forms; each form is sorted once, so that a prefix is found by bisection."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._sorted: dict[_Form, list[tuple[str, str]]] = {}

    def visible(self) -> list[str]:
        return [name for name in self._names if not is_hidden(name)]

    def matching(self, part: str, same: _Form, *, pattern: bool) -> Iterator[str]:
        if same not in self._sorted:
            self._sorted[same] = sorted((same(name), name) for name in self._names)
        entries, wanted = self._sorted[same], same(part)
        prefix = _WILDCARD.split(wanted, maxsplit=1)[0] if pattern else wanted
        matches = re.compile(fnmatch.translate(wanted)).match if pattern else wanted.__eq__
        for form, name in entries[bisect_left(entries, (prefix, "")) :]:
            if not form.startswith(prefix):
                return
            if matches(form) and not (pattern and is_hidden(name) and not _asks_for_hidden(part, name)):
                yield name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether a path leads to a folder; an unusable name does not."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_hidden(name: str) -> bool:
    """Return whether a file is hidden, or left behind by a desktop."""
    return name.startswith(".") or name.casefold() in _DESKTOP_FILES


def _asks_for_hidden(part: str, name: str) -> bool:
    return part.startswith(".") and not name.startswith("._") and name.casefold() not in _DESKTOP_FILES


def _exact(name: str) -> str:
    return name


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _extension_folded(name: str) -> str:
    composed = _composed(name)
    start = match.start() if (match := _EXTENSION.search(composed)) else len(composed)
    return composed[:start] + composed[start:].lower()


def _folded(name: str) -> str:
    return _composed(_composed(name).casefold())
