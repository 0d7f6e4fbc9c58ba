"""What files hold, by SHA-256: each file is read once for it, however often it is asked."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from polyclinic.files.digest import file_sha256
from polyclinic.modality import ArrayRow, Modality, Source, UnreadableSource

_AT_ONCE = 256
_TIMEOUT = 60.0


class _Mark(NamedTuple):
    """Where a file is, as a hash, and what the file system says that changes whenever its content does."""

    place: str
    stamp: str


class ContentIndex:
    """SHA-256 of files, remembered by place, inode, size, and times of change.

    The time at which the inode changed is among them, because copying tools put the time of modification back.
    Several processes may share one. It keeps hashes of paths, never paths. Where its folder cannot be written, it
    recalls what is there and remembers nothing new.

    Args:
        folder: where ``content.sqlite`` is kept; created when missing. Remembered in memory alone when absent.
        workers: files read at once.
    """

    def __init__(self, folder: Path | None = None, *, workers: int = 4) -> None:
        self._workers = workers
        self._path = None if folder is None else folder / "content.sqlite"
        self._known: dict[str, tuple[str, str]] = {}

    def digests(self, files: Iterable[Path]) -> dict[Path, str]:
        """SHA-256 of each file, in hexadecimal; a file that cannot be read is left out."""
        distinct = list(dict.fromkeys(files))
        if not distinct:
            return {}
        found: dict[Path, str] = {}
        with ThreadPoolExecutor(self._workers) as pool:
            for several in _batches(distinct):
                marks = {path: mark for path, mark in zip(several, pool.map(_mark, several), strict=True) if mark}
                known = self._recall([mark.place for mark in marks.values()])
                new = [path for path, mark in marks.items() if known.get(mark.place, ("", ""))[0] != mark.stamp]
                read = {path: digest for path, digest in zip(new, pool.map(_sha256, new), strict=True) if digest}
                self._remember({marks[path].place: (marks[path].stamp, digest) for path, digest in read.items()})
                unchanged = marks.keys() - set(new)
                found |= {path: known[marks[path].place][1] for path in several if path in unchanged} | read
        return found

    def _recall(self, places: Sequence[str]) -> dict[str, tuple[str, str]]:
        if self._path is None:
            return {place: self._known[place] for place in places if place in self._known}
        marks = ", ".join("?" * len(places))
        try:
            if not self._path.is_file():
                return {}
            with closing(self._connect(self._path)) as connection:
                rows = connection.execute(f"SELECT place, stamp, sha256 FROM digests WHERE place IN ({marks})", places)
                return {place: (stamp, sha256) for place, stamp, sha256 in rows}
        except (OSError, sqlite3.OperationalError):
            return {}
        except sqlite3.DatabaseError:
            self._discard(self._path)
            return {}

    def _remember(self, entries: Mapping[str, tuple[str, str]]) -> None:
        if self._path is None or not entries:
            self._known.update(entries)
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect(self._path)) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS digests (place PRIMARY KEY, stamp, sha256)")
                rows = [(place, *entry) for place, entry in entries.items()]
                connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", rows)
                connection.commit()
        except (OSError, sqlite3.OperationalError):
            return
        except sqlite3.DatabaseError:
            self._discard(self._path)

    def _connect(self, path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=_TIMEOUT)

    def _discard(self, path: Path) -> None:
        """Remove a database that is none: all that is lost is the time to read the files again."""
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return


def _batches(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (files[start : start + _AT_ONCE] for start in range(0, len(files), _AT_ONCE))


def _mark(path: Path) -> _Mark | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    # Not resolved, which costs a look at every folder above each file; the inode tells what a link points to.
    place = hashlib.sha256(os.path.abspath(path).encode(errors="surrogateescape")).hexdigest()  # noqa: PTH100
    return _Mark(place, f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}")


def _sha256(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None


def source_digest(source: Source, modality: Modality, digests: Mapping[Path, str]) -> str:
    """One SHA-256 over everything that ``read`` would see of a source.

    Args:
        source: of a study.
        modality: that reads it.
        digests: of its files.

    Raises:
        UnreadableSource: one of its files could not be read.
    """
    digest = hashlib.sha256()
    for file in modality.files(source):
        if file not in digests:
            raise UnreadableSource("file cannot be opened")
        digest.update(digests[file].encode())
    if isinstance(source, ArrayRow):
        digest.update(str(source.row).encode())
    elif not isinstance(source, Path):
        inline = source if isinstance(source, str) else repr(sorted(source.items()))
        digest.update(inline.encode())
    return digest.hexdigest()
